"""Checkpoints through Orbax: written whole or not at all, verified when read.

A folder holds the last two checkpoints and the best one, each `step_00000500/` with the state,
a small JSON record, and `files.json` with the structure of the state and the SHA-256 of every
file. They are compared before Orbax reads anything, and the digest of the state after.
"""

import hashlib
import shutil
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jmeta.core import PyTree
from jmeta.runs import _legacy as legacy
from jmeta.runs._json import check, read_json
from jmeta.runs._writing import write_json

PREFIX = "step_"
SCRATCH = "tmp_"  # before the name of one that is being written
FILES = "files.json"
KEPT = 2  # besides the best
BEST = {"step": int, "value": (float, None)}
RECORD = {"step": int, "digest": str, "seconds": float, "best": BEST}


class Checkpoint(NamedTuple):
    """A state and the record saved with it."""

    state: PyTree
    record: dict[str, Any]


def digest(tree: PyTree) -> str:
    """SHA-256 over structure, dtypes, shapes and bytes of all leaves.

    >>> digest({"a": np.zeros(2)}) == digest({"a": np.zeros(2)})
    True
    """
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def structure(tree: PyTree) -> str:
    """SHA-256 over the paths, dtypes and shapes of all leaves; values do not matter.

    >>> structure({"a": np.zeros(2)}) == structure({"a": np.ones(2)})
    True
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = [f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}" for path, leaf in leaves]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()


def steps(folder: Path) -> list[int]:
    """Steps of the finished checkpoints in `folder`, ascending."""
    found = [path for path in folder.glob(f"{PREFIX}*") if path.is_dir()]
    numbers = [(path, path.name[len(PREFIX) :]) for path in found]
    whole = [(path, int(text)) for path, text in numbers if text.isascii() and text.isdigit()]
    return sorted(step for path, step in whole if path == path_of(folder, step))


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"{PREFIX}{step:08d}"


def save(
    folder: Path, step: int, state: PyTree, record: dict[str, Any], *, keep: Collection[int] = ()
) -> None:
    """Write a checkpoint, then drop all but the last two and those of the steps in `keep`."""
    import orbax.checkpoint as ocp

    target = path_of(folder, step).absolute()
    scratch = target.with_name(SCRATCH + target.name)
    for path in (target, scratch):
        if path.exists():
            shutil.rmtree(path)
    record = {**record, "step": step, "digest": digest(state)}
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(jax.tree.map(np.asarray, state)),
        record=ocp.args.JsonSave(record),
    )
    with _checkpointer() as checkpointer:
        checkpointer.save(scratch, args=args)
    write_json(scratch / FILES, {"structure": structure(state), "files": _files(scratch)})
    scratch.rename(target)
    for old in steps(folder)[:-KEPT]:
        if old not in keep:
            shutil.rmtree(path_of(folder, old))


def _checkpointer() -> Any:
    """Orbax as if this process were the only one: the first alone reads and writes files."""
    import orbax.checkpoint as ocp

    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
    )
    options = ocp.CompositeOptions(multiprocessing_options=alone)
    handler = ocp.CompositeCheckpointHandler(composite_options=options)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def restore(folder: Path, step: int, like: PyTree) -> Checkpoint:
    """Read and verify one checkpoint.

    Args:
        like: a state of the same structure, shapes and dtypes; its values are not used.

    Raises:
        ValueError: the checkpoint is missing, damaged, or of another experiment.
    """
    import orbax.checkpoint as ocp

    source = path_of(folder, step).absolute()
    like, renew = _compare(source, like)
    abstract = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
    args = ocp.args.Composite(
        state=ocp.args.StandardRestore(abstract), record=ocp.args.JsonRestore()
    )
    try:
        with _checkpointer() as checkpointer:
            found = checkpointer.restore(source, args=args)
        state, record = found["state"], found["record"]
        intact = record["digest"] == digest(state)
    except Exception as error:  # Orbax raises many kinds for a damaged file
        raise ValueError(f"checkpoint {source} cannot be read: {_first_line(error)}") from error
    if not intact:
        raise ValueError(f"checkpoint {source} is damaged: its digest does not match its content")
    try:
        check(record, RECORD)
    except ValueError as error:
        raise ValueError(f"checkpoint {source} is damaged: in its record, {error}") from error
    if record["step"] != step:
        raise ValueError(f"checkpoint {source} is damaged: its record is of step {record['step']}")
    return Checkpoint(renew(state), record)


def _files(source: Path) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint."""
    paths = sorted(path for path in source.rglob("*") if path.is_file() and path.name != FILES)
    return {
        path.relative_to(source).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def _compare(source: Path, like: PyTree) -> tuple[PyTree, Callable[[PyTree], PyTree]]:
    """Refuse files that are not as written, and a state of another structure.

    Returns:
        A state of the structure that was written, and what makes today's of it.
    """
    if not source.is_dir():
        raise ValueError(f"there is no checkpoint {source}")
    if not (source / FILES).exists():  # then Orbax and the digest of the state have to do
        return like, lambda state: state
    try:
        written = read_json(source / FILES, {"structure": str, "files": {...: str}})
    except (ValueError, OSError) as error:
        raise ValueError(f"checkpoint {source} is damaged: {FILES} cannot be read") from error
    wanted, files, found = written["structure"], written["files"], _files(source)
    for name in files:
        if found.get(name) != files[name]:
            what = "has changed" if name in found else "is missing"
            raise ValueError(f"checkpoint {source} is damaged: its file {name} {what}")
    if wanted == structure(like):
        return like, lambda state: state
    if wanted == structure(older := legacy.older(like)):
        return older, legacy.renewed
    raise ValueError(
        f"checkpoint {source} is of another experiment: its arrays have other names, "
        "shapes or dtypes; restore it with the model and optimizer that made it, and with the "
        f"JAX_ENABLE_X64 of then (now it is {int(jax.config.read('jax_enable_x64'))})"
    )


def restore_last(folder: Path, like: PyTree) -> Checkpoint | None:
    """The newest checkpoint that is whole; says so when it had to pass over a damaged one.

    Returns:
        None where there is no checkpoint at all.

    Raises:
        ValueError: there are checkpoints, and none can be read.
    """
    found = steps(folder)
    return restore_first(folder, found[::-1], like) if found else None


def restore_first(folder: Path, order: Sequence[int], like: PyTree) -> Checkpoint:
    """The first of some checkpoints that is whole; says so when it had to pass over a damaged one.

    Args:
        folder: the folder of the checkpoints.
        order: their steps, the wanted one first.
        like: see `restore`.

    Raises:
        ValueError: none of them can be read.
    """
    problems: list[str] = []
    for step in order:
        try:
            checkpoint = restore(folder, step, like)
        except ValueError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            warnings.warn(f"{problem}; falling back to step {step}", stacklevel=2)
        return checkpoint
    raise ValueError(
        f"no checkpoint in {folder} can be read; the wanted one: {problems[0]}. If that cannot be "
        "put right, train anew."
    )


def sweep(folder: Path, *, after: int) -> None:
    """Remove what a killed process left half written, and checkpoints after step `after`."""
    for pattern in (f"{SCRATCH}{PREFIX}*", "*orbax-checkpoint-tmp*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
    for step in steps(folder):
        if step > after:
            shutil.rmtree(path_of(folder, step))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]

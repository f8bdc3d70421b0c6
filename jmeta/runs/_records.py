"""The files of a run's folder: config.json and metrics.jsonl."""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from jmeta.core import PyTree
from jmeta.core._text import printable
from jmeta.experiments import Experiment, Part, completed, differences, from_json, to_json
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _data as rundata
from jmeta.runs._json import read_json, read_lines
from jmeta.runs._lock import NAME as LOCK
from jmeta.runs._lock import locked
from jmeta.runs._writing import finite, write_json, write_whole

CONFIG = "config.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
_LINE = {"step": int, ...: (float, None)}


@contextmanager
def claimed(
    experiment: Experiment, out: Path, data: Mapping[str, Any], *, resume: bool
) -> Iterator[None]:
    """Make the folder of a run, or check that it holds this very run, and keep others out of it.

    Args:
        experiment: the run, completed. It may have more updates than the run in the folder, which
            is then trained longer.
        out: the folder.
        data: what a new run stores of its data.
        resume: whether the folder may hold the run already.

    Raises:
        ValueError: it holds a run and `resume` is false, or a run of another experiment, or
            another process is writing there, or it cannot be written.
    """
    with ExitStack() as stack:
        try:
            _check_folder(experiment, out, resume=resume)
            stack.enter_context(locked(out))
            _check_folder(experiment, out, resume=resume)  # what another has left meanwhile
            _check_data(out, data, resume=resume)
            new = not (out / CONFIG).exists()
            _begin(experiment, out, data)
        except OSError as error:
            raise ValueError(
                f"{out} cannot be written ({error.strerror}); name another --out."
            ) from error
        try:
            yield
        except ValueError:
            if new and not checkpoint.steps(out / CHECKPOINTS):
                _withdraw(out)
            raise


def _check_folder(experiment: Experiment, out: Path, *, resume: bool) -> None:
    """Refuse a folder that holds another run, or anything else."""
    if (out / CONFIG).exists():
        if not resume:
            raise ValueError(
                f"{out} holds a run already; go on with it by --resume, or name another --out."
            )
        _compare(experiment, out)
    elif out.exists() and not (out.is_dir() and _barely_begun(out)):
        raise ValueError(f"{out} is not empty and holds no run; name another --out.")


def _check_data(out: Path, data: Mapping[str, Any], *, resume: bool) -> None:
    """Refuse to go on with a run on other data; say so where there is no run to go on with."""
    if (out / CONFIG).exists():
        way_out = "train anew on what there is now: name another --out"
        rundata.compare(rundata.read(out), data["parts"], out, way_out=way_out)
    elif resume:
        warnings.warn(f"{out} holds no run to go on with, so it begins at step 0", stacklevel=3)


def _barely_begun(out: Path) -> bool:
    """Whether a folder holds nothing but what a start that was cut off may leave."""
    files = {LOCK, rundata.FILE, f"{rundata.FILE}.tmp", f"{CONFIG}.tmp"}
    found = [path for path in out.iterdir() if path.name not in files]
    empty = (
        path.name == CHECKPOINTS and path.is_dir() and not any(path.iterdir()) for path in found
    )
    return all(empty)


def _begin(experiment: Experiment, out: Path, data: Mapping[str, Any]) -> None:
    """Write what says that the folder holds a run; config.json is last, and makes it one."""
    (out / CHECKPOINTS).mkdir(exist_ok=True)
    if not (out / CONFIG).exists():
        write_json(out / rundata.FILE, data)
    write_json(out / CONFIG, to_json(experiment))


def _withdraw(out: Path) -> None:
    """Leave no run where one was refused, so that the folder can be named again."""
    with suppress(OSError):
        for name in (CONFIG, METRICS, rundata.FILE):
            (out / name).unlink(missing_ok=True)
        (out / CHECKPOINTS).rmdir()


def _compare(experiment: Experiment, out: Path) -> None:
    """Refuse to go on with a run of another experiment, or with fewer updates."""
    found = completed(read_config(out, parts_of(experiment)))
    longer = experiment.budget.steps > found.budget.steps
    budget = replace(found.budget, steps=experiment.budget.steps) if longer else found.budget
    strange = differences(replace(found, budget=budget), experiment)
    if strange:
        raise ValueError(
            f"the run in {out} is of another experiment: {'; '.join(strange)}; resume it with the "
            "options it began with (only --steps may be larger), or name another --out."
        )


def parts_of(experiment: Experiment) -> list[type[Part]]:
    """The classes of the parts of an experiment, which may be the user's own."""
    found = (experiment.algorithm, experiment.source, experiment.network)
    return [type(part) for part in found if part is not None]


def read_config(out: Path, known: Iterable[type[Part]] = ()) -> Experiment:
    """The experiment of the run in a folder.

    Args:
        out: the folder.
        known: classes of your own that the run was made of.

    Raises:
        ValueError: the folder is missing or holds no readable run, or the run names a part that
            is not known.
    """
    stored = out / CONFIG
    if not stored.is_file():
        what = "holds no run" if out.is_dir() else "does not exist"
        raise ValueError(f"{out} {what}: expected a folder that `jmeta train --out` has written.")
    record = read_json(stored, dict)
    try:
        found = from_json(record, known)
        for name in ("network", "episode"):
            if getattr(found, name) is None and record.get("schema", 1) != 1:
                raise ValueError(f"its {name} is missing.")
    except ValueError as error:
        raise ValueError(f"{stored} is not the configuration of a run: {error}") from error
    return found


def append(out: Path, line: dict[str, Any]) -> None:
    """Add one line to metrics.jsonl."""
    with (out / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(finite(line)) + "\n")


def read(out: Path) -> list[dict[str, Any]]:
    """All lines of metrics.jsonl; a last line that a kill has cut off is left out.

    Raises:
        ValueError: another line cannot be read; it says which.
    """
    return read_lines(out / METRICS, _LINE)


def truncate(out: Path, *, after: int) -> None:
    """Drop the lines of updates after step `after`, which will be made again.

    A file that is not there any more is begun anew, with a warning.
    """
    if after and not (out / METRICS).exists():
        warnings.warn(
            f"{printable(out / METRICS)} is missing: the lines of the first {after} updates are "
            "lost, and curves will begin there.",
            stacklevel=2,
        )
    kept = [json.dumps(line) + "\n" for line in read(out) if line["step"] <= after]
    write_whole(out / METRICS, "".join(kept))


def restore_best(
    out: Path, best: Mapping[str, Any], like: PyTree, *, higher_is_better: bool
) -> tuple[checkpoint.Checkpoint, dict[str, Any]]:
    """The best checkpoint of a run; if it is damaged, the next best that is whole, with a warning.

    Args:
        out: the folder of the run.
        best: step and value of the best validation.
        like: see `jmeta.runs._checkpoint.restore`.
        higher_is_better: of validations.

    Returns:
        The checkpoint, and the step and value of its validation.

    Raises:
        ValueError: no checkpoint can be read.
    """
    folder = out / CHECKPOINTS
    try:
        return checkpoint.restore(folder, best["step"], like), dict(best)
    except ValueError as error:
        problem = error
    told = {line["step"]: line["validation"] for line in read(out) if "validation" in line}
    sign = -1 if higher_is_better else 1
    known = {step: sign * value for step, value in told.items() if value is not None}
    others = set(checkpoint.steps(folder)) - {best["step"]}
    if not others:
        raise problem
    order = sorted(others, key=lambda step: (step not in known, known.get(step, 0.0), -step))
    found = checkpoint.restore_first(folder, order, like)
    step = found.record["step"]
    warnings.warn(f"the best {problem}; step {step} is used in its place", stacklevel=2)
    return found, {"step": step, "value": told.get(step)}

"""Lowered updates that are kept on disk, so that the next start need not trace them again.

Once JAX has kept what it compiled, most of what is left before the first update is Python: tracing
the updates and lowering them to StableHLO. Within `kept_in` the result of both is kept, as
`jax.export` writes it, in a file that is named by a digest of all that determines it: the source
of jmeta, the versions of what it is built on, the experiment, the content of the data, the
arguments, the devices and the configuration of JAX. So a file that no longer fits is never read.
One that is damaged is made again. Nothing in it is unpickled.
"""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from jax import export
from jax.sharding import NamedSharding, PartitionSpec

from jmeta.core import TrainState
from jmeta.experiments import to_json
from jmeta.runs import _processes as processes
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs._json import check_regular
from jmeta.runs._programs import Dispatch, Parts
from jmeta.runs._writing import write_whole

SCHEMA = 1
_BUILT_ON = ("jax", "jaxlib", "flax", "optax", "numpy")
_DIGEST = 32  # bytes before the content, which are its SHA-256
_folder: ContextVar[Path | None] = ContextVar("lowered", default=None)


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Keep the lowered updates of the runs within in a folder, which is made when it is needed."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def dispatch(parts: Parts, data: Mapping[str, Any]) -> Dispatch:
    """`programs.dispatch(parts)`; within `kept_in`, with a lowering that is kept.

    It is kept where all that determines it is known and the compiled program was seen to be the
    same: on the CPUs of a single process, for an experiment without classes of the user's own.

    Args:
        parts: the run.
        data: what the run stores of its data, see `jmeta.runs._data.record`.
    """
    plain, folder = programs.dispatch(parts), _folder.get()
    own = [kind for kind in records.parts_of(parts.experiment) if not _is_of_jmeta(kind)]
    elsewhere = parts.mesh.devices.flat[0].platform != "cpu" or processes.several()
    if folder is None or own or elsewhere:
        return plain
    return Kept(plain, folder, parts, data)


def _is_of_jmeta(kind: type) -> bool:
    return kind.__module__.split(".")[0] == "jmeta"


class Kept:
    """A dispatch that is called, and lowered, as the jitted function that it stands for."""

    def __init__(
        self, plain: Dispatch, folder: Path, parts: Parts, data: Mapping[str, Any]
    ) -> None:
        self._plain, self._folder = plain, folder
        self._everywhere = NamedSharding(parts.mesh, PartitionSpec())
        self._facts = facts(parts, data)
        self._programs: dict[int, Any] = {}  # length -> a jitted function of leaves, or None

    def lower(self, state: TrainState, *, pool: Any, length: int) -> Any:
        """The lowered updates, which can be compiled; what is compiled is what a call runs."""
        program = self._program(state, pool, length)
        if program is None:
            return self._plain.lower(state, pool=pool, length=length)
        return program.lower(*jax.tree.leaves((state, pool)))

    def __call__(self, state: TrainState, *, pool: Any, length: int) -> tuple:
        program = self._program(state, pool, length)
        if program is None:
            return self._plain(state, pool=pool, length=length)
        results = program(*jax.tree.leaves((state, pool)))
        return jax.tree.unflatten(jax.tree.structure((state, (0, 0))), results)

    def _program(self, state: TrainState, pool: Any, length: int) -> Any:
        """The updates as a jitted function of leaves; None where they cannot be exported."""
        if length not in self._programs:
            exported = self._exported((state, pool), length)
            self._programs[length] = exported and self._jitted(exported)
        return self._programs[length]

    def _jitted(self, exported: export.Exported) -> Any:
        def updates(*leaves: Any) -> tuple:
            return exported.call(*leaves)

        return jax.jit(updates, out_shardings=self._everywhere)

    def _exported(self, arguments: Any, length: int) -> export.Exported | None:
        """What was kept of an earlier start; else what is traced now, which is kept."""
        leaves, tree = jax.tree.flatten(arguments)
        path = self._folder / f"updates-{digest(self._facts, arguments, length)}"
        if (found := read(path)) is not None and _takes(found, leaves):
            return found

        def updates(*leaves: Any) -> tuple:
            state, pool = jax.tree.unflatten(tree, leaves)
            return tuple(jax.tree.leaves(self._plain(state, pool=pool, length=length)))

        try:
            traced = export.export(jax.jit(updates, out_shardings=self._everywhere))(*leaves)
            content = bytes(traced.serialize())
        except Exception:  # an operation that cannot be exported; other errors come again
            return None
        with suppress(OSError):  # a cache that cannot be written to
            write(path, content)
        return export.deserialize(bytearray(content))  # the very program of the next start


def write(path: Path, content: bytes) -> None:
    """Keep a serialized program, with its digest before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, _seal(path, content) + content)


def _seal(path: Path, content: bytes) -> bytes:
    """The digest of a program and of the name that it is kept under."""
    return hashlib.sha256(path.name.encode() + content).digest()


def _takes(exported: export.Exported, leaves: list[Any]) -> bool:
    """Whether a program takes these arguments."""
    kinds = [(leaf.shape, leaf.dtype) for leaf in map(jax.typeof, leaves)]
    return [(aval.shape, aval.dtype) for aval in exported.in_avals] == kinds


def read(path: Path) -> export.Exported | None:
    """The program in a file; None where there is none, or it is not as it was written."""
    try:
        check_regular(path)
        whole = path.read_bytes()
        given, content = whole[:_DIGEST], whole[_DIGEST:]
        if _seal(path, content) != given:
            return None
        return export.deserialize(bytearray(content))
    except Exception:  # a file that is missing or of no use; the updates are then traced
        return None


def facts(parts: Parts, data: Mapping[str, Any]) -> dict[str, Any]:
    """What determines the updates of a run, beside their arguments and their number."""
    held = {name: data.get(name) for name in ("dataset", "split", "hash", "scaling", "parts")}
    return {
        "schema": SCHEMA,
        "source": source_digest(),
        "versions": {name: metadata.version(name) for name in _BUILT_ON},
        "python": platform.python_version(),
        "experiment": to_json(parts.experiment),
        "data": held,
        "devices": [f"{d.platform} {d.device_kind} {d.id}" for d in parts.mesh.devices.flat],
        "config": {name: repr(value) for name, value in jax.config.values.items()},
    }


def digest(facts: Mapping[str, Any], arguments: Any, length: int) -> str:
    """A digest of all that determines the updates; it names their file.

    >>> digest({}, (), 1) == digest({}, (), 2)
    False
    """
    leaves, tree = jax.tree.flatten(arguments)
    kinds = [f"{jax.typeof(leaf)} {getattr(leaf, 'sharding', None)}" for leaf in leaves]
    whole = {**facts, "length": length, "tree": str(tree), "leaves": kinds}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


@cache
def source_digest() -> str:
    """A digest of the source of jmeta."""
    sha = hashlib.sha256()
    folder = Path(__file__).parents[1]
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        sha.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        sha.update(content)
    return sha.hexdigest()

"""Several processes that train as one, through JAX's own runtime (`jax.distributed`).

Every process runs the same program on its own devices; the first one writes the files. With a
single process all of this does nothing.
"""

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

T = TypeVar("T")


def start(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Join the other processes; before JAX is used for anything else.

    Args:
        coordinator: HOST:PORT of the first process. None: found by JAX (SLURM, Open MPI, TPU).
        processes: how many there are. None: found likewise.
        process: the number of this one, from 0. None: found likewise.

    Raises:
        ValueError: the address is none, or it cannot be found, or the others cannot be reached.
    """
    if coordinator is not None and not re.fullmatch(r".+:\d{1,5}", coordinator):
        raise ValueError(
            f"got the coordinator {coordinator!r}, expected HOST:PORT, such as 10.0.0.1:1234."
        )
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"the processes cannot be joined ({error}); outside SLURM, Open MPI and TPU pods "
            "give each one --coordinator HOST:PORT --processes N --process I."
        ) from error


def first() -> bool:
    """Whether this process is the one that writes and prints.

    >>> first()
    True
    """
    return jax.process_index() == 0


def together(action: Callable[[], T]) -> T:
    """Act on every process; if it fails on one, it fails on all.

    Raises:
        ValueError: what another process could not do.

    >>> together(lambda: 3)
    3
    """
    if not several():
        return action()
    problem: Exception | None = None
    try:
        result = action()
    except Exception as error:
        problem = error
    told = _gather("" if problem is None else str(problem) or type(problem).__name__)
    if problem is not None:
        raise problem
    for number, text in enumerate(told):
        if text:
            raise ValueError(f"process {number}: {text}")
    return result


def once(action: Callable[[], T]) -> T | None:
    """Act on the first process while the others wait; None on the others.

    Raises:
        ValueError: what the first process could not do.
    """
    return together(lambda: action() if first() else None)


def agree(what: str, value: str) -> None:
    """Refuse to go on if the processes were not started alike.

    Raises:
        ValueError: the value is not the same everywhere.
    """
    if not several():
        return
    told = _gather(value)
    odd = [number for number, text in enumerate(told) if text != told[0]]
    if odd:
        raise ValueError(
            f"process {odd[0]} has {what} other than process 0; start all with the same command."
        )


def tell(value: Any) -> Any:
    """A JSON-able value of the first process, on all of them.

    >>> tell({"a": 1})
    {'a': 1}
    """
    if not several():
        return value
    return json.loads(_gather(json.dumps(value if first() else None))[0])


def share(tree: Any, like: Any) -> Any:
    """A pytree of the first process, on all of them.

    Args:
        tree: it is read on the first process only.
        like: its structure, shapes and dtypes.
    """
    if not several():
        return tree
    from jax.experimental import multihost_utils

    leaves, structure = jax.tree.flatten(tree if first() else like)
    host = [np.asarray(leaf) for leaf in leaves]
    raw = [leaf.reshape(-1).view(np.uint8) for leaf in host]  # as bytes, so that -0.0 stays
    sent = multihost_utils.broadcast_one_to_all(raw)
    got = [
        np.asarray(new).view(old.dtype).reshape(old.shape)
        for new, old in zip(sent, host, strict=True)
    ]
    return jax.tree.unflatten(structure, got)


def several() -> bool:
    """Whether there are other processes.

    >>> several()
    False
    """
    return jax.process_count() > 1


def anywhere(flag: bool) -> bool:
    """Whether a flag is up on any process; the same answer on all, so that all act on it.

    >>> anywhere(True)
    True
    """
    if not several():
        return flag
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def _gather(text: str) -> list[str]:
    """A text of each process."""
    from jax.experimental import multihost_utils

    mine = np.frombuffer(text.encode(), np.uint8)
    sizes = np.atleast_1d(multihost_utils.process_allgather(np.int32(mine.size)))
    padded = np.pad(mine, (0, int(sizes.max()) - mine.size + 1))
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]

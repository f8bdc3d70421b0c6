"""Do the updates of a run fit? If not, the largest number of tasks at once that would."""

from dataclasses import replace
from typing import Any

import jax

from jmeta.core import TrainState
from jmeta.runs import _programs as programs
from jmeta.runs import _room as room
from jmeta.runs._programs import Parts


def check(parts: Parts, advance: Any, state: TrainState, *, length: int) -> int | None:
    """Compile the updates of a run before they start, and refuse those that cannot fit.

    Args:
        parts: what the run is made of.
        advance: from `programs.dispatch(parts)`; what is compiled here is what it then runs.
        state: its state, replicated.
        length: updates a dispatch.

    Returns:
        Bytes needed, of a device or on a CPU of this machine; None where unknown.

    Raises:
        ValueError: more is needed than there is; it names the largest `chunk` that fits.
    """
    most, pool = room.available(parts.mesh), parts.domain.train
    _require_room_for_tasks(parts)
    size = room.needed(advance.lower(state, pool=pool, length=length).compile(), parts.mesh)
    if size is None or most is None or size <= most:
        return size
    chunk = _largest_chunk(parts, state, length=length, most=most)
    advice = (
        f"--chunk {chunk} fits"
        if chunk
        else "no chunk of tasks fits; set --remat, fewer filters, shots or queries"
    )
    raise ValueError(room.refusal(size, most, what="this run needs", advice=advice))


def _require_room_for_tasks(parts: Parts) -> None:
    """Refuse tasks that alone do not fit: the compiler itself would take long, or fail."""
    each = parts.experiment.budget.tasks // parts.mesh.size
    chunk = min(programs.chunk_for(parts.experiment) or each, each)
    task = jax.eval_shape(parts.domain.sample_train, jax.random.key(0), parts.domain.train)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(task))
    what, advice = f"{chunk} tasks at once need", "set a smaller --chunk, fewer shots or queries"
    total = chunk * size * room.sharing(parts.mesh)
    room.require(total, parts.mesh, what=what, advice=advice)


def _largest_chunk(parts: Parts, state: TrainState, *, length: int, most: int) -> int | None:
    """The largest number of tasks at once that fits, by bisection; None if even one does not."""
    each = parts.experiment.budget.tasks // parts.mesh.size
    now = programs.chunk_for(parts.experiment) or each
    smaller = [n for n in range(1, min(now, each + 1)) if each % n == 0]
    fitting = None
    while smaller:
        middle = len(smaller) // 2 if fitting else 0  # one task decides whether any fits
        device = replace(parts.experiment.device, chunk=smaller[middle])
        experiment = replace(parts.experiment, device=device)
        advance = programs.dispatch(parts._replace(experiment=experiment))
        lowered = advance.lower(state, pool=parts.domain.train, length=length)
        size = room.needed(lowered.compile(), parts.mesh)
        if size is None or size > most:
            smaller = smaller[:middle]
        else:
            fitting, smaller = smaller[middle], smaller[middle + 1 :]
    return fitting

"""Do the updates of a run fit? If not, how many tasks at once are likely to."""

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
        ValueError: more is needed than there is; it names a `chunk` that is likely to fit.
    """
    most, pool = room.available(parts.mesh), parts.domain.train
    _require_room_for_tasks(parts)
    compiled = advance.lower(state, pool=pool, length=length).compile()
    size = room.needed(compiled, parts.mesh)
    if size is None or most is None or size <= most:
        return size
    chunk = _likely_chunk(parts, size, working=room.working(compiled, parts.mesh), most=most)
    advice = (
        f"--chunk {chunk} should fit"
        if chunk
        else "not even one task at a time would fit; set --remat, fewer filters, shots or queries"
    )
    raise ValueError(room.refusal(size, most, what="this run needs", advice=advice))


def _require_room_for_tasks(parts: Parts) -> None:
    """Refuse tasks that leave no room beside them: the compiler itself would take long, or fail.

    A pass forward and one back hold at least three arrays of the size of the inputs beside them.
    """
    each = parts.tasks_each
    chunk = min(programs.chunk_for(parts.experiment) or each, each)
    key = programs.keys(parts.experiment.budget.seed).train
    task = jax.eval_shape(parts.domain.sample_train, key, parts.domain.train)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(task))
    what = f"{chunk} tasks at once, and what is computed of them, need at least"
    advice = "set a smaller --chunk, fewer shots or queries"
    total = 4 * chunk * size * room.sharing(parts.mesh)
    room.require(total, parts.mesh, what=what, advice=advice)


def _likely_chunk(parts: Parts, size: int, *, working: int, most: int) -> int | None:
    """The largest number of tasks at once that is likely to fit; None if even one is not.

    What the program works in grows with the chunk and the rest does not, which spares the user
    the minutes that compiling one chunk after another would take. A tenth is left over.
    """
    each = parts.tasks_each
    now = programs.chunk_for(parts.experiment) or each
    left = 0.9 * most - (size - working)
    smaller = (n for n in range(min(now - 1, each), 0, -1) if each % n == 0)
    return next((n for n in smaller if working * n <= left * now), None)

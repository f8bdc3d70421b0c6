"""Times of several programs, taken in turns so that a busy moment falls on all of them."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

Call = Callable[[], Any]  # starts a computation and returns its arrays


def interleaved(
    calls: Mapping[str, Call], *, seconds: float = 0.3, repeats: int = 5
) -> dict[str, list[float]]:
    """Seconds a call of each program: `repeats` figures, one a round, every program every round.

    Every program is called twice before, which compiles it and says how many calls take
    `seconds`.

    Args:
        calls: by name.
        seconds: a round of one program takes at least about this long.
        repeats: rounds.

    >>> found = interleaved({"add": lambda: jax.numpy.ones(3) + 1}, seconds=0.001, repeats=3)
    >>> len(found["add"])
    3
    """
    counts = {}
    for name, call in calls.items():
        once(call)
        counts[name] = max(1, math.ceil(seconds / max(once(call), 1e-7)))
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            found[name].append(once(call, counts[name]))
    return found


def once(call: Call, count: int = 1) -> float:
    """Seconds a call, waiting for the results of `count` calls together."""
    start = time.perf_counter()
    for _ in range(count):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / count


def summary(values: list[float]) -> dict[str, float]:
    """Median and quartiles of some figures.

    >>> summary([1.0, 2.0, 4.0])
    {'median': 2.0, 'low': 1.5, 'high': 3.0}
    """
    if len(values) == 1:
        return {"median": values[0], "low": values[0], "high": values[0]}
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}

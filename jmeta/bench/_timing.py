"""Times of several programs, taken in turns so that a busy moment slows all of them alike."""

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
    """Time several programs in rounds; in each round every program runs in turn.

    Every program is first called twice: the first call compiles it, the second tells how many
    calls take `seconds`.

    Args:
        calls: name -> a function that starts the program and returns its arrays.
        seconds: about how long a program runs in a round, at least one call.
        repeats: the number of rounds.

    Returns:
        name -> seconds per call, one figure for each round.

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
    """Seconds per call of a program, over `count` calls whose results are awaited together.

    Args:
        call: starts the program and returns its arrays.
        count: the number of calls.

    >>> once(lambda: jax.numpy.ones(3), 2) > 0
    True
    """
    start = time.perf_counter()
    for _ in range(count):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / count


def summary(values: list[float]) -> dict[str, float]:
    """The median and the quartiles of one or more figures.

    Args:
        values: such as the seconds per call that `interleaved` returns for one program.

    >>> summary([1.0, 2.0, 4.0])
    {'median': 2.0, 'low': 1.5, 'high': 3.0}
    """
    if len(values) == 1:
        return {"median": values[0], "low": values[0], "high": values[0]}
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}

"""An experiment on this machine: tasks per second, memory, compile time, share of the machine."""

import time
from functools import partial
from typing import Any

import jax

from jmeta.bench._count import operations
from jmeta.bench._machine import best, describe, rates
from jmeta.bench._timing import once, summary
from jmeta.experiments import Experiment, to_json
from jmeta.runs import _memory as fits
from jmeta.runs import _programs as programs
from jmeta.runs._programs import Parts

SCHEMA = 1


def measure(
    experiment: Experiment, *, seconds: float = 2.0, rounds: int = 7, root: str | None = None
) -> dict[str, Any]:
    """Time the training program of an experiment: the one that `jmeta train` dispatches.

    Each round runs as many dispatches as fill its time, each of `log_every` updates or of all
    updates where there are fewer. The machine's own rate of matrix products is measured before
    and after, and the better of the two counts.

    Args:
        experiment: what is trained.
        seconds: about how long a round is, at least one dispatch.
        rounds: rounds of timing.
        root: where data sets are looked for; None for `$JMETA_DATA`.

    Returns:
        A record: tasks per second and seconds an update (median and quartiles over rounds),
        bytes of memory, seconds to trace and to compile, operations a task, and their share of
        the best measured rate of matrix products; with the experiment and the machine.

    Raises:
        ValueError: no rounds or no time, options that cannot be satisfied, a missing set, or a
            program that needs more memory than there is.

    >>> from jmeta.experiments import experiment
    >>> tiny = experiment("maml", dataset="sinusoid", hidden=(8,), tasks=2, log_every=2)
    >>> record = measure(tiny, seconds=0.01, rounds=1)
    >>> record["tasks_per_second"]["median"] > 0, record["operations_per_task"]
    (True, 2480.0)
    """
    if rounds < 1 or not seconds > 0:
        raise ValueError(
            f"a measurement needs at least 1 round of more than 0 seconds, but got {rounds} rounds "
            f"of {seconds}."
        )
    parts = programs.parts(experiment, root=root)
    state, advance = programs.initial_state(parts), programs.dispatch(parts)
    budget = parts.experiment.budget
    length = min(budget.log_every, budget.steps)
    begun = time.perf_counter()
    traced = advance.trace(state, pool=parts.domain.train, length=length)
    tracing = time.perf_counter() - begun
    memory = fits.check(parts, advance, state, length=length)
    compiling = time.perf_counter() - begun - tracing
    run = partial(advance, state, pool=parts.domain.train, length=length)
    before = _product_rate(seconds)
    timed = _rounds(run, seconds=seconds, rounds=rounds)
    product = max(before, _product_rate(seconds))
    tasks = length * budget.tasks
    rate = summary([tasks / each for each in timed])
    return {
        "schema": SCHEMA,
        "tasks_per_second": rate,
        "seconds_per_update": summary([each / length for each in timed]),
        "memory_bytes": memory,
        "trace_seconds": tracing,
        "compile_seconds": compiling,
        **_share(parts, traced, tasks, rate["median"], product),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "rounds": rounds,
        "updates_a_dispatch": length,
        "experiment": to_json(parts.experiment),
        "machine": {**describe(), "devices": parts.mesh.size},
    }


def _product_rate(seconds: float) -> float:
    """The best measured rate of matrix products, in GFLOP/s."""
    return best(rates(seconds=min(seconds, 3.0), repeats=3, only="matrix"), "matrix")


def _rounds(run: Any, *, seconds: float, rounds: int) -> list[float]:
    """Seconds a dispatch, round by round."""
    once(run)
    count = max(1, round(seconds / max(once(run), 1e-7)))
    return [once(run, count) for _ in range(rounds)]


def _share(
    parts: Parts, traced: Any, tasks: int, rate: float, product: float
) -> dict[str, float | None]:
    """What a task computes, and how near that comes to the machine's matrix products."""
    try:
        each = operations(traced.jaxpr) / tasks
    except ValueError:  # a loop whose length only the data know, as of conjugate gradients
        return {"operations_per_task": None, "machine_gflops": product, "share": None}
    devices = 1 if jax.default_backend() == "cpu" else parts.mesh.size  # cores are shared
    share = each * rate / (1e9 * product * devices)
    return {"operations_per_task": each, "machine_gflops": product, "share": share}


def show(record: dict[str, Any]) -> None:
    """Print a record of `measure`, a line a figure."""
    rate, update = record["tasks_per_second"], record["seconds_per_update"]
    memory, share = record["memory_bytes"], record["share"]
    rows = {
        "tasks per second": f"{rate['median']:.4g}  ({rate['low']:.4g} to {rate['high']:.4g})",
        "seconds an update": f"{update['median']:.4g}",
        "memory": "unknown" if memory is None else f"{memory / 1e6:.4g} MB",
        "tracing": f"{record['trace_seconds']:.2f} s",
        "compiling": f"{record['compile_seconds']:.2f} s",
        "parameters": f"{record['parameters']:,}",
    }
    if share is not None:
        machine = f"{record['machine_gflops']:.4g} GFLOP/s"
        work = f"{record['operations_per_task'] / 1e6:.4g} MFLOP"
        rows["work of a task"] = f"{work}; {share:.1%} of the machine's {machine}"
    for name, text in rows.items():
        print(f"{name:<18} {text}")

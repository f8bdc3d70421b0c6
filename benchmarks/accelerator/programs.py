"""What the parts in JAX share: precisions, workloads by size, programs compiled and timed."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from comparison import recipes, roofline
from comparison.workloads import WORKLOADS, Workload

import jmeta
from jmeta import bench
from jmeta.nn._conv import Impl

# As `jax.default_matmul_precision` takes them. Arrays are float32 in all of them, so what differs
# is the products. Those with underscores reach matrix products only, and not native convolutions.
PRECISIONS = {
    "float32": "highest",
    "tf32": "default",  # what NVIDIA GPUs do unless told otherwise; JAX's "bfloat16" is the same
    "bfloat16": "BF16_BF16_F32",  # operands rounded to bfloat16, sums in float32
    "tf32x3": "TF32_TF32_F32_X3",  # float32 made of three products in TF32
}
ROUNDS, SECONDS = 7, 0.3  # of a timing


class Program(NamedTuple):
    """A compiled function with its arguments, and what it took to make it."""

    call: Callable[[], Any]
    cost: dict[str, Any]
    compiled: Any


def workload(name: str, tasks: int, *, smoke: bool) -> Workload:
    """A workload with so many tasks an update; a trial takes few filters, ways and queries."""
    found = WORKLOADS[name]
    if not smoke:
        return found._replace(tasks=tasks)
    ways, queries = min(found.ways, 4), min(found.queries, 2)
    return found._replace(tasks=min(tasks, 2), filters=4, ways=ways, queries=queries)


def lowered(function: Callable[..., Any], arguments: tuple, precision: str) -> Any:
    """A function traced and lowered in some precision."""
    with jax.default_matmul_precision(PRECISIONS[precision]):
        return jax.jit(function).lower(*arguments)


def program(function: Callable[..., Any], arguments: tuple, precision: str) -> Program:
    """A function lowered and compiled in some precision, with the seconds and bytes of that."""
    begun = time.perf_counter()
    low = lowered(function, arguments, precision)
    tracing = time.perf_counter() - begun
    compiled = low.compile()
    seconds = time.perf_counter() - begun - tracing
    cost = {
        "trace_seconds": tracing,
        "compile_seconds": seconds,
        "memory_bytes": bytes_of(compiled),
    }
    return Program(lambda: compiled(*arguments), cost, compiled)


def bytes_of(compiled: Any) -> int | None:
    """What a compiled program takes while it runs."""
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    held = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    return held + stats.temp_size_in_bytes


def timed(made: Program, *, smoke: bool) -> dict[str, float]:
    """Seconds of a call: median and quartiles over rounds, each of calls that are awaited together.

    The program runs twice before it is timed.
    """
    rounds, seconds = (2, 0.0) if smoke else (ROUNDS, SECONDS)
    bench.once(made.call)
    count = max(1, math.ceil(seconds / max(bench.once(made.call), 1e-7)))
    return bench.summary([bench.once(made.call, count) for _ in range(rounds)])


def update_program(
    asked: Workload, *, precision: str, impl: Impl | None = None, chunk: int | None = None
) -> Program:
    """jmeta's outer update of a workload: `jmeta.step` under `jit`."""
    tx = recipes.optimizer(asked)
    update = jmeta.step(recipes.loss(asked, impl=impl), tx, chunk=chunk)
    arguments = jmeta.train_state(recipes.params(asked), tx), recipes.batch(asked)
    return program(update, jax.device_put(arguments, jax.devices()[0]), precision)


def rate(
    asked: Workload,
    *,
    precision: str,
    impl: Impl | None = None,
    chunk: int | None = None,
    smoke: bool = False,
) -> dict[str, Any]:
    """Tasks per second of jmeta's update, and what it took to compile it."""
    made = update_program(asked, precision=precision, impl=impl, chunk=chunk)
    seconds = timed(made, smoke=smoke)
    tasks = asked.tasks / seconds["median"]
    gflops = tasks * roofline.operations(asked).flops / 1e9
    return {"tasks_per_second": tasks, "gflops": gflops, "seconds": seconds, **made.cost}


def limit() -> float:
    """Bytes that the device gives to JAX."""
    stats = jax.devices()[0].memory_stats() or {}
    return float(stats.get("bytes_limit", math.inf))


def chunk_that_fits(tasks: int, bytes_a_task: float) -> int | None:
    """The largest chunk, a power of two below the number of tasks, that fits; None for all.

    Args:
        tasks: of an update.
        bytes_a_task: what a smaller update took, for each of its tasks.
    """
    most = 0.95 * limit()
    chunk = tasks
    while chunk > 1 and chunk * bytes_a_task > most:
        chunk //= 2
    return None if chunk == tasks else chunk

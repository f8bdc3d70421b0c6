"""Tasks per second of the peers on A, C and F, at several batches, in float32 and TF32."""

import gc
import importlib.util
import statistics
import sys
import time
from typing import Any

from comparison import systems
from comparison.workloads import WORKLOADS

from accelerator.desk import Desk

ROUNDS, SECONDS = 5, 0.4
FLAX = {"A": (64, 256), "C": (4,), "F": (8,)}  # tasks an update
TORCH: dict[str, dict[str, tuple[int, ...]]] = {
    "torch-func": {"A": (256, 1024), "C": (16, 4), "F": (8,)},
    "parallel-metalearn": {"A": (1024,), "C": (4,), "F": (8,)},
    "torch-loop": {"A": (32,), "C": (4,), "F": (8,)},
}
FLAX_FIGURE, TORCH_FIGURE = 20.0, 8.0  # seconds


def flax(desk: Desk) -> None:
    """Plain Flax layers under `jax.vmap`: each batch in float32, then the best in TF32."""
    import jax

    desk.machine()
    for name, batches in _few(desk, FLAX).items():
        rows = []
        for tasks in batches:
            with jax.default_matmul_precision("highest"):
                rows.append(_measured(desk, "flax-vmap", name, tasks, "float32", FLAX_FIGURE))
        with jax.default_matmul_precision("default"):
            _measured(desk, "flax-vmap", name, _best(rows, batches), "tf32", FLAX_FIGURE)


def torch(desk: Desk) -> None:
    """torch.func, parallel-metalearn if it is there, and the per-task loop, likewise."""
    if importlib.util.find_spec("torch") is None:
        desk.keep(what="PyTorch's systems", failed="torch is not installed")
        return
    for system, workloads in TORCH.items():
        for name, batches in _few(desk, workloads).items():
            _allow_tf32(False)
            rows = [_measured(desk, system, name, n, "float32", TORCH_FIGURE) for n in batches]
            if "failed" not in rows[0] and system != "torch-loop":
                _allow_tf32(True)
                _measured(desk, system, name, _best(rows, batches), "tf32", TORCH_FIGURE)


def _few(desk: Desk, table: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """A table of batches; for a trial, one batch of its last workload."""
    return {name: table[name][:1] for name in list(table)[-1:]} if desk.plan.smoke else table


def _allow_tf32(allowed: bool) -> None:
    """Matrix products and convolutions of PyTorch in TF32, or in float32."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def _best(rows: list[dict[str, Any]], batches: tuple[int, ...]) -> int:
    """The fastest of some batches."""
    speeds = [row.get("tasks_per_second", 0.0) for row in rows]
    return batches[speeds.index(max(speeds))]


def _measured(
    desk: Desk, system: str, name: str, tasks: int, precision: str, needs: float
) -> dict[str, Any]:
    """One figure of a system that the comparison has, kept; {} where there is no time for it."""
    if not desk.room(needs, f"{system}, {name}, {tasks} tasks, {precision}"):
        return {}
    smoke = desk.plan.smoke
    asked = WORKLOADS[name]._replace(tasks=min(tasks, 2) if smoke else tasks)
    asked = asked._replace(filters=4, ways=4, queries=2) if smoke else asked
    names = {"system": system, "workload": name, "tasks": asked.tasks, "precision": precision}
    try:
        return desk.attempt(names, lambda: _rate(system, asked, smoke=smoke))
    finally:
        _free()


def _rate(system: str, asked: Any, *, smoke: bool) -> dict[str, Any]:
    """Tasks per second, the median over rounds; the first update may compile."""
    begun = time.perf_counter()
    made = systems.build(system, asked)
    made.advance(1)
    first = time.perf_counter() - begun
    once = _seconds(made, 1)
    count = 1 if smoke else max(1, round(SECONDS / max(once, 1e-6)))
    found = [_seconds(made, count) for _ in range(2 if smoke else ROUNDS)]
    speed = asked.tasks / statistics.median(found)
    return {"tasks_per_second": speed, "first_update_seconds": first, "seconds": found}


def _seconds(made: Any, count: int) -> float:
    """Seconds of an update, over `count` updates."""
    begun = time.perf_counter()
    made.advance(count)
    return (time.perf_counter() - begun) / count


def _free() -> None:
    """Give the memory of a system back, so that the next one has all of it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()

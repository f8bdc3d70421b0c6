"""Where the time of workload A goes: the card's rates, the stages of an update, its kernels."""

import re
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from comparison import recipes, roofline
from comparison.workloads import Workload

import jmeta
from accelerator import programs
from accelerator.desk import Desk
from jmeta import bench

PEAKS = (  # (name, of which rate, precision)
    ("float32", "matrix 8192", "float32"),
    ("tf32", "matrix 8192", "tf32"),
    ("bfloat16", "bfloat16 matrix 4096", "tf32"),
    ("memory", "memory triad", "float32"),
)
KERNELS = 25  # that are named
STAGES = ("update", "forward", "first", "second")


def profile(desk: Desk) -> None:
    """All of it, the shares of the roofline last."""
    desk.machine()
    asked = programs.workload("A", desk.plan.batch, smoke=desk.plan.smoke)
    found: dict[str, dict[str, Any]] = {}
    for stage in STAGES[: 1 if desk.plan.smoke else None]:
        if desk.room(25, f"stage {stage}"):
            names = {"stage": stage, "tasks": asked.tasks, "precision": "float32"}
            found[stage] = desk.attempt(names, partial(_stage, desk, asked, stage))
    peaks = {} if desk.plan.smoke else _peaks(desk)
    speed = found.get("update", {}).get("tasks_per_second")
    if speed and {"float32", "memory"} <= set(peaks):
        desk.keep(**shares(asked, speed, peaks))


def stage_function(asked: Workload, stage: str) -> tuple[Any, tuple[Any, ...]]:
    """A stage of the update and its arguments: each contains the one before it.

    forward: the network on all images at the shared weights; first: the first-order meta-gradient;
    second: the meta-gradient; update: the whole.
    """
    tx, params, tasks = recipes.optimizer(asked), recipes.params(asked), recipes.batch(asked)
    if stage == "update":
        return jmeta.step(recipes.loss(asked), tx), (jmeta.train_state(params, tx), tasks)
    if stage == "forward":
        net = recipes.network(asked)

        def forward(params: Any, tasks: Any) -> Any:
            each: Any = jax.vmap(net.apply, (None, 0))
            return jnp.sum(each(params, tasks.support.x)), jnp.sum(each(params, tasks.query.x))

        return forward, (params, tasks)
    order = asked._replace(algorithm="fomaml") if stage == "first" else asked
    return jmeta.meta_gradient(recipes.loss(order)), (params, tasks)


def _stage(desk: Desk, asked: Workload, stage: str) -> dict[str, Any]:
    """The time of a stage; of the update also its kernels."""
    function, arguments = stage_function(asked, stage)
    made = programs.program(function, arguments, "float32")
    seconds = programs.timed(made, smoke=desk.plan.smoke)
    found = {"tasks_per_second": asked.tasks / seconds["median"], "seconds": seconds, **made.cost}
    if stage == "update":
        found |= {"operations": operations(made.compiled.as_text()), "kernels": _kernels(made)}
    return found


def operations(text: str) -> dict[str, int]:
    """How often each operation stands in the entry and in the loops of a compiled program.

    >>> operations("  %a = f32[2]{0} fusion(%b), kind=kLoop")
    {'fusion kLoop': 1}
    """
    found: Counter[str] = Counter()
    for line in text.splitlines():
        if match := re.search(r"[})] (fusion|custom-call|while|copy|convolution|dot)\(", line):
            kind = re.search(r'kind=(\w+)|custom_call_target="([^"]+)"', line)
            found[" ".join([match[1], *filter(None, kind.groups() if kind else ())])] += 1
    return dict(found.most_common(20))


def _kernels(made: programs.Program) -> list[dict[str, Any]] | str:
    """The kernels of a few calls, by their share of the device's time."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                bench.once(made.call, 3)
            return heaviest(next(Path(folder).rglob("*.xplane.pb")))
    except Exception as error:  # no profiler on this machine
        return f"{type(error).__name__}: {error}"[:300]


def heaviest(path: Path) -> list[dict[str, Any]]:
    """The events of the device's streams in a trace: name, share of all their time, and count."""
    spent: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        for stream in plane.lines if "/device:" in plane.name else ():
            for event in stream.events if stream.name.startswith("Stream") else ():
                spent[event.name] += event.duration_ns
                count[event.name] += 1
    total = sum(spent.values()) or 1
    rows = spent.most_common(KERNELS)
    return [{"kernel": k[:120], "share": ns / total, "calls": count[k]} for k, ns in rows]


def _peaks(desk: Desk) -> dict[str, float]:
    """What the card reaches, measured: GFLOP/s of products in each precision, GB/s of memory.

    The matrices hold ones, for which a card may be some per cent faster than for random numbers.
    """
    found = {}
    for name, which, precision in PEAKS:
        if not desk.room(12, f"the rate of {which}, {precision}"):
            continue
        with jax.default_matmul_precision(programs.PRECISIONS[precision]):
            (row,) = bench.rates(seconds=1.0, repeats=3, only=which).values()
        found[name] = row["rate"]
        desk.keep(rate=name, of=which, value=row["rate"], unit=row["unit"])
    return found


def shares(asked: Workload, speed: float, peaks: dict[str, float]) -> dict[str, Any]:
    """Counted operations and bytes at some tasks per second, over the card's measured rates."""
    counted = roofline.operations(asked)
    bound = roofline.bound(counted, gflops=peaks["float32"], gigabytes=peaks["memory"])
    moved = counted.product_bytes + counted.pass_bytes
    return {
        "what": "shares of the roofline, float32",
        "tasks_per_second": speed,
        "share_of_arithmetic": speed * counted.flops / 1e9 / peaks["float32"],
        "share_of_memory": speed * moved / 1e9 / peaks["memory"],
        "share_of_bound": speed / bound,
        "bound_tasks_per_second": bound,
    }

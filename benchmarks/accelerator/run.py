"""Whole trainings of MAML on Omniglot, 5-way and 20-way 1-shot, second order, in float32."""

import tempfile
import time
from typing import Any

import jax

from accelerator.desk import Desk
from accelerator.packing import Packed
from accelerator.programs import PRECISIONS
from jmeta import train

PRESET = "omniglot-maml-5way-1shot"
# 20-way as published: five inner steps at a smaller rate, and half as many tasks an update.
WIDE = {"ways": 20, "tasks": 16, "inner_steps": 5, "inner_rate": 0.1}
SHARE = 3  # 20-way takes the third part of the updates
TOLD = ("start", "validation", "test")  # events that are kept
UPDATE, REST = 0.0015, 30.0  # seconds that an update of 5 ways, and all the rest, may take
WIDE_UPDATE = 0.005  # of 20 ways
TINY = {"steps": 4, "tasks": 2, "filters": 4, "validate_every": 2, "validation_episodes": 4}


def run(desk: Desk) -> None:
    """Train 5-way 1-shot, validating as the preset does; test on 1,000 episodes."""
    _run(desk, "5-way 1-shot", UPDATE, {})


def run20(desk: Desk) -> None:
    """The same with 20 ways and a third of the updates."""
    fewer = desk._replace(plan=desk.plan._replace(updates=max(1, desk.plan.updates // SHARE)))
    _run(fewer, "20-way 1-shot", WIDE_UPDATE, WIDE)


def _run(desk: Desk, named: str, update: float, chosen: dict[str, Any]) -> None:
    desk.machine()
    plan = desk.plan
    if plan.omniglot is None:
        desk.keep(what=named, left_out="no --omniglot FILE.npz was given")
        return
    if not desk.room(update * plan.updates + REST, f"{plan.updates} updates"):
        return
    jax.config.update("jax_default_matmul_precision", PRECISIONS["float32"])
    source = Packed(path=str(plan.omniglot), split="random")
    options: dict[str, Any] = (
        TINY | {"log_every": 2, "episodes": 8} if plan.smoke else {"steps": plan.updates}
    )
    experiment = train.experiment(start=train.preset(PRESET), dataset=source, **chosen | options)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        result = train.run(experiment, out, progress=_listener(desk, begun))
    wall = time.perf_counter() - begun
    desk.keep(
        **_summary(named, result),
        updates=experiment.budget.steps,
        precision="float32",
        wall_seconds=wall,
        result=result,
    )


def _summary(named: str, result: dict[str, Any]) -> dict[str, Any]:
    """The figures that are printed."""
    found = {"what": named, "best_step": result["best"]["step"]}
    for name, record in (("transductive", result), ("inductive", result["inductive"])):
        accuracy = record["metrics"]["accuracy"]
        found |= {name: accuracy["mean"], f"{name}_ci95": accuracy["ci95"]}
    return found


def _listener(desk: Desk, begun: float) -> train.Progress:
    """Keep the wall time of the first dispatch, and of every event that is not a dispatch.

    The loss is not kept: `metrics.jsonl` would have it.
    """
    dispatches = 0

    def tell(event: dict[str, Any]) -> None:
        nonlocal dispatches
        dispatches += event["event"] == "train"
        if event["event"] in TOLD or (event["event"] == "train" and dispatches == 1):
            desk.keep(**event, wall_seconds=time.perf_counter() - begun)

    return tell

"""A whole training of MAML on Omniglot, 5-way 1-shot, second order, in float32."""

import tempfile
import time
from typing import Any

import jax

from accelerator.desk import Desk
from accelerator.packing import Packed
from accelerator.programs import PRECISIONS
from jmeta import train

PRESET = "omniglot-maml-5way-1shot"
TOLD = ("start", "validation", "test")  # events that are kept
UPDATE, REST = 0.004, 45.0  # seconds that an update, and all the rest, may take
TINY = {"steps": 4, "tasks": 2, "filters": 4, "validate_every": 2, "validation_episodes": 4}


def run(desk: Desk) -> None:
    """Train, validating as the preset does; test the best checkpoint on 1,000 episodes."""
    desk.machine()
    plan = desk.plan
    if plan.omniglot is None:
        desk.keep(what=PRESET, left_out="no --omniglot FILE.npz was given")
        return
    if not desk.room(UPDATE * plan.updates + REST, f"{plan.updates} updates"):
        return
    jax.config.update("jax_default_matmul_precision", PRECISIONS["float32"])
    source = Packed(path=str(plan.omniglot), split="random")
    options: dict[str, Any] = (
        TINY | {"log_every": 2, "episodes": 8} if plan.smoke else {"steps": plan.updates}
    )
    experiment = train.experiment(start=train.preset(PRESET), dataset=source, **options)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        result = train.run(experiment, out, progress=_listener(desk, begun))
    wall = time.perf_counter() - begun
    desk.keep(
        **_summary(result),
        updates=experiment.budget.steps,
        precision="float32",
        wall_seconds=wall,
        result=result,
    )


def _summary(result: dict[str, Any]) -> dict[str, Any]:
    """The figures that are printed."""
    found = {"what": PRESET, "best_step": result["best"]["step"]}
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

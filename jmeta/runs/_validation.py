"""Validation: which step of a run is the best, and when a run has diverged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jmeta.core import TrainState
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _processes as processes
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs._programs import Parts
from jmeta.runs._progress import Progress


class Diverged(ArithmeticError):
    """The loss is not finite; the last good checkpoint was kept."""


class Best(NamedTuple):
    """The best validation so far; `value` is None before the first."""

    step: int
    value: float | None


def diverged(out: Path, what: str) -> Diverged:
    """The error of a run that has diverged, with the checkpoint that is kept."""
    kept = checkpoint.steps(out / records.CHECKPOINTS)
    last = f"the checkpoint of step {kept[-1]} is kept" if kept else "no checkpoint was made"
    return Diverged(f"{what}; {last}. Lower --rate or --inner-rate, or set --clip 10.")


Validate = Callable[[TrainState], dict[str, Any]]


def validator(parts: Parts, state: TrainState) -> Validate | None:
    """`state -> validation record`, compiled; None where there are no validation classes.

    Raises:
        ValueError: validation needs more memory than there is.
    """
    budget, domain = parts.experiment.budget, parts.domain
    if domain.val is None:
        return None
    learner, episodes = parts.method.learner, budget.validation_episodes
    predict = programs.predict(parts, learner, episodes=episodes, what="validation")
    key = programs.keys(budget.seed).val
    predict.prepare(state.params, domain.val, key)

    def validate(state: TrainState) -> dict[str, Any]:
        found = domain.report(*predict(state.params, domain.val, key))[domain.metric]
        if not np.isfinite(found.mean):
            return {"validation": None, "ci95": None}
        return {"validation": found.mean, "ci95": found.ci95}

    return validate


def validated(
    parts: Parts,
    out: Path,
    state: TrainState,
    step: int,
    best: Best,
    validate: Validate | None,
    progress: Progress,
) -> Best:
    """Validate, record it, and say which step is the best so far (the last, without classes).

    Adaptation that diverges on one task makes a mean infinite; such a step is never the best.
    """
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
        raise diverged(out, f"a parameter is not finite at step {step}")
    if validate is None:
        return Best(step, None)
    line = {"step": step, **validate(state)}
    if processes.first():
        records.append(out, line)
    progress({"event": "validation", **line})
    value = line["validation"]
    sign = 1 if parts.domain.higher_is_better else -1
    if value is None:
        return best if best.value is not None else Best(step, None)
    if best.value is None or sign * value > sign * best.value:
        return Best(step, value)
    return best

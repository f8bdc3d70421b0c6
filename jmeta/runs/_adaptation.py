"""Adaptation curves: how good a learner is after each inner step, beyond those it trained with."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jmeta.core import Params
from jmeta.experiments import Part
from jmeta.metrics import Estimate
from jmeta.runs import _plots as plots
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs import _report as report
from jmeta.runs._evaluate import load_run
from jmeta.runs._lock import locked
from jmeta.runs._programs import Parts
from jmeta.runs._writing import write_json


def adaptation_curve(
    out: str | Path,
    *,
    steps: int,
    episodes: int | None = None,
    root: str | None = None,
    known: Iterable[type[Part]] = (),
) -> dict[str, Any]:
    """Score and loss of a run's best checkpoint on test tasks after 0, 1, ..., K inner steps.

    Args:
        out: a folder written by `run`, of a gradient-based learner.
        steps: K ≥ 1; it may be more than the run was trained with.
        episodes: test tasks; None for the run's own number.
        root: where data sets are looked for; None for `$JMETA_DATA`.
        known: classes of your own that the run was made of.

    Returns:
        {"steps": [0..K], "metrics": {name: [{"mean", "ci95", "episodes"}, ... K + 1]},
        "protocol": ...}. The names are those of the report: accuracy, nll, ... or mse.

    Raises:
        ValueError: no run there, `steps` less than 1, or a learner without inner steps.
    """
    check_steps(steps)
    parts, params, best = load_run(out, root=root, known=known)
    outputs, targets = path_predictions(parts, params, steps=steps, episodes=episodes)
    return _record(parts, outputs, targets, best)


def check_steps(steps: int) -> None:
    """Refuse a curve of no steps with a ValueError."""
    if steps < 1:
        raise ValueError(f"an adaptation curve needs at least 1 step, but got {steps}.")


def _record(
    parts: Parts, outputs: np.ndarray, targets: np.ndarray, best: dict[str, Any]
) -> dict[str, Any]:
    steps = outputs.shape[1] - 1
    reports = [parts.domain.report(outputs[:, k], targets) for k in range(steps + 1)]
    metrics = {name: [Estimate(*found[name])._asdict() for found in reports] for name in reports[0]}
    protocol = {**report.protocol(parts), "inner_steps": steps, "episodes": len(targets)}
    return {
        "schema": report.SCHEMA,
        "steps": list(range(steps + 1)),
        "metrics": metrics,
        "protocol": protocol,
        "best": best,
    }


def write_curve(
    out: str | Path,
    *,
    steps: int,
    episodes: int | None = None,
    root: str | None = None,
    known: Iterable[type[Part]] = (),
) -> None:
    """Put the curve of a run beside it: adaptation.json, and adaptation.png.

    Args:
        out, steps, episodes, root, known: see `adaptation_curve`.

    Raises:
        ValueError: as `adaptation_curve`, or another process is writing in the folder.
    """
    check_steps(steps)
    out = Path(out)
    records.read_config(out, known)  # a folder without a run is not locked, which would make it
    with locked(out):
        parts, params, best = load_run(out, root=root, known=known)
        outputs, targets = path_predictions(parts, params, steps=steps, episodes=episodes)
        write_json(out / "adaptation.json", _record(parts, outputs, targets, best))
        scores = jax.vmap(jax.vmap(parts.domain.score, (0, None)))(outputs, targets)
        name, metric = parts.experiment.algorithm.name, parts.domain.metric
        plots.plot_curves_of_adaptation(
            {name: np.asarray(scores)}, metric=metric, path=out / "adaptation.png"
        )


def path_predictions(
    parts: Parts, params: Params, *, steps: int, episodes: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions on test tasks after every inner step.

    Returns:
        Query outputs [E, K + 1, Q, ...] and targets [E, Q, ...].

    Raises:
        ValueError: a learner without inner steps.
    """
    if parts.method.curve is None:
        name = parts.experiment.algorithm.name
        raise ValueError(f"{name} takes no inner steps, so it has no adaptation curve.")
    budget = parts.experiment.budget
    predict = programs.predict(
        parts, parts.method.curve(steps), episodes=episodes or budget.episodes
    )
    return predict(params, parts.domain.test, programs.keys(budget.seed).test)

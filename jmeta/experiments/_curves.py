"""Pictures of one regression task: what was given, what is true, and what the learner says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jmeta.core import Task
from jmeta.experiments._figures import BAD, GOOD, INK, quiet_axes, save, shortened
from jmeta.losses import Gaussian


def regression(
    task: Task, outputs: Any, path: Path, *, info: Mapping[str, Any] | None = None
) -> None:
    """A regression task: a function of one input, or predictions against the truth.

    Args:
        task: with targets [Q, 1]; of several only the first is drawn.
        outputs: the predictions, or their distribution.
        path: where to write the picture.
        info: facts about the set. A table has the names of its columns and the units of its
            target there.
    """
    x = getattr(task.support.x, "x", task.support.x)  # a neural process has a mask beside them
    support, query = (np.asarray(x), np.asarray(task.support.y)), task.query
    deviation = None
    if isinstance(outputs, Gaussian):
        outputs, deviation = _moments(outputs)
    drawn = _Drawn(
        *support, np.asarray(query.x), np.asarray(query.y), np.asarray(outputs), deviation
    )
    about = dict(info or {})
    if query.x.shape[-1] == 1:
        _function(_in_units(drawn, about), about, path)
    else:
        _agreement(_in_units(drawn, about), about, path)


class _Drawn(NamedTuple):
    """A regression task as it is drawn."""

    given_x: np.ndarray  # [S, D]
    given_y: np.ndarray  # [S, 1]
    x: np.ndarray  # [Q, D]
    y: np.ndarray  # [Q, 1]
    said: np.ndarray  # [Q, 1]
    deviation: np.ndarray | None  # [Q, 1] of what is said


def _in_units(drawn: _Drawn, info: Mapping[str, Any]) -> _Drawn:
    """Targets and predictions of a table in the units of its column."""
    aim = info.get("target")
    if not isinstance(aim, dict):
        return drawn
    mean, unit = aim["mean"], aim["deviation"]
    numbers = {name: getattr(drawn, name) * unit + mean for name in ("given_y", "y", "said")}
    spread = None if drawn.deviation is None else drawn.deviation * unit
    return drawn._replace(**numbers, deviation=spread)


def _moments(outputs: Gaussian) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [Q, D] of a prediction, or of equal parts of L of them."""
    mean, scale = np.asarray(outputs.mean), np.asarray(outputs.scale)
    if mean.ndim == 2:
        return mean, scale
    return mean.mean(1), np.sqrt(mean.var(1) + (scale**2).mean(1))


def _function(drawn: _Drawn, info: Mapping[str, Any], path: Path) -> None:
    """A regression task: the support points, the truth and the prediction, twice its deviation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    order = np.argsort(drawn.x[:, 0])
    x, said = drawn.x[order, 0], drawn.said[order, 0]
    truth = "x" if "target" in info else "-"  # rows of a table are no function
    axes.plot(x, drawn.y[order, 0], truth, color=INK, lw=1.5, label="truth")
    axes.plot(x, said, color=GOOD, lw=1.8, label="after adaptation")
    if drawn.deviation is not None:
        half = 2 * drawn.deviation[order, 0]
        axes.fill_between(x, said - half, said + half, color=GOOD, alpha=0.2, lw=0)
    axes.plot(drawn.given_x[:, 0], drawn.given_y[:, 0], "o", color=BAD, ms=6, label="support")
    features = info.get("features") or []
    across = f"{features[0]} (standardised)" if features else "x"
    axes.set_xlabel(across, parse_math=False)
    axes.set_ylabel(_target(info) or "y", parse_math=False)
    axes.set_title("A test task")
    axes.legend(frameon=False)
    quiet_axes(axes)
    save(figure, path)


def _agreement(drawn: _Drawn, info: Mapping[str, Any], path: Path) -> None:
    """A regression task of several features: what is predicted against what is true."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3.8), layout="constrained")
    axes = figure.subplots()
    truth, said = drawn.y[:, 0], drawn.said[:, 0]
    ends = [min(truth.min(), said.min()), max(truth.max(), said.max())]
    axes.plot(ends, ends, color=INK, lw=1, label="right")
    axes.plot(truth, said, "o", color=GOOD, ms=5, label="queries")
    target = _target(info)
    axes.set_xlabel(f"{target}, truth" if target else "truth", parse_math=False)
    below = f"{target}, after adaptation" if target else "after adaptation"
    axes.set_ylabel(below, parse_math=False)
    axes.set_title("A test task")
    axes.legend(frameon=False)
    quiet_axes(axes)
    save(figure, path)


def _target(info: Mapping[str, Any]) -> str:
    """The name of a table's target; nothing for other sets."""
    aim = info.get("target")
    return shortened(str(aim["column"]), 40) if isinstance(aim, dict) else ""

"""Pictures: the learning curve of a run, one test episode, and adaptation step by step."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jmeta.core import Params, Task
from jmeta.experiments._figures import BAD, GOOD, INK, logarithmic, quiet_axes, save
from jmeta.runs import _programs as programs
from jmeta.runs._programs import Parts

# told apart by eyes that mix red and green, too (Okabe, Ito: Color Universal Design, 2008)
HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("-", "--", "-.", ":")


def curves(lines: list[dict[str, Any]], *, metric: str, path: Path) -> bool:
    """Draw loss (left) and metric (right) against outer updates, validation with its interval.

    Returns:
        Whether there is a picture; one that cannot be drawn is a warning.
    """
    return drawn(path, lambda: _curves(lines, metric, path))


def _curves(lines: list[dict[str, Any]], metric: str, path: Path) -> None:
    from matplotlib.figure import Figure

    train = [line for line in lines if "loss" in line]
    val = [line for line in lines if line.get("validation") is not None]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    at = [line["step"] for line in train]
    left.plot(at, [line["loss"] for line in train], color=INK, lw=1.2)
    left.set(xlabel="outer updates", ylabel="meta-training loss")
    right.plot(at, [line[metric] for line in train], color=INK, lw=1, alpha=0.55, label="training")
    if val:
        mean = np.array([line["validation"] for line in val])
        half = np.array([line["ci95"] for line in val])
        steps = [line["step"] for line in val]
        right.plot(steps, mean, color=GOOD, lw=1.8, marker="o", ms=3, label="validation")
        right.fill_between(steps, mean - half, mean + half, color=GOOD, alpha=0.2, lw=0)
    right.set(xlabel="outer updates", ylabel=metric)
    right.legend(frameon=False)
    for axes in (left, right):
        quiet_axes(axes)
        if metric == "mse":  # a likelihood may be negative
            logarithmic(axes)
    save(figure, path)


def drawn(path: Path, draw: Callable[[], Any]) -> bool:
    """Draw a picture, where it can be drawn; a run is never lost for one.

    Args:
        path: where the picture is written. An older one there is removed.
        draw: writes it. What goes wrong in it becomes a warning.

    Returns:
        Whether there is a picture.
    """
    try:
        path.unlink(missing_ok=True)
        draw()
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        warnings.warn(f"{path.name} is not drawn ({reason}); all else is there.", stacklevel=2)
    return path.exists()


def episode(parts: Parts, params: Params, *, path: Path) -> bool:
    """Draw the first test episode: support, queries, and what the learner says of them.

    Returns:
        Whether there is a picture; the episodes of some sources have none, and one that cannot be
        drawn is a warning.
    """
    return drawn(path, lambda: _episode(parts, params, path))


def _episode(parts: Parts, params: Params, path: Path) -> None:
    domain, learner = parts.domain, parts.method.learner
    if domain.draw is None:
        return
    key = jax.random.fold_in(programs.keys(parts.experiment.budget.seed).test, 0)
    task = jax.jit(domain.sample_eval)(key, domain.test)

    @jax.jit
    @parts.experiment.device.traced
    def guess(params: Params, task: Task) -> Any:
        return learner.predict(learner.adapt(params, task.support), task.query.x)

    domain.draw(task, guess(params, task), path)


def plot_adaptation(
    tasks: Task, predictions: Mapping[int, Any], *, path: Path | None = None
) -> Any:
    """Regression tasks of one input: truth, support points, and predictions as steps go by.

    Args:
        tasks: one task with x and y [S, 1] and [Q, 1], or several with a leading axis [T]. The
            query inputs are a dense grid and their targets the true function.
        predictions: inner steps -> outputs at the query inputs, [Q, 1] or [T, Q, 1].
        path: where to write a picture. None: nowhere.

    Returns:
        The figure, which a notebook shows.

    Raises:
        ValueError: inputs of several dimensions, no prediction, or one of another shape.

    >>> from jmeta.core import Batch
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> task = Task(Batch(x[::10], x[::10]), Batch(x, x))
    >>> len(plot_adaptation(task, {0: 0 * x, 1: 0.5 * x, 10: x}).axes)
    1
    """
    from matplotlib.figure import Figure

    plain = Task(*(batch._replace(key=None) for batch in tasks))
    given = plain, dict(predictions)
    alone = np.ndim(tasks.query.x) == 2
    many, drawn = jax.tree.map(lambda a: np.asarray(a)[None] if alone else np.asarray(a), given)
    _check_drawn(many, drawn)
    wide = min(len(many.query.x), 3)
    high = -(-len(many.query.x) // wide)
    figure = Figure(figsize=(4.2 * wide, 3.2 * high), layout="constrained")
    for index in range(len(many.query.x)):
        _adapting(figure.add_subplot(high, wide, index + 1), many, drawn, index)
    figure.axes[0].legend(frameon=False, fontsize=8)
    if path is not None:
        save(figure, path)
    return figure


def _adapting(axes: Any, tasks: Task, drawn: Mapping[int, np.ndarray], index: int) -> None:
    """One task: the more steps, the darker the line."""
    support, query = (jax.tree.map(lambda leaf: leaf[index, :, 0], part) for part in tasks)
    order = np.argsort(query.x)
    axes.plot(query.x[order], query.y[order], color=INK, lw=1.5, label="truth")
    for place, (steps, outputs) in enumerate(sorted(drawn.items())):
        axes.plot(
            *(query.x[order], outputs[index, order, 0]),
            color=HUES[0],
            alpha=0.25 + 0.75 * (place + 1) / len(drawn),
            ls=DASHES[(len(drawn) - 1 - place) % len(DASHES)],  # the last is solid
            label=f"{steps} step{'s' * (steps != 1)}",
        )
    axes.plot(support.x, support.y, "o", color=BAD, ms=5, label="support")
    axes.set(xlabel="x", ylabel="y")
    quiet_axes(axes)


def _check_drawn(tasks: Task, drawn: Mapping[int, np.ndarray]) -> None:
    shapes = {steps: outputs.shape for steps, outputs in drawn.items()}
    grid = tuple(tasks.query.y.shape)
    if not drawn or grid[-1] != 1 or tasks.query.x.shape != grid or {grid} != {*shapes.values()}:
        raise ValueError(
            f"got query x {list(tasks.query.x.shape)}, y {list(grid)} and predictions {shapes}, "
            "expected x, y and every prediction of one shape [T, Q, 1] (or [Q, 1] for one task): "
            "give tasks of one input and the outputs at their query inputs."
        )


def plot_curves_of_adaptation(
    curves: Mapping[str, Any], *, metric: str, path: Path | None = None
) -> Any:
    """A metric after each inner step, a line a learner with the 95% interval of its mean.

    Args:
        curves: learner -> values [E, K + 1]: of E episodes, after 0 to K steps.
        metric: its name. A loss (any but "accuracy") that stays above 0 has a logarithmic axis.
        path: where to write a picture. None: nowhere.

    Returns:
        The figure, which a notebook shows.

    Raises:
        ValueError: no learner, or values that are not [E, K + 1].

    >>> values = np.random.default_rng(0).uniform(1, 2, (20, 6))
    >>> figure = plot_curves_of_adaptation({"maml": values, "anil": values / 2}, metric="mse")
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['maml', 'anil']
    """
    from matplotlib.figure import Figure

    values = {name: np.asarray(given, np.float64) for name, given in curves.items()}
    shapes = {name: one.shape for name, one in values.items()}
    if not shapes or any(len(shape) != 2 or 0 in shape for shape in shapes.values()):
        raise ValueError(
            f"got values of shapes {shapes}, expected "
            "[E, K + 1] for one learner or more: a row an episode, a column after each step."
        )
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for place, (name, one) in enumerate(values.items()):
        steps, mean, half = np.arange(one.shape[1]), one.mean(0), _half(one)
        hue, dash = HUES[place % len(HUES)], DASHES[place // len(HUES) % len(DASHES)]
        axes.plot(steps, mean, lw=1.6, label=name, color=hue, ls=dash)
        axes.fill_between(steps, mean - half, mean + half, alpha=0.2, lw=0, fc=hue)
    axes.set(xlabel="inner steps", ylabel=metric, title="Adaptation, step by step")
    if metric != "accuracy" and all((one.mean(0) > 0).all() for one in values.values()):
        logarithmic(axes)
    axes.legend(frameon=False)
    quiet_axes(axes)
    if path is not None:
        save(figure, path)
    return figure


def _half(values: np.ndarray) -> np.ndarray:
    """Half the width of the 95% interval of the mean over episodes: 1.96 σ/√E, [E, K] -> [K]."""
    episodes = len(values)
    return 1.96 * values.std(0, ddof=min(1, episodes - 1)) / np.sqrt(episodes)

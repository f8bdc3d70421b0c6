"""Pictures of one test episode: what was given, what is true, and what the learner says."""

from pathlib import Path
from typing import Any

import numpy as np

from jmeta.core import Task
from jmeta.losses import Gaussian

GOOD, BAD, INK = "#1b7f5c", "#c4372f", "#22313f"


def save(figure: Any, path: Path) -> None:
    """Write a figure whole or not at all."""
    scratch = path.with_name(path.stem + ".tmp.png")
    figure.savefig(scratch, dpi=150, facecolor="white")
    scratch.replace(path)


def quiet_axes(axes: Any) -> None:
    """A faint grid, and no frame above and to the right."""
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def images(task: Task, outputs: Any, path: Path, *, most: int = 10) -> None:
    """A row a class: its support examples, then its queries framed green or red."""
    from matplotlib.figure import Figure

    logits = np.asarray(outputs)
    ways = logits.shape[-1]
    shown = min(ways, 10)
    support_y, query_y = np.asarray(task.support.y), np.asarray(task.query.y)
    shots = min(int((support_y == 0).sum()), 5)
    queries = min(int((query_y == 0).sum()), most)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    odds /= odds.sum(-1, keepdims=True)
    right = (logits.argmax(-1) == query_y)[query_y >= 0].mean()
    figure = Figure(figsize=(0.95 * (shots + queries) + 0.8, 1.15 * shown + 0.7))
    grid = figure.subplots(
        *(shown, shots + queries + 1),
        squeeze=False,
        gridspec_kw={"width_ratios": [1] * shots + [0.25] + [1] * queries},
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for way in range(shown):
        for column, index in enumerate(np.flatnonzero(support_y == way)[:shots]):
            _picture(grid[way, column], task.support.x[index], INK, f"class {way + 1}")
        for column, index in enumerate(np.flatnonzero(query_y == way)[:queries]):
            said = int(logits[index].argmax())
            label = f"{said + 1} · {odds[index, said]:.0%}"
            colour = GOOD if said == way else BAD
            _picture(grid[way, shots + 1 + column], task.query.x[index], colour, label)
    figure.suptitle(
        f"A test episode: support (left), queries with the predicted class (right); "
        f"{right:.0%} of its queries right",
        fontsize=10,
        color=INK,
    )
    figure.subplots_adjust(0.02, 0.02, 0.98, 0.9 if shown > 2 else 0.78, 0.12, 0.35)
    save(figure, path)


def _picture(axes: Any, image: Any, colour: str, label: str) -> None:
    pixels = np.asarray(image)
    grey = pixels.shape[-1] == 1
    axes.set_axis_on()
    axes.imshow(1 - pixels[..., 0] if grey else pixels, cmap="gray" if grey else None)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(label, fontsize=7.5, color=colour, pad=2)
    for spine in axes.spines.values():
        spine.set_edgecolor(colour)
        spine.set_linewidth(1.6)


def regression(task: Task, outputs: Any, path: Path) -> None:
    """A regression task: a function of one input, or predictions against the truth."""
    x = getattr(task.support.x, "x", task.support.x)  # a neural process has a mask beside them
    task = task._replace(support=task.support._replace(x=x))
    deviation = None
    if isinstance(outputs, Gaussian):
        outputs, deviation = _moments(outputs)
    if task.query.x.shape[-1] == 1:
        _function(task, np.asarray(outputs), path, deviation=deviation)
    else:
        _agreement(task, np.asarray(outputs), path)


def _moments(outputs: Gaussian) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation [Q, D] of a prediction, or of equal parts of L of them."""
    mean, scale = np.asarray(outputs.mean), np.asarray(outputs.scale)
    if mean.ndim == 2:
        return mean, scale
    return mean.mean(1), np.sqrt(mean.var(1) + (scale**2).mean(1))


def _function(
    task: Task, outputs: np.ndarray, path: Path, deviation: np.ndarray | None = None
) -> None:
    """A regression task: the support points, the truth and the prediction, twice its deviation."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    x = np.asarray(task.query.x)[:, 0]
    order = np.argsort(x)
    axes.plot(x[order], np.asarray(task.query.y)[order, 0], color=INK, lw=1.5, label="truth")
    axes.plot(x[order], outputs[order, 0], color=GOOD, lw=1.8, label="after adaptation")
    if deviation is not None:
        low, high = (outputs + sign * 2 * deviation for sign in (-1, 1))
        axes.fill_between(x[order], low[order, 0], high[order, 0], color=GOOD, alpha=0.2, lw=0)
    points = np.asarray(task.support.x)[:, 0], np.asarray(task.support.y)[:, 0]
    axes.plot(*points, "o", color=BAD, ms=6, label="support")
    axes.set(xlabel="x", ylabel="y", title="A test task")
    axes.legend(frameon=False)
    quiet_axes(axes)
    save(figure, path)


def _agreement(task: Task, outputs: np.ndarray, path: Path) -> None:
    """A regression task of several features: what is predicted against what is true."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3.8), layout="constrained")
    axes = figure.subplots()
    truth = np.asarray(task.query.y)[:, 0]
    ends = [min(truth.min(), outputs.min()), max(truth.max(), outputs.max())]
    axes.plot(ends, ends, color=INK, lw=1, label="right")
    axes.plot(truth, outputs[:, 0], "o", color=GOOD, ms=5, label="queries")
    axes.set(xlabel="truth", ylabel="after adaptation", title="A test task")
    axes.legend(frameon=False)
    quiet_axes(axes)
    save(figure, path)

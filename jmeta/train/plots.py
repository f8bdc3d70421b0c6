"""Pictures of a run: its learning curve, and one test episode with its predictions."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jmeta.core import Params, Task
from jmeta.train import build, programs
from jmeta.train.programs import Parts

GOOD, BAD, INK = "#1b7f5c", "#c4372f", "#22313f"


def _save(figure: Any, path: Path) -> None:
    scratch = path.with_name(path.stem + ".tmp.png")
    figure.savefig(scratch, dpi=150, facecolor="white")
    scratch.replace(path)


def _axes(axes: Any) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def curves(lines: list[dict[str, Any]], *, metric: str, path: Path) -> None:
    """Loss (left) and metric (right) against outer updates, validation with its interval."""
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
        _axes(axes)
        if metric == "mse":
            axes.set_yscale("log")
    _save(figure, path)


def episode(parts: Parts, params: Params, *, path: Path) -> None:
    """The first test episode: support, queries, and what the learner says of them."""
    key = jax.random.fold_in(programs.keys(parts.config.seed).test, 0)
    learner = build.eval_learner(parts.config, parts.net.apply)
    draw = jax.jit(parts.built.sample_eval)
    task = draw(key, parts.built.test)

    @jax.jit
    def guess(params: Params, task: Task) -> Any:
        return learner.predict(learner.adapt(params, task.support), task.query.x)

    outputs = guess(params, task)
    if parts.built.metric == "accuracy" and task.support.x.ndim == 4:
        _images(task, np.asarray(outputs), path)
    elif parts.built.metric == "mse":
        _function(task, np.asarray(outputs), path)


def _images(task: Task, logits: np.ndarray, path: Path, most: int = 10) -> None:
    """A row a class: its support examples, then its queries framed green or red."""
    from matplotlib.figure import Figure

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
    _save(figure, path)


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


def _function(task: Task, outputs: np.ndarray, path: Path) -> None:
    """A regression task: the support points, the truth and the prediction."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    x = np.asarray(task.query.x)[:, 0]
    order = np.argsort(x)
    axes.plot(x[order], np.asarray(task.query.y)[order, 0], color=INK, lw=1.5, label="truth")
    axes.plot(x[order], outputs[order, 0], color=GOOD, lw=1.8, label="after adaptation")
    points = np.asarray(task.support.x)[:, 0], np.asarray(task.support.y)[:, 0]
    axes.plot(*points, "o", color=BAD, ms=6, label="support")
    axes.set(xlabel="x", ylabel="y", title="A test task")
    axes.legend(frameon=False)
    _axes(axes)
    _save(figure, path)

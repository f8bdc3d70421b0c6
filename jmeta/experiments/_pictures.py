"""Pictures of one test episode of images: what was given, and what the learner says."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jmeta.core import Task
from jmeta.core._text import printable
from jmeta.data import Pool
from jmeta.experiments._figures import BAD, GOOD, INK, save


def images(
    task: Task,
    outputs: Any,
    path: Path,
    *,
    names: Mapping[int, str] | None = None,
    inverted: bool = True,
    most: int = 10,
) -> None:
    """A row a class: its name and support examples, then its queries framed green or red.

    Over a query stand the number of the row of the predicted class, and its probability.

    Args:
        task: with images x [E, H, W, C]; of other than 1 or 3 channels the first ones are shown.
        outputs: logits of the queries.
        path: where to write the picture.
        names: label -> class; numbers from 1 without it.
        inverted: of grey images, whether paper is 0 and ink 1.
        most: so many queries of a class are shown, and at most 5 support examples of 10 classes.
    """
    logits, labels = np.asarray(outputs), np.asarray(task.query.y)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    odds /= odds.sum(-1, keepdims=True)
    right = (logits.argmax(-1) == labels)[labels >= 0].mean()
    shown, channels = _visible(task)
    support = _columns(task.support.y, logits.shape[-1], 5)
    query = _columns(task.query.y, logits.shape[-1], most)
    title = (
        "A test episode: support (left), queries with the predicted class and its probability "
        f"(right); {right:.0%} of its queries right{channels}"
    )
    figure, grid = _grid(support.shape, query.shape[1], title, named=bool(names))
    for way, place, index in _places(support):
        _picture(grid[way, place], shown.support.x[index], INK, "", inverted)
        if place == 0:
            _name(grid[way, 0], way, (names or {}).get(way, ""))
    for way, place, index in _places(query):
        said = int(logits[index].argmax())
        label, colour = f"{said + 1} · {odds[index, said]:.0%}", GOOD if said == way else BAD
        place += support.shape[1] + 1
        _picture(grid[way, place], shown.query.x[index], colour, label, inverted)
    save(figure, path)


def names_of_classes(pool: Pool, names: Sequence[str]) -> Callable[[Task], dict[int, str]]:
    """How to find the names of an episode's classes: its examples are looked up among the pool's.

    Args:
        pool: the pool that episodes are drawn from.
        names: the name of each of its classes.

    Returns:
        task -> {label: name}, without the labels whose class is not found or not certain.
    """

    def found(task: Task) -> dict[int, str]:
        owners = dict[int, set[int]]()
        ends = np.cumsum(np.asarray(pool.counts))
        examples = np.asarray(pool.examples)
        for place, example in enumerate(examples):
            owner = int(np.searchsorted(ends, place, side="right"))
            owners.setdefault(hash(example.tobytes()), set()).add(owner)
        x = np.asarray(task.support.x)
        x = np.rint(x * 255).astype(np.uint8) if examples.dtype == np.uint8 else x
        labelled = dict[int, str]()
        for way in sorted({int(label) for label in np.asarray(task.support.y) if label >= 0}):
            classes = _common(owners, x[np.asarray(task.support.y) == way])
            if len(classes) == 1:
                labelled[way] = names[classes.pop()]
        return labelled

    return found


def _common(owners: Mapping[int, set[int]], examples: np.ndarray) -> set[int]:
    """The classes that have all of some images, in one of their quarter turns."""
    for turns in range(4):
        turned = np.rot90(examples, -turns, axes=(1, 2))
        sets = [owners.get(hash(np.ascontiguousarray(x).tobytes()), set()) for x in turned]
        if classes := set.intersection(*sets):
            return classes
    return set()


def _visible(task: Task) -> tuple[Task, str]:
    """The images in channels that can be shown, in 0..1, and what to say of the channels."""
    count = task.query.x.shape[-1]
    kept = 3 if count >= 3 else 1
    parts = [np.asarray(batch.x, np.float32)[..., :kept] for batch in task]
    low = min(float(part.min(initial=0)) for part in parts)
    high = max(float(part.max(initial=1)) for part in parts)
    scaled = [part if (low, high) == (0, 1) else (part - low) / (high - low) for part in parts]
    said = "" if count == kept else f" (channel{'s 1 to 3' * (kept == 3) or ' 1'} of {count})"
    both = (batch._replace(x=x) for batch, x in zip(task, scaled, strict=True))
    return Task(*both), said


def _columns(labels: Any, ways: int, most: int) -> np.ndarray:
    """The places [ways, columns] of each class's examples, filled with -1; at most 10 classes."""
    places = [np.flatnonzero(np.asarray(labels) == way)[:most] for way in range(min(ways, 10))]
    wide = max(1, *(len(one) for one in places), 0)
    return np.array([[*one, *[-1] * (wide - len(one))] for one in places])


def _places(columns: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Class, column and place of every example that is there."""
    for (way, column), index in np.ndenumerate(columns):
        if index >= 0:
            yield way, column, int(index)


def _grid(support: tuple[int, ...], queries: int, title: str, *, named: bool) -> tuple[Any, Any]:
    """A figure with a row a class, room for its name, and a title that is as wide as it may be."""
    from matplotlib.figure import Figure

    rows, shots = support
    left = 1.3 if named else 0.3
    wide = max(0.95 * (shots + queries) + 0.8, 3.2) + left
    text = textwrap.fill(title, int(13 * wide))
    above = 0.35 + 0.17 * (text.count("\n") + 1)
    figure = Figure(figsize=(wide, 1.15 * rows + above))
    ratios = [1.0] * shots + [0.25] + [1.0] * queries
    grid = figure.subplots(
        *(rows, len(ratios)), squeeze=False, gridspec_kw={"width_ratios": ratios}
    )
    for axes in grid.flat:
        axes.set_axis_off()
    figure.suptitle(text, fontsize=10, color=INK, y=1 - 0.08 / (1.15 * rows + above), va="top")
    top = 1 - above / (1.15 * rows + above)
    figure.subplots_adjust(left / wide, 0.02, 0.98, top, 0.12, 0.35)
    return figure, grid


def _name(axes: Any, way: int, name: str) -> None:
    """The number of a class, and its name in at most four short lines, beside its row."""
    lines = textwrap.wrap(printable(name), 16, max_lines=4, placeholder="…")
    text = "\n".join([str(way + 1), *lines])
    axes.set_ylabel(text, fontsize=7, color=INK, parse_math=False)
    axes.yaxis.label.set(rotation=0, ha="right", va="center")


def _picture(axes: Any, pixels: np.ndarray, colour: str, label: str, inverted: bool) -> None:
    grey = pixels.shape[-1] == 1
    axes.set_axis_on()
    if grey:
        axes.imshow(pixels[..., 0], cmap="gray_r" if inverted else "gray", vmin=0, vmax=1)
    else:
        axes.imshow(pixels)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(label, fontsize=7, color=colour, pad=2, parse_math=False)
    for spine in axes.spines.values():
        spine.set_edgecolor(colour)
        spine.set_linewidth(1.6)

"""What a run says of one's own files: a record, a table, and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jmeta.core._text import printable
from jmeta.experiments._figures import BAD, GOOD, INK, quiet_axes, save
from jmeta.few._fewshot import Adapted, FewShot
from jmeta.few._files import Labelled, as_csv

SCHEMA = 1
_MOST = 40  # images in a picture


def answers(few: FewShot, support: Labelled, queries: Labelled, *, fit: Any) -> dict[str, Any]:
    """Adapt to the support set and answer the queries.

    Args:
        few: the model.
        support: labelled examples.
        queries: examples; where their labels are known, how many are right is counted.
        fit: how images that are not square are fitted.

    Returns:
        A record that JSON can hold: "classes" (None for regression), "support" (how many), and
        "answers", one for each query. With known labels also "accuracy" or "rmse".

    Raises:
        ValueError: examples that the run cannot take.
    """
    adapted = few.adapt(support.x, support.y, fit=fit)
    said = _values if adapted.classes is None else _labels
    record = {
        "schema": SCHEMA,
        "model": repr(few),
        "classes": adapted.classes,
        "support": len(support.names),
    }
    return {**record, **said(adapted, queries, fit)}


def _labels(adapted: Adapted, queries: Labelled, fit: Any) -> dict[str, Any]:
    """Answers of classification, and the accuracy where all true labels are classes."""
    odds = adapted.predict_proba(queries.x, fit=fit)
    classes = adapted.classes or []
    truth = queries.y if queries.y is not None and set(queries.y) <= set(classes) else None
    found: list[dict[str, Any]] = []
    for place, name in enumerate(queries.names):
        best = int(odds[place].argmax())
        answer: dict[str, Any] = {queries.unit: name, "label": classes[best]}
        answer["probability"] = float(odds[place, best])
        answer["probabilities"] = dict(zip(classes, map(float, odds[place]), strict=True))
        found.append(answer if truth is None else {**answer, "truth": truth[place]})
    if truth is None:
        return {"answers": found}
    right = sum(answer["label"] == answer["truth"] for answer in found)
    return {"answers": found, "right": right, "accuracy": right / len(found)}


def _values(adapted: Adapted, queries: Labelled, fit: Any) -> dict[str, Any]:
    """Answers of regression, and the root of the mean squared error where targets are known."""
    mean, deviation = adapted.values(queries.x, fit=fit)
    found: list[dict[str, Any]] = []
    for place, name in enumerate(queries.names):
        answer: dict[str, Any] = {queries.unit: name, "value": np.asarray(mean[place]).tolist()}
        if deviation is not None:
            answer["deviation"] = np.asarray(deviation[place]).tolist()
        found.append(answer if queries.y is None else {**answer, "truth": queries.y[place]})
    if queries.y is None:
        return {"answers": found}
    error = float(np.sqrt(np.mean((np.asarray(mean) - np.asarray(queries.y)) ** 2)))
    return {"answers": found, "rmse": error}


def columns(record: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The answers as a table: names of its columns, and its rows."""
    titles = [name for name in record["answers"][0] if name != "probabilities"]
    return titles, [[answer[name] for name in titles] for answer in record["answers"]]


def written_csv(record: dict[str, Any]) -> str:
    """The answers as CSV, with a column for the probability of each class."""
    titles, rows = columns(record)
    classes = record["classes"] or []
    odds = [[answer["probabilities"][c] for c in classes] for answer in record["answers"]]
    more = [f"p({name})" for name in classes]
    both = zip(rows, odds, strict=True) if classes else ((row, []) for row in rows)
    text = as_csv([*titles, *more], [[*row, *each] for row, each in both])
    return text.encode("utf-8", "backslashreplace").decode()  # a folder whose name is no UTF-8


def picture(record: dict[str, Any], x: np.ndarray, path: Path, *, inverted: bool) -> None:
    """Draw the answers: images with their labels, or values with their deviations.

    Args:
        record: from `answers`.
        x: the queries as the network takes them.
        path: where to write the picture.
        inverted: of grey images, whether ink is 1.
    """
    if record["classes"] is not None and x.ndim == 4 and x.shape[-1] in (1, 3):
        _images(record["answers"], x, path, inverted=inverted)
    else:
        _bars(record, path)


def _images(found: Sequence[dict[str, Any]], x: np.ndarray, path: Path, *, inverted: bool) -> None:
    from matplotlib.figure import Figure

    shown = min(len(found), _MOST)
    wide = min(shown, 8)
    rows = -(-shown // wide)
    figure = Figure(figsize=(1.35 * wide + 0.3, 1.8 * rows + 0.6), layout="constrained")
    grid = np.atleast_1d(np.asarray(figure.subplots(rows, wide, squeeze=False))).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, answer, pixels in zip(grid, found, x, strict=False):
        right = answer.get("truth", answer["label"]) == answer["label"]
        colour = INK if "truth" not in answer else GOOD if right else BAD
        axes.set_axis_on()
        grey = pixels.shape[-1] == 1
        tones = {"cmap": "gray_r" if inverted else "gray", "vmin": 0, "vmax": 1}
        axes.imshow(pixels[..., 0] if grey else pixels, **(tones if grey else {}))
        axes.set(xticks=[], yticks=[])
        label = printable(str(answer["label"]))
        text = f"{label[:15]}{'…' * (len(label) > 15)}\n{answer['probability']:.0%}"
        axes.set_title(text, fontsize=8, color=colour, pad=2, parse_math=False)
        name = printable(str(answer.get("file", answer.get("line"))))
        axes.set_xlabel(f"{'…' * (len(name) > 20)}{name[-20:]}", fontsize=6, parse_math=False)
        for spine in axes.spines.values():
            spine.set(edgecolor=colour, linewidth=1.6)
    known = [answer for answer in found if "truth" in answer]
    right = sum(answer["truth"] == answer["label"] for answer in known)
    said = f", {right} of {len(known)} right" if known else ""
    more = f" (the first {shown} of {len(found)})" if shown < len(found) else ""
    figure.suptitle(f"Answers and their probabilities{said}{more}", fontsize=10, color=INK)
    save(figure, path)


def _bars(record: dict[str, Any], path: Path) -> None:
    """Values, or probabilities of the chosen classes, by the number of the query."""
    from matplotlib.figure import Figure

    found, classes = record["answers"], record["classes"]
    name = "value" if classes is None else "probability"
    values = np.array([np.ravel(answer[name])[0] for answer in found], float)
    spread = [np.ravel(answer.get("deviation", 0.0))[0] for answer in found]
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(1, len(found) + 1)
    bars = 2 * np.asarray(spread, float) if any(spread) else None
    label = "answer ± 2 deviations" if bars is not None else "answer"
    axes.errorbar(places, values, bars, fmt="o", color=GOOD, ms=4, label=label)
    if classes is None and "truth" in found[0]:
        truth = [np.ravel(answer["truth"])[0] for answer in found]
        axes.plot(places, truth, "x", color=BAD, label="truth")
    axes.set(xlabel="query", ylabel="predicted value" if classes is None else "probability")
    axes.set_title("Answers")
    axes.legend(frameon=False)
    quiet_axes(axes)
    save(figure, path)

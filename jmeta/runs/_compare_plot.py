"""The picture of a comparison: every run with its interval, and the paired differences."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jmeta.core._text import printable
from jmeta.experiments._figures import BAD, GOOD, INK, quiet_axes, save, shortened

_UNITS = {
    "accuracy": "fraction of queries",
    "precision": "mean over classes",
    "recall": "mean over classes",
    "f1": "mean over classes",
    "nll": "nats a query",
    "ece": "fraction",
    "mse": "squared units of the targets",
}
_LOSSES = ("nll", "ece", "mse")  # the smaller, the better
_APART = 0.17  # between the plain and the inductive figure of one run, in rows


def plot_comparison(
    record: Mapping[str, Any], *, metric: str | None = None, path: Path | None = None
) -> Any:
    """Draw a comparison: on the left each run, on the right its paired difference from the first.

    Points are means over the test episodes, and bars are 95% intervals. A difference whose bar does
    not cross the line at zero is green where the run is better than the first one and red where it
    is worse. Hollow squares are inductive figures.

    Args:
        record: from `compare_runs`.
        metric: its name; None for the one that says how good a run is.
        path: where to write a picture. None: nowhere.

    Returns:
        The figure, which a notebook shows.

    Raises:
        ValueError: a metric that the record has no paired differences of.

    >>> value, gap = ({"mean": m, "ci95": 0.02, "episodes": 9} for m in (0.6, 0.1))
    >>> runs = [{"name": name, "metrics": {"accuracy": value}} for name in "ab"]
    >>> record = {"metric": "accuracy", "higher_is_better": True, "episodes": {"number": 9},
    ...           "runs": runs, "differences": [{"name": "b", "metrics": {"accuracy": gap}}]}
    >>> [axes.get_title() for axes in plot_comparison(record).axes]
    ['accuracy on 9 test episodes', 'difference from a, paired']
    """
    from matplotlib.figure import Figure

    name = record["metric"] if metric is None else metric
    known = list(record["differences"][0]["metrics"])
    if name not in known:
        raise ValueError(
            f"there are no paired differences of {name!r}; choose one of {', '.join(known)}."
        )
    count = len(record["runs"])
    figure = Figure(figsize=(9, 2.1 + 0.45 * count), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_runs(left, record, name)
    _draw_differences(right, record, name)
    left.set_yticks(range(count), [_label(one["name"]) for one in record["runs"]])
    for axes in (left, right):
        axes.locator_params(axis="x", nbins=6)
    left.set_ylim(count - 0.5, -0.5)  # the first run is above
    if "inductive" in record["differences"][0]:
        _explain(figure, left)
    if path is not None:
        save(figure, path)
    return figure


def _label(name: str, most: int = 28) -> str:
    """A name that fits beside the axis; a dollar begins no formula."""
    return shortened(printable(name), most).replace("$", r"\$")


def _draw_runs(axes: Any, record: Mapping[str, Any], name: str) -> None:
    for row, one in enumerate(record["runs"]):
        _point(axes, row, one["metrics"].get(name), INK)
        other = one.get("inductive", {}).get("metrics", {})
        _point(axes, row, other.get(name), INK, inductive=True)
    unit = f" ({_UNITS[name]})" if name in _UNITS else ""
    axes.set_title(f"{name} on {record['episodes']['number']} test episodes", fontsize=11)
    axes.set_xlabel(f"{name}{unit}, mean and 95% interval")
    quiet_axes(axes)


def _draw_differences(axes: Any, record: Mapping[str, Any], name: str) -> None:
    higher = record["higher_is_better"] if name == record["metric"] else name not in _LOSSES
    axes.axvline(0, color=INK, lw=1.2, ls="--")
    for row, one in enumerate(record["differences"], 1):
        for inductive in (False, True):
            value = one.get("inductive", {}) if inductive else one["metrics"]
            found = value.get(name)
            _point(axes, row, found, _hue(found, higher=higher), inductive=inductive)
    first = _label(record["runs"][0]["name"])
    axes.set_title(f"difference from {first}, paired", fontsize=11)
    better = "right of zero is better" if higher else "left of zero is better"
    axes.set_xlabel(f"difference of {name} ({better})")
    axes.tick_params(axis="y", length=0)
    quiet_axes(axes)


def _point(
    axes: Any, row: int, value: Mapping[str, Any] | None, hue: str, *, inductive: bool = False
) -> None:
    """A mean with its interval; nothing where there is none that is finite."""
    if value is None or value["mean"] is None or not np.isfinite(value["mean"]):
        return
    half = value["ci95"] if value["ci95"] is not None and np.isfinite(value["ci95"]) else 0.0
    style = {"marker": "s", "mfc": "white"} if inductive else {"marker": "o"}
    place = row + (_APART if inductive else 0.0)
    axes.errorbar(value["mean"], place, xerr=half, color=hue, ms=6, lw=2, capsize=4, **style)


def _hue(value: Mapping[str, Any] | None, *, higher: bool) -> str:
    """Green for better, red for worse, and neither where zero is within the interval.

    >>> _hue({"mean": 0.1, "ci95": 0.2}, higher=True) == INK
    True
    """
    if value is None or value["mean"] is None or value["ci95"] is None:
        return INK
    if not abs(value["mean"]) > value["ci95"]:
        return INK
    return GOOD if (value["mean"] > 0) == higher else BAD


def _explain(figure: Any, axes: Any) -> None:
    """What the two kinds of points are, below the panels."""
    axes.plot([], [], "o", color=INK, label="as tested")
    axes.plot([], [], "s", color=INK, mfc="white", label="inductive")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)

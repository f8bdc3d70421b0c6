"""The picture of results/curves.json: time a task, and memory or speed-up, of every curve.

python benchmarks/curves_plot.py
"""

from pathlib import Path
from typing import Any

import common

from jmeta.experiments._figures import logarithmic

PLOT = Path(__file__).parent.parent / "docs" / "curves.png"
INK = ("#22313f", "#1b7f5c", "#c4372f")
LABELS = {"steps": "inner steps", "tasks": "tasks a batch", "devices": "devices, 4 tasks each"}
Curves = dict[str, list[dict[str, Any]]]


def draw(curves: Curves, path: Path) -> None:
    """Time (above; dotted: as the counted operations grow) and memory (below)."""
    from matplotlib.figure import Figure

    titles = list(dict.fromkeys(name.partition(", ")[0] for name in curves))
    figure = Figure(figsize=(2.5 * len(titles), 5), layout="constrained")
    grid = figure.subplots(2, len(titles), squeeze=False)
    for (upper, lower), title in zip(grid.T, titles, strict=True):
        members = [name for name in curves if name.partition(", ")[0] == title]
        for ink, name in zip(INK, members, strict=False):
            _time(upper, curves[name], ink, name.partition(", ")[2])
            _below(lower, curves[name], ink)
        upper.set_title(LABELS.get(title, title), fontsize=10)
        for axes in (upper, lower):
            _plain(axes, [row["at"] for row in curves[members[0]]])
        if len(members) > 1:
            upper.legend(frameon=False, fontsize=7)
    grid[0, 0].set_ylabel("ms a task (dotted: operations)", fontsize=9)
    grid[1, 0].set_ylabel("memory, MiB", fontsize=9)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=80, facecolor="white")
    print(f"wrote {path.name} ({path.stat().st_size / 1000:.0f} kB)")


def _time(axes: Any, rows: list[dict[str, Any]], ink: str, label: str) -> None:
    at, time = ([row["at"] for row in rows], [1e3 * row["seconds_per_task"] for row in rows])
    axes.loglog(at, time, color=ink, marker="o", ms=3, lw=1.4, label=label)
    if "gflop_per_task" in rows[0]:
        scale = time[0] / rows[0]["gflop_per_task"]
        axes.loglog(at, [scale * row["gflop_per_task"] for row in rows], ":", color=ink, lw=1)


def _below(axes: Any, rows: list[dict[str, Any]], ink: str) -> None:
    """Memory, or the speed-up over one device."""
    at = [row["at"] for row in rows]
    if "memory_bytes" in rows[0]:
        memory = [row["memory_bytes"] / 2**20 for row in rows]
        axes.loglog(at, memory, color=ink, marker="o", ms=3, lw=1.4)
    else:
        axes.semilogx(at, [row["speedup"] for row in rows], color=ink, marker="o", ms=3, lw=1.4)
        axes.set_title("speed-up over one device", fontsize=9)


def _plain(axes: Any, at: list[int]) -> None:
    axes.set_xticks(at, [str(place) for place in at])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    axes.set_ylim(bottom=0 if axes.get_yscale() == "linear" else axes.get_ylim()[0] / 1.5)
    if axes.get_yscale() == "log":
        logarithmic(axes)
        axes.tick_params(which="minor", left=False)


if __name__ == "__main__":
    draw(common.read(common.RESULTS / "curves.json")["curves"], PLOT)

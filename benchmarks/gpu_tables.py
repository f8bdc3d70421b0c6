"""The tables of results from the record of an accelerator."""

from collections.abc import Callable
from typing import Any

from common import figure
from comparison.workloads import WORKLOADS

Record = dict[str, Any] | None
Table = Callable[[list[str], list[list[str]]], str]
OTHERS = ("C", "D", "F")
FIRST = 3  # call of the record that had the kernels for Hopper GPUs
PRECISIONS = ("float32", "tf32", "bfloat16")


def errors(record: Record, table: Table) -> str:
    """Relative errors of the meta-gradient: a workload a row, a precision a column."""
    found = [row for row in figures(record, "errors") if row.get("form") == "default"]
    of = {}
    for row in found:
        name = row["workload"] + (", before the kernels" if row.get("call", FIRST) < FIRST else "")
        of[name, row["precision"]] = row["relative_error"]
    names = sorted({workload for workload, _ in of})
    rows = [[name, *(f"{of[name, kind]:.1e}" for kind in PRECISIONS)] for name in names]
    return table(["workload", *PRECISIONS], rows) if rows else ""


def rates(record: Record, table: Table) -> str:
    """Tasks per second, workload A: a system a row, a precision a column."""
    found = best(record, "A")
    systems = sorted({name for name, _ in found}, key=lambda name: -found[name, "float32"][0])
    rows = [[name, *(cell(found.get((name, kind))) for kind in PRECISIONS)] for name in systems]
    return table(["tasks per second, A", *PRECISIONS], rows) if rows else ""


def others(record: Record, table: Table) -> str:
    """Tasks per second in float32 of the other workloads, beside the best peer."""
    rows = []
    for name in OTHERS:
        rated = {who: at for (who, kind), at in best(record, name).items() if kind == "float32"}
        mine = rated.pop("jmeta", None)
        if mine is None:
            continue
        peer = max(rated, key=lambda system: rated[system][0], default="–")
        theirs = rated.get(peer)
        ratio = f"{mine[0] / theirs[0]:.1f}" if theirs else "–"
        rows.append([f"{name}: {WORKLOADS[name].title}", cell(mine), peer, cell(theirs), ratio])
    return table(["tasks per second, float32", "jmeta", "best peer", "its rate", "ratio"], rows)


def cell(found: tuple[float, int] | None) -> str:
    """A rate, and the tasks an update of it."""
    return f"{figure(found[0])} ({found[1]:,})" if found else "–"


def best(record: Record, workload: str) -> dict[tuple[str, str], tuple[float, int]]:
    """The fastest batch of each system: (system, precision) -> (tasks per second, its tasks)."""
    found: dict[tuple[str, str], tuple[float, int]] = {}
    parts = (figures(record, part) for part in ("rates", "others", "torch", "flax"))
    for row in (row for part in parts for row in part):
        if row.get("workload") == workload and "tasks_per_second" in row:
            own = (
                "jmeta" if row.get("form") == "default" else f"jmeta, {row.get('form')} convolution"
            )
            key = row.get("system", own), row["precision"]
            found[key] = max(found.get(key, (0.0, 0)), (row["tasks_per_second"], row["tasks"]))
    return found


def figures(record: Record, part: str) -> list[dict[str, Any]]:
    """The figures of one part."""
    return [row for row in (record or {"figures": []})["figures"] if row["part"] == part]

"""The tables of results from the record of an accelerator."""

from collections.abc import Callable
from typing import Any

from common import figure
from comparison.workloads import WORKLOADS

Record = dict[str, Any] | None
Table = Callable[[list[str], list[list[str]]], str]
OTHERS = ("C", "D", "F")
PRECISIONS = ("float32", "tf32", "bfloat16")


def errors(record: Record, table: Table) -> str:
    """Relative errors of the meta-gradient: a workload a row, a precision a column."""
    found = [row for row in figures(record, "errors") if row.get("form") == "default"]
    of = {(row["workload"], row["precision"]): row["relative_error"] for row in found}
    names = sorted({workload for workload, _ in of})
    rows = [[name, *(f"{of[name, kind]:.1e}" for kind in PRECISIONS)] for name in names]
    return table(["workload", *PRECISIONS], rows) if rows else ""


def rates(record: Record, table: Table) -> str:
    """Tasks per second, workload A: a system a row, a precision a column."""
    found = best(record, "A")
    systems = sorted({name for name, _ in found}, key=lambda name: -found[name, "float32"][0])

    def cell(system: str, precision: str) -> str:
        return figure(found[system, precision][0]) if (system, precision) in found else "–"

    rows = [[name, *(cell(name, kind) for kind in PRECISIONS)] for name in systems]
    return table(["tasks per second, A", *PRECISIONS], rows) if rows else ""


def others(record: Record, table: Table) -> str:
    """Tasks per second in float32 of the other workloads, beside the best peer."""
    rows = []
    for name in OTHERS:
        found = {
            system: at for (system, kind), at in best(record, name).items() if kind == "float32"
        }
        mine = found.pop("jmeta", None)
        if mine is None:
            continue
        peer = max(found, key=lambda system: found[system][0], default=None)
        cells = (
            [peer, figure(found[peer][0]), f"{mine[0] / found[peer][0]:.1f}"] if peer else ["–"] * 3
        )
        rows.append([f"{name}: {WORKLOADS[name].title}", str(mine[1]), figure(mine[0]), *cells])
    head = ["float32", "tasks an update", "tasks per second", "best peer", "its rate", "ratio"]
    return table(head, rows) if rows else ""


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

"""The tables of docs that records of transfer, scaling and precision make; see `tables.py`."""

from typing import Any


def percent(found: dict[str, float]) -> str:
    return f"{100 * found['mean']:.1f} ± {100 * found['ci95']:.1f}"


def transfer(record: dict[str, Any] | None, table: Any) -> str:
    """Every head on ImageNet features: accuracy, and its difference from the first."""
    if not record:
        return ""
    one, five = record["rows"]["1-shot"], record["rows"]["5-shot"]
    rows = []
    for name, row in one.items():
        rate = record["episodes_per_second"].get(name)
        cells = [name, row["group"]]
        for each in (row, five[name]):
            cells.append(percent(each["accuracy"]))
            cells.append(percent(each["above"]) if "above" in each else "–")
        rows.append([*cells, f"{rate:,.0f}" if rate else "–"])
    head = ["head", "predicts", "5w1s, %", "above cosine", "5w5s, %", "above cosine", "episodes/s"]
    return table(head, rows)


def transductive(record: dict[str, Any] | None, table: Any) -> str:
    """Transductive heads beside easyfsl's classes."""
    if not record:
        return ""
    rows = [
        [
            row["head"],
            f"{row['shots']}",
            f"{100 * row['same']:.1f}%",
            f"{row['jmeta']:,.0f}",
            f"{row['easyfsl']:,.1f}",
            f"{row['ratio']:.0f}",
        ]
        for row in record["rows"]
    ]
    head = ["head", "shots", "same answers", "jmeta, episodes/s", "easyfsl, episodes/s", "times"]
    return table(head, rows)


def scaling(record: dict[str, Any] | None, table: Any) -> str:
    """Efficiency over devices and processes."""
    if not record:
        return ""
    rows = []
    for what in ("devices", "processes"):
        for row in record[what]:
            per_core, rate = row["efficiency_of_cores"], row["tasks_per_second"]
            seconds = row["seconds"]
            rows.append(
                [
                    f"{row['devices']} {what}",
                    f"{rate['strong']:.0f} ({100 * per_core['strong']:.0f}%)",
                    f"{rate['weak']:.0f} ({100 * per_core['weak']:.0f}%)",
                    f"{1e3 * seconds['all_reduce']:.2f}",
                    f"{1e3 * seconds['optimizer']:.2f}",
                ]
            )
    head = ["", "strong: tasks/s", "weak: tasks/s", "all-reduce, ms", "optimizer, ms"]
    return table(head, rows)

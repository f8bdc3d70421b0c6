"""The tables of docs on transfer and on training without labels; see `tables.py`."""

from typing import Any

import numpy as np
from common import over_seeds


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
        chosen = " / ".join(each["chosen"] for each in (row, five[name]) if each["chosen"])
        cells = [name, chosen or "–", row["group"]]
        for each in (row, five[name]):
            cells.append(percent(each["accuracy"]))
            cells.append(percent(each["above"]) if "above" in each else "–")
        rows.append([*cells, f"{rate:,.0f}" if rate else "–"])
    head = [
        "head",
        "chosen for 1-shot / 5-shot",
        "predicts",
        "5w1s, %",
        "above cosine",
        "5w5s, %",
        "above cosine",
        "episodes/s",
    ]
    return table(head, rows)


def scratch(record: dict[str, Any] | None, table: Any) -> str:
    """Ways of learning from scratch: updates and minutes of all stages, accuracy, difference."""
    if not record:
        return ""
    rows = []
    for name, row in record["rows"].items():
        stages = row["stages"].values()
        updates = " + ".join(f"{stage['updates']:,}" for stage in stages)
        cells = [name, updates, f"{sum(stage['minutes'] for stage in stages):.0f}"]
        for each in (row["1-shot"], row["5-shot"]):
            cells.append(percent(each["accuracy"]))
            cells.append(percent(each["above"]) if "above" in each else "–")
        rows.append(cells)
    head = ["trained from scratch", "updates", "minutes", "5w1s, %", "above the first"]
    return table([*head, "5w5s, %", "above the first"], rows)


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


def unsupervised(record: dict[str, Any] | None, table: Any) -> str:
    """UMTRA and CACTUs on Omniglot: a row for each system, a column for each kind of episode."""
    if not record:
        return ""
    columns = [(5, 1), (5, 5), (20, 1), (20, 5)]
    cells: dict[str, dict[tuple[int, int], str]] = {}
    for row in record["rows"]:
        how = {"umtra": "UMTRA", "cactus": "CACTUs"}[row["how"]]
        system = f"{how}, {row['algorithm']}, {row['config']['budget']['steps']:,} updates"
        found = [percent(each["metrics"]["accuracy"]) for each in (row, row["inductive"])]
        cells.setdefault(system, {})[row["ways"], row["shots"]] = (
            f"{' / '.join(found)} ({row['published']:.1f})"
        )
    rows = [
        [system, *(found.get(each, "–") for each in columns)] for system, found in cells.items()
    ]
    head = [f"{ways}-way {shots}-shot" for ways, shots in columns]
    return table(["Omniglot (random), accuracy, %", *head], rows)


def knowledge(
    adversarial: dict[str, Any] | None, distillation: dict[str, Any] | None, table: Any
) -> str:
    """What domain-adversarial training and distillation gain over training without them."""
    rows = []
    if adversarial:
        for name, found in {
            **adversarial["pictures"],
            "two moons, turned": adversarial["moons"],
        }.items():
            ways = found["source only"], found["domain-adversarial"], found["gain"]
            seeds = str(len(found["gain"]["values"]))
            rows.append([f"{name}: domain-adversarial", *map(percent, ways), seeds])
    if distillation:
        found = distillation["accuracy"]
        alone, student = found["student alone"], "a student of a quarter of the parameters: "
        for name, what in (
            ("distilled, labelled images", "distilled"),
            ("distilled", "distilled, on unlabelled drawings too"),
        ):
            above = over_seeds(np.subtract(found[name]["values"], alone["values"]))
            ways = alone, found[name], above
            rows.append([student + what, *map(percent, ways), str(len(above["values"]))])
    head = ["accuracy, %", "without", "with", "paired difference", "seeds"]
    return table(head, rows) if rows else ""

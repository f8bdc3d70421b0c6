"""The table that `benchmarks/peers.py` prints."""

from typing import Any


def show(record: dict[str, Any]) -> None:
    """Print the rows of a record, and what was left out and why."""
    from rich.console import Console
    from rich.table import Table

    table = Table("workload", "system", box=None, pad_edge=False)
    for title in ("per second", "low", "high", "jmeta is", "first step"):
        table.add_column(title, justify="right")
    for row in record["rows"]:
        ratio = f"{row['jmeta_ratio']:.2f} x" if "jmeta_ratio" in row else ""
        numbers = [f"{row[key]:.4g}" for key in ("tasks_per_second", "low", "high")]
        first = f"{row['first_step_seconds']:.1f} s"
        table.add_row(row["workload"], row["system"], *numbers, ratio, first)
    console = Console()
    console.print(table)
    console.print("tasks (sampler: episodes) per second: median and quartiles over rounds")
    for row in record["rows"]:
        for key, value in row.items():
            if key.startswith("seconds_for_"):
                updates = key.split("_")[2]
                console.print(f"{row['system']}: {updates} updates of S in {value:.0f} s")
    for left in record["left_out"]:
        console.print(f"left out: {left['system']} on {left['workload']}: {left['reason']}")

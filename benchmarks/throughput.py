"""Tasks per second on every workload: jmeta and each installed peer, in turns.

    python benchmarks/throughput.py [--workload A B ...] [--rounds 7] [--python PATH] [--out FILE]

The runner is that of `benchmarks/peers.py`. A row is identified by its workload, its system, the
version of jax that runs this script, and the processor. A later command replaces its own rows and
keeps the others, so workloads can be run one after another, and several versions of jax and several
machines can share a record. PATH is the interpreter of another environment, for the systems that
need PyTorch.
"""

import argparse
import datetime
from pathlib import Path
from typing import Any

import common
import comparison
import jax
from comparison import client, workloads

KEY = ("workload", "system", "jax", "processor")
OUT = common.RESULTS / "throughput.json"


def stamped(found: dict[str, Any], part: str) -> list[dict[str, Any]]:
    """The rows of one part of a record, each with the date, the processor and the jax version."""
    where = {
        "jax": jax.__version__,
        "date": datetime.date.today().isoformat(),
        "processor": found["machine"]["processor"],
    }
    return [{**row, **where} for row in found[part]]


def merged(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Old and new rows; a new row replaces the old one with the same KEY."""
    rows = {tuple(row[name] for name in KEY): row for row in [*old, *new]}
    return [rows[key] for key in sorted(rows)]


def keep(path: Path, found: dict[str, Any]) -> None:
    """Merge a run into the record; a system that has a row is not left out."""
    record = common.read(path) if path.exists() else {"rows": [], "left_out": []}
    rows = merged(record["rows"], stamped(found, "rows"))
    there = {tuple(row[name] for name in KEY) for row in rows}
    missing = merged(record["left_out"], stamped(found, "left_out"))
    left_out = [row for row in missing if tuple(row[name] for name in KEY) not in there]
    parts = {"rows": rows, "left_out": left_out, "protocol": found["protocol"]}
    common.write(path, {"schema": 1, **parts})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", nargs="+", default=["all"], metavar="NAME")
    parser.add_argument("--systems", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="about how long a system runs in a round"
    )
    parser.add_argument("--python", metavar="PATH", help="interpreter of the PyTorch systems")
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE")
    options = parser.parse_args()
    names, systems = (
        [name for word in words for name in word.split(",")]
        for words in (options.workload, options.systems)
    )
    for workload in workloads.chosen(names):
        found = comparison.run(
            [workload],
            systems,
            protocol=comparison.Protocol(options.rounds, options.seconds),
            start=client.starter(options.python),
        )
        comparison.show(found)
        keep(options.out, found)


if __name__ == "__main__":
    main()

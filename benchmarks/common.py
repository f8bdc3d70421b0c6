"""What the benchmark scripts share: where records go, and what every record holds."""

import json
import math
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.stats

from jmeta import bench
from jmeta.runs._writing import write_json

RESULTS = Path(__file__).parent / "results"
RUNS = Path("runs")


def use_all_cores() -> None:
    """Make one virtual CPU device for each core, as the command line does."""
    jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)


def write(name: str | Path, record: dict[str, Any]) -> None:
    """Write a record to benchmarks/results, or to a path, with the command and the machine."""
    path = name if isinstance(name, Path) else RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    script = Path(sys.argv[0]).name
    machine, words = bench.describe(), (Path(word) for word in sys.argv[1:])
    options = [word.name if word.is_absolute() else str(word) for word in words]
    head = {
        "command": shlex.join(["python", f"benchmarks/{script}", *options]),
        "versions": machine.pop("versions"),
        "machine": machine,
    }
    write_json(path, {**head, **record})
    print(f"wrote {os.path.relpath(path)}")


def read(path: Path) -> dict[str, Any]:
    """A JSON record."""
    return json.loads(path.read_text())


def over_seeds(values: list[float]) -> dict[str, Any]:
    """The mean over seeds, half its 95% interval by Student's t, and the values."""
    each, n = np.array(values), len(values)
    spread = each.std(ddof=1) / np.sqrt(n) * scipy.stats.t.ppf(0.975, n - 1) if n > 1 else 0.0
    return {"mean": float(each.mean()), "ci95": float(spread), "values": each.tolist()}


def option(config: dict[str, Any], section: str, name: str) -> Any:
    """An option of a stored experiment, whose options are in sections, or flat in schema 1.

    >>> option({"steps": 5}, "budget", "steps")
    5
    >>> option({"schema": 2, "budget": {"steps": 5}}, "budget", "steps")
    5
    """
    return (config if config.get("schema", 1) == 1 else config[section]).get(name)


def percent(estimate: dict[str, float]) -> str:
    """An accuracy with its 95% interval, in percent."""
    return f"{100 * estimate['mean']:.2f} ± {100 * estimate['ci95']:.2f}"


def figure(value: float) -> str:
    """Three digits, or all before the point.

    >>> figure(0.8266), figure(112.4), figure(57213.0)
    ('0.827', '112', '57,213')
    """
    digits = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:,.{digits}f}"

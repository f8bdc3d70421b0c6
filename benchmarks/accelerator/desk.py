"""Where a part's figures go, and how long it still has. Imports neither JAX nor PyTorch."""

import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Plan(NamedTuple):
    """What was asked for."""

    out: Path  # the record
    begun: float  # seconds since 1970
    until: float
    smoke: bool = False  # everything is tiny, and the backend may be the CPU
    updates: int = 60_000
    batch: int = 512
    omniglot: Path | None = None


class Desk(NamedTuple):
    """One part's place: it keeps the figures, and watches the clock."""

    part: str
    plan: Plan

    def left(self) -> float:
        """Seconds until the budget is spent."""
        return self.plan.until - time.time()

    def room(self, seconds: float, what: str) -> bool:
        """Whether so many seconds are left; if not, the record says what was left out."""
        if self.left() >= seconds or self.plan.smoke:
            return True
        self.keep(what=what, left_out=f"needs about {seconds:.0f} s, {self.left():.0f} s were left")
        return False

    def keep(self, **figure: Any) -> dict[str, Any]:
        """Write a figure to the record, and print it."""
        row = {"part": self.part, "at_seconds": round(time.time() - self.plan.begun, 1), **figure}
        record = read(self.plan.out)
        record.setdefault("figures", []).append(row)
        write(self.plan.out, record)
        print(f"[{row['at_seconds']:6.1f} s] {line(self.part, figure)}", flush=True)
        return row

    def describe(self, words: list[str]) -> None:
        """Write the command at the head of the record."""
        record = read(self.plan.out)
        command = shlex.join(["python", "benchmarks/gpu.py", *words])
        record.setdefault("commands", []).append(command)
        write(self.plan.out, record)

    def attempt(self, what: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> dict:
        """Keep what a function finds under some names, or why it failed (say, for memory)."""
        try:
            found = measure()
        except Exception as error:
            found = {"failed": reason(error)}
        return self.keep(**what, **found)

    def machine(self) -> None:
        """Write the machine at the head of the record; refuse a CPU unless this is a trial.

        Raises:
            SystemExit: there is no accelerator.
        """
        import jax

        from jmeta import bench

        if jax.default_backend() == "cpu" and not self.plan.smoke:
            sys.exit("gpu: JAX sees no accelerator; try the script on a CPU with --smoke")
        flags = os.environ.get("XLA_FLAGS", "")
        write(self.plan.out, read(self.plan.out) | {"machine": bench.describe() | {"flags": flags}})


def reason(error: Exception) -> str:
    """The first line of an error.

    >>> reason(ValueError("no such thing"))
    'ValueError: no such thing'
    """
    lines = [*str(error).strip().splitlines(), ""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


def line(part: str, figure: dict[str, Any]) -> str:
    """A figure in one line.

    >>> line("rates", {"workload": "A", "tasks_per_second": 12345.6})
    'rates  workload=A  tasks_per_second=1.235e+04'
    """
    words = [f"{k}={_short(v)}" for k, v in figure.items() if not isinstance(v, dict | list)]
    return "  ".join([part, *words])


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def read(path: Path) -> dict[str, Any]:
    """The record so far."""
    return json.loads(path.read_text()) if path.exists() else {}


def write(path: Path, record: dict[str, Any]) -> None:
    """Write JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".tmp")
    scratch.write_text(json.dumps(_finite(record), indent=1) + "\n")
    scratch.replace(path)


def _finite(value: Any) -> Any:
    """The same with null in the place of numbers that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

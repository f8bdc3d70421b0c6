"""Timing: every system of a workload in turn, round after round, in an order that rotates."""

import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jmeta.bench import client, systems, workloads
from jmeta.bench.client import Client, Failed, Start
from jmeta.bench.workloads import Workload

WHOLE_RUN = 70_000  # updates of a sinusoid run
SLOW_ROUNDS = 3  # rounds of a system whose single update takes several rounds' time
Say = Callable[[str], None]


class Protocol(NamedTuple):
    """How long and how often."""

    rounds: int = 7
    seconds: float = 2.0  # about this long a round and system, at least one update


def chosen_systems(names: Sequence[str]) -> list[str]:
    """Names of systems as asked for; all of them where none is named.

    Raises:
        ValueError: a system that there is not.

    >>> chosen_systems(["jmeta", "higher"])
    ['jmeta', 'higher']
    """
    known = systems.names()
    for name in names:
        if name not in known:
            raise ValueError(f"unknown system {name!r}: choose some of {', '.join(known)}")
    return list(dict.fromkeys(names)) or known


def compare(
    workload_names: Sequence[str],
    names: Sequence[str] = (),
    *,
    protocol: Protocol,
    chunk: int | None = None,
    python: str | None = None,
    say: Say = print,
) -> dict[str, Any]:
    """What `jmeta bench` does: `run` with everything by name.

    Args:
        workload_names: names of workloads, or several in one with commas between.
        names: of systems, likewise; empty for all.
        protocol: rounds and their length.
        chunk: tasks jmeta differentiates at once; None for its own choice.
        python: the interpreter for systems that need PyTorch; None: this one.
        say: told what goes on, a line at a time.

    Raises:
        ValueError: an unknown name, or a chunk that does not divide a workload's tasks.
    """
    found = workloads.chosen(_split(workload_names))
    for workload in found:
        if chunk is not None and (chunk < 1 or workload.tasks % chunk):
            raise ValueError(
                f"--chunk {chunk} does not divide the {workload.tasks} tasks of {workload.name}; "
                "give a divisor of their number on each device"
            )
    found = [workload._replace(chunk=chunk) for workload in found]
    start = client.starter(python)
    return run(found, _split(names), protocol=protocol, start=start, say=say)


def _split(words: Sequence[str]) -> list[str]:
    """
    >>> _split(["A,B", "C"])
    ['A', 'B', 'C']
    """
    return [name for word in words for name in word.split(",") if name]


def run(
    timed: Sequence[Workload],
    names: Sequence[str] = (),
    *,
    protocol: Protocol,
    start: Start | None = None,
    say: Say = print,
) -> dict[str, Any]:
    """Time systems on workloads, interleaved.

    Args:
        timed: what to time, one after the other.
        names: of systems; empty for all. Those that a workload has no use for are left out.
        protocol: rounds and their length.
        start: starts a system, `client.starter()` by default.
        say: told what goes on, a line at a time.

    Returns:
        The record: {"schema", "rows", "left_out", "machine", "protocol"}; low and high of a row
        are its quartiles over rounds.

    Raises:
        ValueError: an unknown system, fewer than one round, or rounds of no length.
    """
    if protocol.rounds < 1 or protocol.seconds <= 0:
        raise ValueError(
            f"got {protocol.rounds} rounds of {protocol.seconds} seconds; give at least 1 round "
            "and more than 0 seconds"
        )
    wanted, begin = chosen_systems(names), start or client.starter()
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []
    for workload in timed:
        found, missing = _time_workload(workload, wanted, protocol, begin, say)
        rows += found
        left_out += missing
    left_out += [
        {"system": name, "workload": workload.name, "reason": "asked for, but does not do this"}
        for workload in timed
        for name in names
        if name not in systems.entries(workload)
    ]
    return {
        "schema": 1,
        "rows": rows,
        "left_out": left_out,
        "machine": _machine(rows),
        "protocol": {
            **protocol._asdict(),
            "order": "interleaved: every system once a round, the first of a round rotating",
            "low_high": "quartiles over rounds",
            "ratio": "median over rounds of jmeta's rate by the system's in the same round",
            "threads": "all cores for the one system that runs; the others wait",
        },
    }


def _time_workload(
    workload: Workload, wanted: list[str], protocol: Protocol, start: Start, say: Say
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Start, calibrate, time and stop the systems of one workload."""
    names = [name for name in wanted if name in systems.entries(workload)]
    clients: dict[str, Client] = {}
    left_out: dict[str, str] = {}
    rates: dict[str, dict[int, float]] = {}
    steps: dict[str, int] = {}
    slow: set[str] = set()
    try:
        for name in names:
            with _leaving_out(name, workload, left_out, say):
                clients[name] = start(name, workload)
                steps[name], once = _calibrate(clients[name], protocol.seconds)
                slow |= {name} if once > 4 * protocol.seconds else set()
                say(f"{workload.name}: {name} ready, {workload.tasks / once:.3g} a second")
        for number in range(protocol.rounds):
            for name in _rotated([n for n in names if n in clients], number):
                if name in left_out or (name in slow and number >= SLOW_ROUNDS):
                    continue
                with _leaving_out(name, workload, left_out, say):
                    seconds = clients[name].advance(steps[name])
                    rates.setdefault(name, {})[number] = steps[name] * workload.tasks / seconds
    finally:
        for opened in clients.values():
            opened.stop()
    kept = [name for name in rates if name not in left_out]
    rows = [_row(workload, n, rates, clients[n].ready, steps[n]) for n in kept]
    missing = [
        {"system": name, "workload": workload.name, "reason": reason}
        for name, reason in left_out.items()
    ]
    return rows, missing


@contextmanager
def _leaving_out(
    name: str, workload: Workload, left_out: dict[str, str], say: Say
) -> Iterator[None]:
    """Note why a system fails, and go on without it."""
    try:
        yield
    except Failed as error:
        left_out[name] = str(error)
        say(f"{workload.name}: {name} left out: {error}")


def _calibrate(found: Client, seconds: float) -> tuple[int, float]:
    """Updates that take about `seconds`, and seconds of one; the first update warmed it up."""
    steps, took = 1, found.advance(1)
    while took < seconds / 4:
        steps = max(2 * steps, round(steps * seconds / 2 / max(took, 1e-6)))
        took = found.advance(steps)
    once = took / steps
    return max(1, round(seconds / once)), once


def _rotated(names: list[str], by: int) -> list[str]:
    """
    >>> _rotated(["a", "b", "c"], 4)
    ['b', 'c', 'a']
    """
    first = by % len(names) if names else 0
    return names[first:] + names[:first]


def _row(
    workload: Workload,
    name: str,
    rates: dict[str, dict[int, float]],
    ready: dict[str, Any],
    steps: int,
) -> dict[str, Any]:
    """What is known of a system on a workload."""
    mine, reference = rates[name], rates.get("jmeta", {})
    values = list(mine.values())
    low, median, high = _quartiles(values)
    row = {
        "system": name,
        "title": systems.entries(workload)[name].title,
        "workload": workload.name,
        "unit": "episodes per second" if workload.algorithm == "sampler" else "tasks per second",
        "tasks_per_second": median,
        "low": low,
        "high": high,
        "rounds": values,
        "steps_a_round": steps,
        **{key: ready[key] for key in ("first_step_seconds", "device", "versions")},
    }
    paired = [reference[number] / rate for number, rate in mine.items() if number in reference]
    if paired:
        row["jmeta_ratio"] = statistics.median(paired)
    if workload.name == "S":
        row[f"seconds_for_{WHOLE_RUN}_steps"] = WHOLE_RUN * workload.tasks / median
    return row


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    """Of one or more values.

    >>> _quartiles([3.0, 1.0, 2.0])
    (1.5, 2.0, 2.5)
    """
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def _machine(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The processor, the devices that computed, and every version."""
    versions: dict[str, str] = {}
    for row in rows:
        versions |= row["versions"]
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "devices": sorted({row["device"] for row in rows}),
        "versions": versions,
    }


def processor() -> str:
    """The name of the processor."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

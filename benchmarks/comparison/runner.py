"""Time the systems of a workload in rounds: each runs once in a round, and the order rotates."""

import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from comparison import client, systems, workloads
from comparison.client import Client, Failed, Start
from comparison.workloads import Workload

WHOLE_RUN = 70_000  # updates of MAML's sinusoid experiment
SLOW_ROUNDS = 3  # rounds of a system whose single update takes longer than several rounds should
Say = Callable[[str], None]


class Protocol(NamedTuple):
    """How long and how often a system runs."""

    rounds: int = 7
    seconds: float = 2.0  # about this long in a round, at least one update


def chosen_systems(names: Sequence[str]) -> list[str]:
    """The systems that were asked for, each once; all of them if none is named.

    Raises:
        ValueError: a name that no system has.

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
    """Time systems on workloads, all given by name; what `benchmarks/peers.py` does.

    Args:
        workload_names: names of workloads, or several in one with commas between.
        names: names of systems, likewise; empty for all.
        protocol: rounds and their length.
        chunk: tasks that jmeta differentiates at once; None leaves the choice to it.
        python: the interpreter for systems that need PyTorch; None takes this one.
        say: called with each line of progress.

    Returns:
        The record, see `run`.

    Raises:
        ValueError: an unknown name, or a chunk that does not divide a workload's tasks.
    """
    found = workloads.chosen(_split(workload_names))
    for workload in found:
        if chunk is not None and (chunk < 1 or workload.tasks % chunk):
            raise ValueError(
                f"--chunk {chunk} does not divide the {workload.tasks} tasks of {workload.name}; "
                "give a divisor of the number of tasks on each device"
            )
    found = [workload._replace(chunk=chunk) for workload in found]
    start = client.starter(python)
    return run(found, _split(names), protocol=protocol, start=start, say=say)


def _split(words: Sequence[str]) -> list[str]:
    """Names that are separated by spaces or commas.

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
    """Time systems on workloads, one workload after another and the systems in turns.

    Args:
        timed: the workloads.
        names: of systems; empty for all. Those that cannot do a workload are left out of it.
        protocol: rounds and their length.
        start: starts a system; `client.starter()` by default.
        say: called with each line of progress.

    Returns:
        The record: {"schema", "rows", "left_out", "machine", "protocol"}. The `low` and `high` of
        a row are its quartiles over rounds.

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
    """Note why a system fails, and continue without it."""
    try:
        yield
    except Failed as error:
        left_out[name] = str(error)
        say(f"{workload.name}: {name} left out: {error}")


def _calibrate(found: Client, seconds: float) -> tuple[int, float]:
    """How many updates take about `seconds`, and how long one takes, after the first update."""
    steps, took = 1, found.advance(1)
    while took < seconds / 4:
        steps = max(2 * steps, round(steps * seconds / 2 / max(took, 1e-6)))
        took = found.advance(steps)
    once = took / steps
    return max(1, round(seconds / once)), once


def _rotated(names: list[str], by: int) -> list[str]:
    """The same names in the same order, from another first one.

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
    """The row of a system on a workload."""
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
    """The quartiles of one or more values.

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

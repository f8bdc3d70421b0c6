"""The process that a system runs in: start it, tell it to advance, stop it."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from comparison import systems
from comparison.workloads import Workload

LONGEST_ROUND = 600.0  # seconds
BENCHMARKS = Path(__file__).resolve().parents[1]  # the folder that holds this package
CHECKOUT = BENCHMARKS.parent  # and jmeta


class Failed(Exception):
    """A system that cannot be timed; the message says why."""


class Client(NamedTuple):
    """A system that has made its first update and waits for the next."""

    ready: dict[str, Any]  # device, versions, first_step_seconds
    advance: Callable[[int], float]  # number of updates -> seconds that they took
    stop: Callable[[], None]


Start = Callable[[str, Workload], Client]


def starter(python: str | None = None) -> Start:
    """`start(system, workload) -> Client`, which starts each system in a process of its own.

    Args:
        python: the interpreter for systems that need PyTorch; None takes this one.
    """

    def start(name: str, workload: Workload) -> Client:
        entry = systems.entries(workload)[name]
        interpreter = python if python and "torch" in entry.needs else sys.executable
        # -P: what is imported must not depend on the folder that the command runs in.
        words = [interpreter, "-P", "-m", "comparison.worker", name, workload.name]
        words += [] if workload.chunk is None else [str(workload.chunk)]
        return _connect(words, longest=entry.start_seconds)

    return start


def _connect(words: list[str], *, longest: float) -> Client:
    """Start a worker and wait for its first update.

    Raises:
        Failed: the worker cannot be started, reports an error, or takes too long.
    """
    log = tempfile.TemporaryFile()
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=log, env=_environment())
    except OSError as error:
        log.close()
        raise Failed(f"{words[0]} cannot be started: {error.strerror}") from error

    def stop() -> None:
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, log):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def advance(steps: int) -> float:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"steps": steps}).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            raise Failed("its process ended") from error
        return _answer(process, log, LONGEST_ROUND)["seconds"]

    try:
        return Client(_answer(process, log, longest), advance, stop)
    except BaseException:
        stop()
        raise


def _environment() -> dict[str, str]:
    """This process's variables, with this package and the checkout's jmeta found first."""
    found = [str(BENCHMARKS), str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, found)),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def _answer(process: subprocess.Popen, log: Any, longest: float) -> dict[str, Any]:
    """The next line that a worker writes; it writes one for each that it reads.

    Raises:
        Failed: the worker reports an error, ends, or writes nothing for `longest` seconds.
    """
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], longest)[0]:
        raise Failed(f"no answer within {longest:.0f} seconds")
    line = process.stdout.readline()
    if not line:
        raise Failed(f"its process ended: {_last_line(log)}")
    found = json.loads(line)
    if "error" in found:
        raise Failed(found["error"])
    return found


def _last_line(log: Any) -> str:
    log.seek(0)
    said = log.read().decode(errors="replace").strip().splitlines()
    return said[-1][:300] if said else "it said nothing"

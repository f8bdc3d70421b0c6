"""The command line of `benchmarks/peers.py`."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from comparison import runner, table, workloads


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see --help")


def main(words: Sequence[str] | None = None) -> None:
    """Time the systems, show a table and exit; a user's mistake is one line and exit code 2.

    Args:
        words: the arguments; None takes those of the process.
    """
    code, said = _outcome(words)
    if said:
        print(f"peers: {' '.join(said.split())}", file=sys.stderr)
    sys.exit(code)


def _outcome(words: Sequence[str] | None) -> tuple[int, str]:
    """The exit code, and what to say on stderr."""
    try:
        _compare(_parser().parse_args(words))
    except ValueError as error:
        return 2, f"error: {error}"
    except OSError as error:
        return 2, (
            f"error: cannot use {error.filename or 'a file'}: {error.strerror or error}; "
            "name a path that can be read and written"
        )
    except KeyboardInterrupt:
        return 130, "interrupted"
    return 0, ""


def _parser() -> argparse.ArgumentParser:
    names = ", ".join([*workloads.WORKLOADS, workloads.SAMPLER.name])
    parser = _Parser(
        prog="peers", description="Time jmeta and its peers in turns: tasks per second and ratios."
    )
    add = parser.add_argument
    some = {"nargs": "+", "metavar": "NAME"}
    add("--workload", default=["A"], help=f"{names} or all; separate several by commas", **some)
    add("--systems", default=[], help="jmeta, flax-vmap, torch-loop, ...; default: all", **some)
    add("--rounds", type=int, default=7, help="every system runs once in each round (default: 7)")
    add("--seconds", type=float, default=2.0, help="about how long a system runs in a round")
    add("--chunk", type=int, help="tasks that jmeta differentiates at once on a device")
    add("--python", metavar="PATH", help="interpreter of an environment with the PyTorch peers")
    add("--json", type=Path, metavar="FILE", help="also write the record to this file")
    return parser


def _compare(options: argparse.Namespace) -> None:
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise ValueError(
            f"the folder of --json {options.json} does not exist; make it, or name another"
        )
    record = runner.compare(
        options.workload,
        options.systems,
        protocol=runner.Protocol(options.rounds, options.seconds),
        chunk=options.chunk,
        python=options.python,
    )
    if options.json is not None:
        _write(options.json, record)
    table.show(record)


def _write(path: Path, record: dict[str, Any]) -> None:
    """Write JSON whole or not at all."""
    scratch = path.with_name(path.name + ".tmp")
    scratch.write_text(json.dumps(_finite(record), indent=2) + "\n")
    scratch.replace(path)


def _finite(value: Any) -> Any:
    """The same with null in the place of numbers that JSON cannot hold.

    >>> _finite({"low": [float("inf"), 1.0]})
    {'low': [None, 1.0]}
    """
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

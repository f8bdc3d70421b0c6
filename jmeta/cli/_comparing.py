"""What `jmeta compare` and `jmeta runs` do: several runs at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jmeta import runs
from jmeta.cli._backend import start
from jmeta.cli._outputs import check_named
from jmeta.cli._own import add_own, known_parts
from jmeta.cli._table import table
from jmeta.cli._words import Parser, add, path_of
from jmeta.runs._progress import one_line
from jmeta.runs._writing import check_out, write_out

Words = Sequence[str]
COMPARE = "Test several runs on the same episodes, and say how they differ."
RUNS = "List the runs below a folder, and how far each has come."
_NUMBERS = {
    "episodes": "test episodes",
    "ways": "classes of an episode",
    "shots": "support examples of a class",
    "queries": "query examples of a class",
    "seed": "seed of the test episodes",
}


def compare(words: Words) -> int:
    """`jmeta compare`."""
    asked = compare_parser().read(words)
    check_out(asked.json)
    check_named(asked.out, (".png",), "--out")
    start()
    known = known_parts(asked)
    options: dict[str, Any] = {name: getattr(asked, name, None) for name in _NUMBERS}
    record = runs.compare_runs(asked.runs, known=known, **options)
    _print(record)
    if asked.json is not None:
        write_out(asked.json, record)
    if asked.out is not None:
        runs.plot_comparison(record, path=asked.out)
        print(one_line(f"written to {asked.out}"))
    return 0


def compare_parser() -> Parser:
    """The parser of `jmeta compare`."""
    parser = Parser("jmeta compare", COMPARE, argument="RUN RUN... ")
    parser.add_argument(
        "runs",
        type=path_of,
        nargs="*",
        metavar="RUN",
        help="folders written by `jmeta train`; differences are from the first",
    )
    for name, text in _NUMBERS.items():
        add(parser, name, int | None, None, f"{text}; as in the first run by default")
    add_own(parser, many=True)
    parser.add_argument("--json", type=path_of, metavar="FILE", help="also write the record there")
    parser.add_argument(
        "--out", type=path_of, metavar="FILE.png", help="also draw means and differences there"
    )
    return parser


def _print(record: dict[str, Any]) -> None:
    """Every metric of every run, and its difference from the first run."""
    protocol, drawn = record["protocol"], record["episodes"]
    least, shots = protocol["min_shots"], protocol["shots"]
    size = f"{least} to {shots}" if least else str(shots)
    task = f"{protocol['ways']}-way {size}-shot" if protocol["ways"] else f"{size} points"
    about = f"{protocol['dataset']}, test, {task}, the same {drawn['number']} episodes for all runs"
    print(one_line(f"{about} (seed {drawn['seed']})"))
    first = record["runs"][0]["name"]
    titles = ("metric", "run", "mean ± 95%", f"difference from {one_line(first)} ± 95%")
    table(titles, _rows(record))


def _rows(record: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """A row for each metric of each run, plain and then inductive."""
    gaps = [{}, *record["differences"]]
    sections = [
        ("", [one["metrics"] for one in record["runs"]], [gap.get("metrics", {}) for gap in gaps])
    ]
    if "inductive" in record["differences"][0]:
        means = [one.get("inductive", one)["metrics"] for one in record["runs"]]
        sections.append((", inductive", means, [gap.get("inductive", {}) for gap in gaps]))
    named = [one_line(one["name"]) for one in record["runs"]]
    return [
        (metric + suffix, name, _interval(mean[metric]), _interval(gap.get(metric), sign="+"))
        for suffix, means, differences in sections
        for metric in dict.fromkeys(metric for mean in means for metric in mean)
        for name, mean, gap in zip(named, means, differences, strict=True)
        if metric in mean
    ]


def _interval(value: dict[str, Any] | None, *, sign: str = "") -> str:
    """A mean and half its interval; empty where there is none.

    >>> _interval({"mean": 0.5, "ci95": 0.25}, sign="+")
    '+0.5000 ± 0.2500'
    """
    if value is None:
        return ""
    return f"{round(value['mean'], 4) + 0.0:{sign}.4f} ± {value['ci95']:.4f}"  # and no -0.0000


def runs_(words: Words) -> int:
    """`jmeta runs`."""
    asked = runs_parser().read(words)
    check_out(asked.json)
    found = runs.list_runs(asked.folder)
    titles = ("run", "algorithm", "dataset", "task", "steps", "result", "state")
    if found:
        table(titles, [_row(one) for one in found], whole_lines=True)
    else:
        print(one_line(f"there are no runs below {asked.folder}"))
    if asked.json is not None:
        write_out(asked.json, found)
    return 0


def runs_parser() -> Parser:
    """The parser of `jmeta runs`."""
    parser = Parser("jmeta runs", RUNS, argument="[DIR] ")
    parser.add_argument(
        "folder",
        type=path_of,
        nargs="?",
        default=Path("runs"),
        metavar="DIR",
        help="the folder whose runs are listed, at any depth (default: runs)",
    )
    parser.add_argument("--json", type=path_of, metavar="FILE", help="also write the list there")
    return parser


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    """One run as a row."""
    shots, steps = one["shots"], one["steps"]
    task = f"{one['ways']}-way {shots}-shot" if one["ways"] else f"{shots} points"
    state = one["state"]
    if state == "finished":
        state = f"finished {one['finished'][:16].replace('T', ' ')} UTC"
    elif state == "running":
        state = f"running ({one['writer']})"
    elif state == "broken":
        state = f"broken: {one['problem']}"
    cells = (
        *(one["run"], one["algorithm"], one["dataset"], task if shots else None),
        *(f"{one['step'] or 0} of {steps}" if steps is not None else None, _result(one), state),
    )
    return tuple("" if cell is None else one_line(cell) for cell in cells)


def _result(one: dict[str, Any]) -> str | None:
    """The metric of a run, on test episodes or so far on those of validation."""
    if one["mean"] is None:
        return None
    interval = "" if one["ci95"] is None else f" ± {one['ci95']:.4f}"
    part = " (validation)" if one["part"] == "validation" else ""
    return f"{one['metric']} {one['mean']:.4f}{interval}{part}"

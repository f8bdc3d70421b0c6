"""The options of the `jmeta` command, read off the parts of an experiment.

A mistake is a ValueError of one line, which the command prints.
"""

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple, get_type_hints

from jmeta.cli._own import add_own
from jmeta.cli._words import Parser, add, hyphened, normal, path_of, value_of
from jmeta.experiments import ALGORITHMS, NETWORKS, PRESETS, SOURCES, Experiment, preset
from jmeta.experiments._names import CHOOSERS, Chosen, choose, find, owners_of, unowned
from jmeta.experiments._options import options_of
from jmeta.experiments._presets import describe
from jmeta.runs._records import read_config


class Training(NamedTuple):
    """What `jmeta train` was asked."""

    experiment: Experiment
    run: argparse.Namespace  # out, preset, resume, trackers and the options of processes


PROG = "jmeta train"
_ABOUT = """Meta-train a learner, test it on held-out classes, and write it all to a folder.

With no options: prototypical networks on the built-in glyphs, some minutes on two cores.
Below are the options of the chosen algorithm, dataset and network; others have others:
jmeta train --algorithm maml --dataset sinusoid --help. `jmeta presets` lists named experiments."""


def read_training(words: Sequence[str]) -> Training:
    """Read the words that follow `jmeta train`.

    Raises:
        ValueError: an unknown name, an option that no chosen part has, or a value that does not
            fit.
        SystemExit: help was asked for, and printed.

    >>> read_training(["--algorithm", "maml", "--inner-rate", "0.1"]).experiment.algorithm.rate
    0.1
    """
    words = normal(words)
    chosen = _chosen(words)
    parser = Parser(PROG, _ABOUT)
    _add_run(parser)
    return _read(parser, chosen, words)


def _read(parser: Parser, chosen: Chosen, words: Sequence[str]) -> Training:
    """Read words by a parser, to which the options of the parts are added."""
    owners = chosen.owners()
    _add_parts(parser, chosen)
    found, rest = parser.parse_known_args(words)
    if rest and rest[0].startswith("--"):
        flag = rest[0].partition("=")[0].removeprefix("--").replace("-", "_")
        if any(owners_of(flag.removeprefix("no_"))):  # --no-remat
            flag = flag.removeprefix("no_")
        raise ValueError(f"{unowned(flag, chosen, write=hyphened)} See {parser.prog} --help.")
    if rest:
        raise ValueError(parser.unknown(rest[0]))
    given = vars(found)
    values = {flag: given.pop(flag) for flag in list(given) if flag in owners}
    return Training(chosen.changed({k: _whole(v) for k, v in values.items()}), found)


def _whole(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _chosen(words: Sequence[str]) -> Chosen:
    """The parts that some words choose: by a preset or a resumed run, and by name."""
    early = Parser(PROG, add_help=False)
    _add_run(early)
    for name in CHOOSERS:
        early.add_argument(f"--{name}")
    found, _ = early.parse_known_args(words)
    names = {name: getattr(found, name) for name in CHOOSERS}
    start = Experiment()
    if found.preset is not None:
        start = preset(found.preset)
    elif found.resume and found.out is not None and (found.out / "config.json").exists():
        start = read_config(found.out, _own_parts(names))
    return choose(start, names)


def _own_parts(names: dict[str, str | None]) -> list[type]:
    """The classes of the user's own among some names."""
    own = {w: n for w, n in names.items() if n and ":" in n and n.partition(":")[0] not in SOURCES}
    return [type(find(what, name)) for what, name in own.items()]


def _add_run(parser: Parser) -> None:
    """The options that say where a run is written and what carries it out."""
    group = parser.add_argument_group("run")
    group.add_argument(
        "--out",
        type=path_of,
        metavar="DIR",
        help="folder for everything that is written, which one process at a time writes in; a new "
        "one in runs/ by default",
    )
    group.add_argument(
        "--preset",
        metavar="NAME",
        help="start from a named experiment (see jmeta presets); other options change it",
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out from its "
        "last checkpoint; with a larger --steps a finished run is trained longer",
    )
    group.add_argument(
        "--tensorboard",
        action="store_true",
        help="also write TensorBoard event files to OUT/tensorboard",
    )
    group.add_argument(
        "--wandb", metavar="PROJECT", help="also send all numbers to this project of W&B"
    )
    group.add_argument(
        "--mlflow", metavar="EXPERIMENT", help="also send all numbers to this experiment of MLflow"
    )
    group.add_argument(
        "--distributed",
        action="store_true",
        help="one of several processes that "
        "train as one; SLURM, Open MPI and TPU pods are recognised",
    )
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help="address of process 0 elsewhere; with --processes and --process",
    )
    group.add_argument(
        "--processes", type=value_of(int), metavar="INT", help="how many processes there are"
    )
    group.add_argument(
        "--process", type=value_of(int), metavar="INT", help="the number of this one, from 0"
    )


def _add_parts(parser: Parser, chosen: Chosen) -> None:
    """A group of options for each part."""
    titles = {
        "algorithm": ("--algorithm", f"one of {', '.join(ALGORITHMS)}, or module:Class"),
        "source": (
            "--dataset",
            f"one of {', '.join(SOURCES)} (tfds:NAME, folder:PATH, "
            "arrays:FILE.npz, table:FILE.csv), or module:Class",
        ),
        "network": ("--network", f"one of {', '.join(NETWORKS)}, or module:Class"),
    }
    for section, part in chosen.parts().items():
        about = (type(part).__doc__ or "").strip().splitlines()[0]
        label = getattr(part, "label", part.name) if section in titles else section
        group = parser.add_argument_group(
            label if label == section else f"{section} {label}", about
        )
        if section in titles:
            flag, text = titles[section]
            group.add_argument(flag, metavar="NAME", help=text, default=argparse.SUPPRESS)
        hints = get_type_hints(type(part))
        for flag, item in options_of(type(part)):
            value, about = getattr(part, item.name), item.metadata["option"]
            listed = all(choice in about.help for choice in about.choices)
            text = about.help + ("" if listed else f" One of {', '.join(about.choices)}.")
            add(group, flag, hints[item.name], value, text)


EVALUATED = ("episodes", "ways", "shots", "queries", "inner_steps")


def read_bench(words: Sequence[str]) -> Training:
    """Read the words that follow `jmeta bench`: an experiment, and how it is timed.

    Raises:
        ValueError: as `read_training`.
    """
    words = normal(words)
    chosen = _chosen(words)
    parser = Parser("jmeta bench", _BENCH)
    group = parser.add_argument_group("bench")
    group.add_argument("--preset", metavar="NAME", help="start from a named experiment")
    group.add_argument(
        "--rounds",
        type=value_of(int),
        default=7,
        metavar="INT",
        help="rounds of timing; medians and quartiles over them are printed",
    )
    group.add_argument(
        "--seconds",
        type=value_of(float),
        default=2.0,
        metavar="FLOAT",
        help="about how long a round is",
    )
    group.add_argument("--json", type=path_of, metavar="FILE", help="also write the record there")
    return _read(parser, chosen, words)


_BENCH = """Time an experiment on this machine: tasks per second, memory, compile time, and what
share of the machine's measured rate of matrix products the training program reaches."""


def evaluate_parser() -> Parser:
    """The parser of `jmeta evaluate`."""
    parser = Parser(
        "jmeta evaluate",
        "Test the best checkpoint of a run again, on other episodes or another dataset if asked.",
        argument="DIR ",
    )
    parser.add_argument(
        "run", type=path_of, metavar="DIR", help="a folder written by `jmeta train`"
    )
    numbers = {
        "episodes": "test episodes",
        "ways": "classes of an episode",
        "shots": "support examples of a class",
        "queries": "query examples of a class",
        "inner_steps": "steps of adaptation",
    }
    for name, text in numbers.items():
        add(parser, name, int | None, None, f"{text}; as trained by default")
    parser.add_argument("--dataset", metavar="NAME", help="test on the test classes of another set")
    add_own(parser, ("algorithm", "network"))
    parser.add_argument(
        "--curve",
        type=value_of(int),
        metavar="INT",
        help="also test after each of so many inner steps, into DIR/adaptation.json and .png",
    )
    parser.add_argument("--json", type=path_of, metavar="FILE", help="also write the record there")
    return parser


def presets_table() -> list[tuple[str, str]]:
    """Name and description of every preset."""
    return [(name, describe(each)) for name, each in PRESETS.items()]

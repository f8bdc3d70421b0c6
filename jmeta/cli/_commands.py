"""What the commands do: thin, no logic of their own."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import jax

from jmeta import __version__, data, runs
from jmeta.cli import _parser as parser
from jmeta.cli._folders import run_folder
from jmeta.experiments import SOURCES
from jmeta.experiments._names import find
from jmeta.runs import _adaptation as adaptation
from jmeta.runs import _processes as processes
from jmeta.runs import _progress as progress
from jmeta.runs._interruption import Terminated, ending
from jmeta.runs._json import check_out, write_out
from jmeta.runs._progress import one_line
from jmeta.runs._records import read_config

Words = Sequence[str]


def train(words: Words) -> int:
    """`jmeta train`."""
    experiment, asked = parser.read_training(words)
    if asked.resume and asked.out is None:
        raise ValueError("--resume needs the folder of the run to go on with: add --out DIR")
    _start()
    _join(asked)
    name = asked.preset or experiment.source.label
    with run_folder(asked.out, name) as out, ExitStack() as stack:
        first = processes.first()
        show = stack.enter_context(progress.bar()) if first else progress.quiet
        if asked.tensorboard and first:
            events = stack.enter_context(progress.tensorboard(out / "tensorboard"))
            show = progress.both(show, events)
        result = runs.run(experiment, out, resume=asked.resume, progress=show)
    if not first:
        return 0
    _print_result(result)
    if (rate := result["throughput"]["tasks_per_second"]) is not None:
        print(f"tasks per second  {rate:.1f}")
    files = ["result.json", "episodes.csv", "confusion.csv", "curves.png", "episode.png"]
    written = [name for name in (*files, "metrics.jsonl", "checkpoints/") if (out / name).exists()]
    print(one_line(f"written to {out}/: {', '.join(written)}"))
    return 0


def _join(asked: argparse.Namespace) -> None:
    """Make this process one of several, if asked."""
    by_hand = (asked.coordinator, asked.processes, asked.process)
    given = [value is not None for value in by_hand]
    if any(given) and not all(given):
        raise ValueError("--coordinator, --processes and --process belong together: give all three")
    if asked.distributed or all(given):
        processes.start(*by_hand)


def evaluate(words: Words) -> int:
    """`jmeta evaluate`."""
    asked = parser.evaluate_parser().read(words)
    check_out(asked.json)
    _start()
    given = {name: getattr(asked, name) for name in ("algorithm", "network", "dataset")}
    parts = {what: find(what, name) for what, name in given.items() if name is not None}
    known = [type(part) for part in parts.values()]
    options: dict[str, Any] = {name: getattr(asked, name, None) for name in parser.EVALUATED}
    source = parts.get("dataset")
    if type(source) not in SOURCES.values():  # a class of the user's own
        trained_on = read_config(asked.run, known).source
        source = None if type(source) is type(trained_on) else source  # so that the run opens
    if asked.curve is not None:  # first, since it may be refused
        adaptation.write_curve(
            asked.run, steps=asked.curve, episodes=options["episodes"], known=known
        )
    result = runs.evaluate_run(asked.run, source=source, known=known, **options)
    _print_result(result)
    if asked.curve is not None:
        print(one_line(f"written to {asked.run}/: adaptation.json, adaptation.png"))
    if asked.json is not None:
        write_out(asked.json, result)
    return 0


def _print_result(result: dict[str, Any]) -> None:
    protocol = result["protocol"]
    least = protocol["min_shots"]
    shots = f"{least} to {protocol['shots']}" if least else protocol["shots"]
    episode = f"{protocol['ways']}-way {shots}-shot" if protocol["ways"] else f"{shots} points"
    kind = "transductive" if protocol["transductive"] else "inductive"
    about = f"{protocol['dataset']}, test, {episode}, {protocol['episodes']} episodes ({kind})"
    print(f"\n{one_line(about)}, checkpoint of step {result['best']['step']}")
    for name, value in result["metrics"].items():
        line = f"  {name:<10} {value['mean']:.4f} ± {value['ci95']:.4f}"
        if "inductive" in result:
            other = result["inductive"]["metrics"][name]
            line += f"     inductive {other['mean']:.4f} ± {other['ci95']:.4f}"
        print(line)
    if target := protocol["target"]:
        column, deviation = one_line(target["column"]), target["deviation"]
        print(f"  errors are in deviations of {column}, of which one is {deviation:.4g}")


def bench(words: Words) -> int:
    """`jmeta bench`."""
    from jmeta.bench import measure, show

    experiment, asked = parser.read_bench(words)
    check_out(asked.json)
    _use_all_cores()  # and nothing is kept: the time to compile is one of the figures
    record = measure(experiment, seconds=asked.seconds, rounds=asked.rounds)
    show(record)
    if asked.json is not None:
        write_out(asked.json, record)
    return 0


def presets(words: Words) -> int:
    """`jmeta presets`."""
    parser.Parser("jmeta presets", PRESETS).read(words)
    _table(("name", "what it does"), parser.presets_table())
    return 0


def list_(words: Words) -> int:
    """`jmeta data list`."""
    parser.data_parser("list").read(words)
    rows = [
        (entry.name, entry.kind, "yes" if entry.present else "no", entry.description)
        for entry in data.available()
    ]
    _table(("name", "kind", "here", "description"), rows)
    return 0


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for place, title in enumerate(titles):
        table.add_column(title, no_wrap=place == 0)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def info(words: Words) -> int:
    """`jmeta data info`."""
    asked = parser.data_parser("info").read(words)
    facts = data.describe(asked.name, **_shaping(asked), drop_missing=asked.drop_missing)
    print(json.dumps(facts, indent=2))
    return 0


def prepare(words: Words) -> int:
    """`jmeta data prepare`."""
    asked = parser.data_parser("prepare").read(words)
    found = data.prepare(asked.name, source=asked.source, **_shaping(asked))
    print(json.dumps(found, indent=2))
    return 0


def _shaping(asked: argparse.Namespace) -> dict[str, Any]:
    """The options that say what a set becomes when it is loaded."""
    names = {"split": "split", "size": "size", "fit": "fit", "least": "drop_small"}
    return {name: getattr(asked, given) for name, given in names.items()}


TRAIN = "Meta-train a learner, test it on held-out classes, write it all to a folder."
PRESETS = "List the named experiments and what they do."
_COMMANDS: dict[str, tuple[str, Callable[[Words], int]]] = {
    "train": (TRAIN, train),
    "evaluate": ("Test the best checkpoint of a run again, on other episodes if asked.", evaluate),
    "bench": ("Time an experiment: tasks per second, memory, compile time.", bench),
    "presets": (PRESETS, presets),
    "data list": ("Say what data sets there are, and which are on this disk.", list_),
    "data info": ("Describe a data set: classes, examples, split and its hash.", info),
    "data prepare": ("Decode a data set once, so that runs start at once.", prepare),
}
_USAGE = "\n".join(
    [
        "usage: jmeta COMMAND [options]      (jmeta COMMAND --help says more)\n",
        *(f"  {name:<14}{text}" for name, (text, _) in _COMMANDS.items()),
    ]
)


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if args is None else args)
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.filterwarnings("ignore", module=r"PIL\.")  # what it cannot read is refused below
        warnings.showwarning = _warn  # type: ignore[assignment]
        try:
            with ending(process=args is None):
                code, said = _outcome(words)
        except KeyboardInterrupt as error:
            code = error.code if isinstance(error, Terminated) else 130
            said = "interrupted; a run goes on from its last checkpoint with --resume"
    if said:
        print(f"jmeta: {one_line(said)}", file=sys.stderr)
    sys.exit(code)


_LESS = "set --chunk or --remat, or choose a smaller network or fewer shots and queries"


def _outcome(words: list[str]) -> tuple[int, str]:
    """The exit code of a command, and what to say on stderr."""
    try:
        return _dispatch(words), ""
    except ValueError as error:
        return 2, f"error: {error}"
    except OSError as error:
        return 2, (
            f"error: cannot use {error.filename or 'a file'}: {error.strerror or error}; "
            "name a path that can be read and written"
        )
    except MemoryError:
        return 2, f"error: the memory of this machine is full; {_LESS}"
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return 2, f"error: the memory of the device is full; {_LESS}"
    except runs.Diverged as error:
        return 1, f"error: {error}"
    except runs.Interrupted as error:
        return error.code, str(error)


def _warn(message: Warning | str, *_: Any) -> None:
    """A warning as one line."""
    print(f"jmeta: warning: {one_line(message)}", file=sys.stderr)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    if words[0] == "--version":
        print(f"jmeta {__version__}")
        return 0
    name = " ".join(words[:2]) if words[0] == "data" else words[0]
    if name not in _COMMANDS:
        raise ValueError(f"unknown command {name!r}: choose one of {', '.join(_COMMANDS)}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # so that module:Class is found beside the user's scripts
    return _COMMANDS[name][1](words[len(name.split()) :])


def _start() -> None:
    """Set up the backend, once the words have been read."""
    _use_all_cores()
    _keep_compiled()


def _use_all_cores() -> None:
    """On a CPU, one virtual device a core: each scans its own tasks. A number set before stays."""
    if jax.config.jax_num_cpu_devices > 0:  # type: ignore[attr-defined]
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jax.config.update("jax_num_cpu_devices", cores or 1)


def _keep_compiled() -> None:
    """Keep compiled programs in the cache folder, so that a command starts faster the next time.

    A folder named before, by $JAX_COMPILATION_CACHE_DIR, stays.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    folder = data.cache_dir() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home: compile each time
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

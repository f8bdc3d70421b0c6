"""What the commands do: thin, no logic of their own."""

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from jmeta import data, runs, tracking
from jmeta.cli import _parser as parser
from jmeta.cli._backend import start, use_all_cores
from jmeta.cli._folders import run_folder
from jmeta.cli._own import own_parts
from jmeta.cli._table import table
from jmeta.experiments import SOURCES
from jmeta.runs import _adaptation as adaptation
from jmeta.runs import _processes as processes
from jmeta.runs import _progress as progress
from jmeta.runs._lowered import kept_in
from jmeta.runs._progress import one_line
from jmeta.runs._records import read_config
from jmeta.runs._writing import check_out, write_out

Words = Sequence[str]
PRESETS = "List the named experiments and what they do."


def train(words: Words) -> int:
    """`jmeta train`."""
    experiment, asked = parser.read_training(words)
    if asked.resume and asked.out is None:
        raise ValueError("--resume needs the folder of the run to go on with: add --out DIR")
    start()
    _join(asked)
    name = asked.preset or experiment.source.label
    with run_folder(asked.out, name) as out, ExitStack() as stack:
        first = processes.first()
        show = stack.enter_context(progress.bar()) if first else progress.quiet
        stack.enter_context(kept_in(data.cache_dir() / "lowered"))
        trackers = _trackers(asked, out) if first else []
        show = tracking.several(show, *(stack.enter_context(each) for each in trackers))
        result = runs.run(experiment, out, resume=asked.resume, progress=show)
    if not first:
        return 0
    _print_result(result)
    if (rate := result["throughput"]["tasks_per_second"]) is not None:
        print(f"tasks per second  {rate:.1f}")
    files = [
        "model.safetensors",
        "config.json",
        "README.md",
        "result.json",
        "episodes.csv",
        "confusion.csv",
        "curves.png",
        "episode.png",
    ]
    written = [name for name in (*files, "metrics.jsonl", "checkpoints/") if (out / name).exists()]
    print(one_line(f"written to {out}/: {', '.join(written)}"))
    return 0


def _trackers(asked: argparse.Namespace, out: Path) -> list[AbstractContextManager[runs.Progress]]:
    """The trackers that were asked for."""
    found = []
    if asked.tensorboard:
        found.append(tracking.tensorboard(out / "tensorboard"))
    if asked.wandb is not None:
        found.append(tracking.wandb(project=asked.wandb, name=out.name))
    if asked.mlflow is not None:
        found.append(tracking.mlflow(asked.mlflow, run_name=out.name))
    return found


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
    start()
    parts = own_parts(asked)
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
    use_all_cores()  # and nothing is kept: the time to compile is one of the figures
    record = measure(experiment, seconds=asked.seconds, rounds=asked.rounds)
    show(record)
    if asked.json is not None:
        write_out(asked.json, record)
    return 0


def presets(words: Words) -> int:
    """`jmeta presets`."""
    parser.Parser("jmeta presets", PRESETS).read(words)
    table(("name", "what it does"), parser.presets_table())
    return 0

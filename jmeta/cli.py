"""The `jmeta` command: thin, no logic of its own."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from jmeta import data
from jmeta.train import checkpoint, evaluate, loop, presets, progress, records
from jmeta.train.config import Config


@dataclass(frozen=True)
class Train:
    """Meta-train a learner, test it on held-out classes, write it all to a folder.

    With no options: prototypical networks on the built-in glyphs, a minute or two on two cores.
    """

    out: Path = Path("runs/latest")
    """Folder for config, metrics, checkpoints, result and pictures (default: a new one)."""
    preset: str | None = None
    """Start from a named experiment; the options below change it."""
    resume: bool = False
    """Go on with the run in --out from its last checkpoint."""
    tensorboard: bool = False
    """Also write TensorBoard event files to OUT/tensorboard."""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)


@dataclass(frozen=True)
class Evaluate:
    """Test the best checkpoint of a run again, on other episodes if asked."""

    run: Annotated[Path, tyro.conf.Positional]
    """A folder written by `jmeta train`."""
    episodes: int | None = None
    """Test episodes. None: as trained."""
    ways: int | None = None
    """Classes an episode. None: as trained."""
    shots: int | None = None
    """Support examples a class. None: as trained."""
    queries: int | None = None
    """Query examples a class. None: as trained."""
    inner_steps: int | None = None
    """Steps of adaptation. None: as trained."""
    json: Path | None = None
    """Also write the record to this file."""


@dataclass(frozen=True)
class List:
    """Say what data sets there are, and which are on this disk."""


@dataclass(frozen=True)
class Info:
    """Describe a data set: classes, examples, split and its hash, licence."""

    name: Annotated[str, tyro.conf.Positional]
    """glyphs, omniglot, tfds:NAME, folder:PATH or arrays:FILE.npz."""
    split: str | None = None
    """One of the set's splits."""


@dataclass(frozen=True)
class Prepare:
    """Decode a data set once, so that runs start at once."""

    name: Annotated[str, tyro.conf.Positional]
    """glyphs, omniglot or tfds:NAME."""
    source: Path | None = None
    """Where its archives lie. None: under $JMETA_DATA."""


def train(options: Train) -> int:
    """`jmeta train`."""
    out = options.out
    if out == Train.out and not options.resume:
        out = _fresh(out.parent, options.preset or options.config.dataset)
    with ExitStack() as stack:
        show = stack.enter_context(progress.bar())
        if options.tensorboard:
            show = progress.both(
                show, stack.enter_context(progress.tensorboard(out / "tensorboard"))
            )
        result = loop.run(options.config, out, resume=options.resume, progress=show)
    _print_result(result)
    print(f"tasks per second  {result['throughput']['tasks_per_second']:.1f}")
    print(f"written to {out}/: result.json, curves.png, episode.png, metrics.jsonl, checkpoints/")
    return 0


def _fresh(parent: Path, name: str) -> Path:
    """The first of NAME, NAME-2, NAME-3, ... that does not exist."""
    plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    number = 1
    while (path := parent / (plain if number == 1 else f"{plain}-{number}")).exists():
        number += 1
    return path


def evaluate_(options: Evaluate) -> int:
    """`jmeta evaluate`."""
    result = evaluate.evaluate_run(
        options.run,
        episodes=options.episodes,
        ways=options.ways,
        shots=options.shots,
        queries=options.queries,
        inner_steps=options.inner_steps,
    )
    _print_result(result)
    if options.json is not None:
        checkpoint.write_json(options.json, result)
    return 0


def _print_result(result: dict[str, Any]) -> None:
    protocol = result["protocol"]
    episode = f"{protocol['ways']}-way {protocol['shots']}-shot" if protocol["ways"] else (
        f"{protocol['shots']} points"
    )
    kind = "transductive" if protocol["transductive"] else "inductive"
    print(f"\n{protocol['dataset']}, test, {episode}, {protocol['episodes']} episodes ({kind})")
    for name, value in result["metrics"].items():
        line = f"  {name:<10} {value['mean']:.4f} ± {value['ci95']:.4f}"
        if "inductive" in result:
            other = result["inductive"]["metrics"][name]
            line += f"     inductive {other['mean']:.4f} ± {other['ci95']:.4f}"
        print(line)


def list_(options: List) -> int:
    """`jmeta data list`."""
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "kind", "here", "description", box=None, pad_edge=False)
    for entry in data.available():
        here = "yes" if entry.present else "no"
        table.add_row(entry.name, entry.kind, here, entry.description)
    Console().print(table)
    return 0


def info(options: Info) -> int:
    """`jmeta data info`."""
    print(json.dumps(data.describe(options.name, split=options.split), indent=2))
    return 0


def prepare(options: Prepare) -> int:
    """`jmeta data prepare`."""
    print(data.prepare(options.name, source=options.source))
    return 0


_COMMANDS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "train": (Train, train),
    "evaluate": (Evaluate, evaluate_),
    "data list": (List, list_),
    "data info": (Info, info),
    "data prepare": (Prepare, prepare),
}

_USAGE = f"""usage: jmeta COMMAND [options]      (jmeta COMMAND --help says more)

  train          {Train.__doc__.splitlines()[0] if Train.__doc__ else ""}
  evaluate DIR   {Evaluate.__doc__}
  data list      {List.__doc__}
  data info NAME {Info.__doc__}
  data prepare NAME  {Prepare.__doc__}

presets: {", ".join(presets.PRESETS)}"""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if args is None else args)
    try:
        code = _dispatch(words)
    except (ValueError, loop.Diverged) as error:
        print(f"jmeta: error: {' '.join(str(error).split())}", file=sys.stderr)
        code = 2 if isinstance(error, ValueError) else 1
    except loop.Interrupted as error:
        print(f"jmeta: {error}", file=sys.stderr)
        code = 130
    sys.exit(code)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    name = " ".join(words[:2]) if words[0] == "data" else words[0]
    if name not in _COMMANDS:
        raise ValueError(f"unknown command {name!r}: choose one of {', '.join(_COMMANDS)}")
    kind, command = _COMMANDS[name]
    rest = words[len(name.split()) :]
    default = _train_default(rest) if kind is Train else tyro.MISSING
    options = tyro.cli(kind, args=rest, prog=f"jmeta {name}", default=default)
    _use_all_cores()
    return command(options)


def _train_default(words: list[str]) -> Train:
    """What the options change: a preset, the stored config of a resumed run, or the defaults."""
    out, name = _value(words, "--out"), _value(words, "--preset")
    config = Config() if name is None else presets.preset(name)
    resumed = "--resume" in words and out is not None and name is None
    if resumed and (Path(out) / "config.json").exists():
        config = records.read_config(Path(out))
    return dataclasses.replace(Train(), config=config)


def _value(words: list[str], flag: str) -> str | None:
    """The value of `--flag VALUE` or `--flag=VALUE`, read before the full parse."""
    for here, following in zip(words, [*words[1:], None], strict=True):
        if here == flag:
            return following
        if here.startswith(f"{flag}="):
            return here.removeprefix(f"{flag}=")
    return None


def _use_all_cores() -> None:
    """On a CPU, one virtual device a core: each scans its own tasks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jax.config.update("jax_num_cpu_devices", cores or 1)


if __name__ == "__main__":
    main()

"""The `jmeta` command: thin, no logic of its own."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax

from jmeta import bench, data
from jmeta.cli._parser import Bench, Evaluate, Info, List, Prepare, Run, Train, config_of, parse
from jmeta.train import presets
from jmeta.runs import _adaptation as adaptation
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _evaluate as evaluate
from jmeta.runs import _loop as loop
from jmeta.runs import _processes as processes
from jmeta.runs import _progress as progress


def train(options: Any) -> int:
    """`jmeta train`."""
    config, asked = config_of(options), options.run
    if asked.resume and asked.out is None:
        raise ValueError("--resume needs the folder of the run to go on with: add --out DIR")
    _join(asked)
    out = asked.out or _fresh(Path("runs"), asked.preset or config.dataset)
    with ExitStack() as stack:
        first = processes.first()
        show = stack.enter_context(progress.bar()) if first else progress.quiet
        if asked.tensorboard and first:
            show = progress.both(
                show, stack.enter_context(progress.tensorboard(out / "tensorboard"))
            )
        result = loop.run(config, out, resume=asked.resume, progress=show)
    if not first:
        return 0
    _print_result(result)
    print(f"tasks per second  {result['throughput']['tasks_per_second']:.1f}")
    print(f"written to {out}/: result.json, curves.png, episode.png, metrics.jsonl, checkpoints/")
    return 0


def _join(asked: Run) -> None:
    """Make this process one of several, if asked."""
    by_hand = (asked.coordinator, asked.processes, asked.process)
    given = [value is not None for value in by_hand]
    if any(given) and not all(given):
        raise ValueError("--coordinator, --processes and --process belong together: give all three")
    if asked.distributed or all(given):
        processes.start(*by_hand)


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
    if options.curve is not None:
        adaptation.write_curve(options.run, steps=options.curve, episodes=options.episodes)
        print(f"written to {options.run}/: adaptation.json, adaptation.png")
    if options.json is not None:
        checkpoint.write_json(options.json, result)
    return 0


def _print_result(result: dict[str, Any]) -> None:
    protocol = result["protocol"]
    episode = (
        f"{protocol['ways']}-way {protocol['shots']}-shot"
        if protocol["ways"]
        else (f"{protocol['shots']} points")
    )
    kind = "transductive" if protocol["transductive"] else "inductive"
    print(f"\n{protocol['dataset']}, test, {episode}, {protocol['episodes']} episodes ({kind})")
    for name, value in result["metrics"].items():
        line = f"  {name:<10} {value['mean']:.4f} ± {value['ci95']:.4f}"
        if "inductive" in result:
            other = result["inductive"]["metrics"][name]
            line += f"     inductive {other['mean']:.4f} ± {other['ci95']:.4f}"
        print(line)


def bench_(options: Bench) -> int:
    """`jmeta bench`."""
    record = bench.compare(
        options.workload,
        options.systems,
        protocol=bench.Protocol(options.rounds, options.seconds),
        chunk=options.chunk,
        python=options.python,
    )
    if options.json is not None:
        checkpoint.write_json(options.json, record)
    bench.show(record)
    return 0


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
    "bench": (Bench, bench_),
    "data list": (List, list_),
    "data info": (Info, info),
    "data prepare": (Prepare, prepare),
}

_USAGE = f"""usage: jmeta COMMAND [options]      (jmeta COMMAND --help says more)

  train          {Train.__doc__.splitlines()[0] if Train.__doc__ else ""}
  evaluate DIR   {Evaluate.__doc__}
  bench          {Bench.__doc__}
  data list      {List.__doc__}
  data info NAME {Info.__doc__}
  data prepare NAME  {Prepare.__doc__}

presets: {", ".join(presets.PRESETS)}"""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if args is None else args)
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = _warn  # type: ignore[assignment]
        code, said = _outcome(words)
    if said:
        print(f"jmeta: {' '.join(said.split())}", file=sys.stderr)
    sys.exit(code)


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
    except loop.Diverged as error:
        return 1, f"error: {error}"
    except loop.Interrupted as error:
        return 130, str(error)
    except KeyboardInterrupt:
        return 130, "interrupted; a run goes on from its last checkpoint with --resume"


def _warn(message: Warning | str, *_: Any) -> None:
    """A warning as one line."""
    print(f"jmeta: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    name = " ".join(words[:2]) if words[0] == "data" else words[0]
    if name not in _COMMANDS:
        raise ValueError(f"unknown command {name!r}: choose one of {', '.join(_COMMANDS)}")
    kind, command = _COMMANDS[name]
    options = parse(kind, words[len(name.split()) :], prog=f"jmeta {name}")
    _use_all_cores()
    _keep_compiled()
    return command(options)


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


if __name__ == "__main__":
    main()

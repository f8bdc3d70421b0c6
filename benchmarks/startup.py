"""How soon a command starts: python benchmarks/startup.py [--rounds 5]

Each command of `COMMANDS` starts once without compiled programs in its cache folder, and then some
times with those that the first start has left; rounds take turns. A start ends with the first
update. The script also measures what `import jmeta` takes beside jax's own import, and how long the
train steps of workloads A and C take to compile. The record is benchmarks/results/startup.json; it
takes five minutes.

Seconds of each phase, from the start of the process: `python`, `import jax`, `import jmeta`,
`import jmeta.cli`, `data` (until the experiment is open), and of what follows before the run says
that it starts: `trace`, `lower`, `compile` (or to read what was compiled) and the `rest`; then
`first update`, which runs it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMANDS = {
    "maml": "--algorithm maml --filters 64 --tasks 32 --train-queries 1",
    "train": "",  # the first command of the README
    "omniglot": "--preset omniglot-maml-5way-1shot",
}
SHORT = "--steps 2 --log-every 1"  # so that the first update is told
_BEYOND = (
    "import time, jax, jax.numpy; begun = time.perf_counter(); import jmeta; "
    "print(time.perf_counter() - begun)"
)


def child(born: float, options: list[str]) -> None:
    """Start as the command does, tell the seconds of each phase as JSON, and end."""
    marks = {"python": time.time() - born}
    last = time.perf_counter()

    def mark(phase: str) -> None:
        nonlocal last
        now = time.perf_counter()
        marks[phase], last = now - last, now

    import jax
    import jax.numpy

    mark("import jax")
    import jmeta  # noqa: F401

    mark("import jmeta")
    from jmeta.cli import main
    from jmeta.runs import _data as rundata
    from jmeta.runs import _progress as progress

    mark("import jmeta.cli")
    kinds = {
        "jaxpr_trace_duration": "trace",
        "jaxpr_to_mlir_module_duration": "lower",
        "backend_compile_duration": "compile",
    }
    heard = dict.fromkeys(kinds.values(), 0.0)

    def listen(name: str, seconds: float, **about: Any) -> None:
        if (kind := kinds.get(name.split("/")[-1])) is not None:
            heard[kind] += seconds

    real = rundata.record

    def record(*arguments: Any) -> dict[str, Any]:
        found = real(*arguments)
        mark("data")
        jax.monitoring.register_event_duration_secs_listener(listen)
        return found

    def hook(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            mark("rest")
            marks.update(heard)
            marks["rest"] -= sum(heard.values())
        elif event["event"] == "train":
            mark("first update")
            print(json.dumps({**marks, "total": time.time() - born}), flush=True)
            os._exit(0)

    @contextmanager
    def bar() -> Iterator[Any]:
        yield hook

    rundata.record, progress.bar = record, bar
    main(["train", *options])


def start(name: str, scratch: Path) -> dict[str, float]:
    """The seconds of each phase of one start of a command."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    options = [*COMMANDS[name].split(), *SHORT.split(), "--out", str(folder / "run")]
    command = [sys.executable, __file__, "--born", str(time.time()), *options]
    # Each command has a cache of its own.
    environment = {**os.environ, "JMETA_CACHE": str(scratch / name)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def beyond_jax() -> float:
    """Seconds that `import jmeta` takes where jax is imported."""
    done = subprocess.run([sys.executable, "-c", _BEYOND], capture_output=True, text=True)
    return float(done.stdout)


def compile_seconds(name: str) -> dict[str, float]:
    """Seconds to trace, lower and compile the train step of a workload, without a cache."""
    import jax
    from comparison import recipes, workloads

    import jmeta

    workload = workloads.WORKLOADS[name]
    tasks, params, tx = (
        recipes.batch(workload),
        recipes.params(workload),
        recipes.optimizer(workload),
    )
    update = jax.jit(jmeta.step(recipes.loss(workload), tx, chunk=1, mesh=jmeta.task_mesh()))
    begun = time.perf_counter()
    lowered = update.lower(jmeta.train_state(params, tx), tasks)
    middle = time.perf_counter()
    lowered.compile()
    return {"trace_and_lower": middle - begun, "compile": time.perf_counter() - middle}


def medians(starts: list[dict[str, float]]) -> dict[str, float]:
    """The median of each phase."""
    return {phase: statistics.median(one[phase] for one in starts) for phase in starts[0]}


def measured(rounds: int) -> dict[str, Any]:
    """The first start of each command, and the later ones; the data are prepared before both."""
    first, later = {}, dict[str, list[dict[str, float]]]({name: [] for name in COMMANDS})
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name in COMMANDS:
            start(name, scratch)  # which prepares the data
            for kind in ("compiled", "lowered"):
                for path in (scratch / name / kind).glob("*"):
                    path.unlink()
            first[name] = start(name, scratch)
        for _ in range(rounds):
            for name in COMMANDS:
                later[name].append(start(name, scratch))
    return {
        name: {
            "options": COMMANDS[name],
            "first": first[name],
            "second": medians(later[name]),
            "seconds": [one["total"] for one in later[name]],
        }
        for name in COMMANDS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="later starts of each command")
    rounds = parser.parse_args().rounds
    import common

    common.use_all_cores()
    record: dict[str, Any] = {"compile_seconds": {}, "import_beyond_jax": []}
    for name in ("A", "C"):
        record["compile_seconds"][name] = compile_seconds(name)
        print(name, record["compile_seconds"][name], flush=True)
    record["import_beyond_jax"] = [beyond_jax() for _ in range(rounds)]
    record["short"] = SHORT
    record["starts"] = measured(rounds)
    for name, one in record["starts"].items():
        print(name, f"first {one['first']['total']:.1f} s, second {one['second']['total']:.1f} s")
    common.write("startup", record)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--born"]:
        child(float(sys.argv[2]), sys.argv[3:])
    else:
        main()

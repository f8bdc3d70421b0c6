"""How soon a command starts: python benchmarks/startup.py

The script runs `jmeta train` three times, first without compiled programs in the cache folder, and
measures the seconds from the start of the process to its first step. It also measures how long the
train steps of workloads A and C take to compile. The record is benchmarks/results/startup.json; it
takes two minutes.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import jax
from comparison import recipes, workloads

import jmeta
from jmeta import data

OPTIONS = (
    *("--algorithm", "maml", "--filters", "64", "--tasks", "32", "--train-queries", "1"),
    *("--steps", "2", "--log-every", "1"),
)


def first_step(out: Path) -> float:
    """Seconds from the start of the process to its first line of metrics."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "jmeta", "train", *OPTIONS, "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 1 "):
            break
    else:
        raise SystemExit(process.communicate()[1])
    took = time.perf_counter() - begun
    process.kill()
    process.communicate()
    return took


def compile_seconds(name: str) -> dict[str, float]:
    """Seconds to trace, lower and compile the train step of a workload, without a cache."""
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


def main() -> None:
    common.use_all_cores()
    record: dict[str, Any] = {"options": " ".join(OPTIONS), "compile_seconds": {}}
    for name in ("A", "C"):
        record["compile_seconds"][name] = compile_seconds(name)
        print(name, record["compile_seconds"][name], flush=True)
    data.load("glyphs")  # rendered once, before the clock starts
    compiled = data.cache_dir() / "compiled"
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) / "kept"
        if compiled.exists():
            shutil.move(compiled, kept)
        try:
            seconds = [first_step(Path(scratch) / f"run{number}") for number in range(3)]
        finally:
            if kept.exists():
                shutil.rmtree(compiled, ignore_errors=True)
                shutil.move(kept, compiled)
    record["seconds_to_first_step"] = {"cold": seconds[0], "second": seconds[1:]}
    print(record["seconds_to_first_step"])
    common.write("startup", record)


if __name__ == "__main__":
    main()

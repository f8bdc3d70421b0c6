"""Which of XLA's flags for CPUs are worth setting here: python benchmarks/cpu_flags.py

For each flag, and for none, jmeta's update of some workloads is timed in a process of its own,
since flags are read when the backend starts. The processes take turns: in each round every one runs
once while the others wait. The record, benchmarks/results/cpu_flags.json, has the median over
rounds of the rate of each flag divided by the rate without flags in the same round, and the
instruction sets of the machine. `jmeta` sets none of these flags: what it gains must be more than
noise.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import common
import jax
from comparison import recipes, workloads

import jmeta
from jmeta import bench

FLAGS = {
    "none": "",
    "vectors of 128 bits": "--xla_cpu_prefer_vector_width=128",
    "vectors of 512 bits": "--xla_cpu_prefer_vector_width=512",
    "no fusion emitters": "--xla_cpu_use_fusion_emitters=false",
    "one thread in a product": "--xla_cpu_multi_thread_eigen=false",
    "no concurrency-optimized scheduler": "--xla_cpu_enable_concurrency_optimized_scheduler=false",
    "fast math": "--xla_cpu_enable_fast_math=true",
}
SETS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx_vnni", "amx_bf16")  # worth a line


def work(name: str, seconds: float) -> None:
    """Compile the update of a workload; then time it once for each line that is read."""
    common.use_all_cores()
    asked = workloads.WORKLOADS[name]
    tx = recipes.optimizer(asked)
    mesh = jmeta.task_mesh() if asked.tasks % jax.device_count() == 0 else jmeta.task_mesh(1)
    chunk = 1 if asked.image else None
    update = jax.jit(jmeta.step(recipes.loss(asked), tx, chunk=chunk, mesh=mesh))
    state, tasks = jmeta.train_state(recipes.params(asked), tx), recipes.batch(asked)

    def call() -> Any:
        return update(state, tasks)[1].loss

    bench.once(call)
    count = max(1, round(seconds / bench.once(call)))
    print("ready", flush=True)
    for _ in sys.stdin:
        print(asked.tasks / bench.once(call, count), flush=True)


def start(name: str, flag: str, seconds: float) -> subprocess.Popen:
    command = [sys.executable, __file__, "--worker", name, "--seconds", str(seconds)]
    given = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env={**os.environ, "XLA_FLAGS": given}, text=True, **pipe)


def rates(name: str, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Tasks per second of every flag that XLA knows, one figure a round."""
    workers = {}
    for said, flag in FLAGS.items():
        worker = start(name, flag, seconds)
        if worker.stdout.readline().strip() == "ready":
            workers[said] = worker
        else:
            print(f"{name}: {said} does not run here", flush=True)
    found: dict[str, list[float]] = {said: [] for said in workers}
    for _ in range(rounds):
        for said, worker in workers.items():
            worker.stdin.write("\n")
            worker.stdin.flush()
            found[said].append(float(worker.stdout.readline()))
    for worker in workers.values():
        worker.stdin.close()
        worker.wait()
    return found


def instruction_sets() -> list[str]:
    """Those of this machine that matter here; none where Linux does not tell them."""
    path = Path("/proc/cpuinfo")
    words = set(path.read_text().split()) if path.exists() else set()
    return [name for name in SETS if name in words]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", nargs="+", default=["A", "B", "C", "F"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a timing")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker, options.seconds)
    table = {}
    for name in options.workloads:
        found = rates(name, options.rounds, options.seconds)
        none = found["none"]
        table[name] = {
            said: {
                "ratio": median(a / b for a, b in zip(each, none, strict=True)),
                "tasks_per_second": median(each),
            }
            for said, each in found.items()
        }
        print(name, json.dumps({said: round(row["ratio"], 3) for said, row in table[name].items()}))
    record = {"instruction_sets": instruction_sets(), "flags": FLAGS, "rounds": options.rounds}
    common.write("cpu_flags", {**record, "workloads": table})


if __name__ == "__main__":
    main()

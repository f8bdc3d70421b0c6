"""Which flags of XLA and which setting of malloc gain anything: python benchmarks/cpu_flags.py

For each of them, and for none, jmeta's update of some workloads is timed in a process of its own,
since they are read when a process or its backend starts. The processes take turns: in each round
every one runs once while the others wait, and another one begins. The record, cpu_flags.json, has
the median over rounds of the rate with each divided by the rate with none in the same round, and
the instruction sets of the machine. `jmeta` sets none of them.
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
    "none, again": "",  # tells how far two processes differ that do the same
    "vectors of 128 bits": "--xla_cpu_prefer_vector_width=128",
    "vectors of 512 bits": "--xla_cpu_prefer_vector_width=512",
    "no fusion emitters": "--xla_cpu_use_fusion_emitters=false",
    "none": "",
    "one thread in a product": "--xla_cpu_multi_thread_eigen=false",
    "no concurrency-optimized scheduler": "--xla_cpu_enable_concurrency_optimized_scheduler=false",
    "fast math": "--xla_cpu_enable_fast_math=true",
}
MALLOC = {"huge pages": "glibc.malloc.hugetlb=1"}  # for memory that malloc takes from the kernel
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


def settings() -> dict[str, dict[str, str]]:
    """The environment of each process, under its name."""
    given = os.environ.get("XLA_FLAGS", "")
    flags = {name: {"XLA_FLAGS": f"{given} {flag}".strip()} for name, flag in FLAGS.items()}
    return flags | {name: {"GLIBC_TUNABLES": value} for name, value in MALLOC.items()}


def start(name: str, setting: dict[str, str], seconds: float) -> subprocess.Popen:
    command = [sys.executable, __file__, "--worker", name, "--seconds", str(seconds)]
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env={**os.environ, **setting}, text=True, **pipe)


def rates(name: str, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Tasks per second of every setting that runs here, one figure a round."""
    workers = {}
    for said, setting in settings().items():
        worker = start(name, setting, seconds)
        if worker.stdout.readline().strip() == "ready":
            workers[said] = worker
        else:
            print(f"{name}: {said} does not run here", flush=True)
    found: dict[str, list[float]] = {said: [] for said in workers}
    for number in range(rounds):
        turn = number % len(workers)  # another one begins each round
        for said in [*workers][turn:] + [*workers][:turn]:
            worker = workers[said]
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
    record = {"instruction_sets": instruction_sets(), "flags": FLAGS, "malloc": MALLOC}
    common.write("cpu_flags", {**record, "rounds": options.rounds, "workloads": table})


if __name__ == "__main__":
    main()

"""Memory of MAML against inner steps: python benchmarks/memory.py

Workload A (5-way 1-shot, 28x28, 64 filters) with 1 to 50 inner steps, one task at a time on one
device: the compiler's figures for plain, rematerialised and first-order steps. Nothing is run. The
record is benchmarks/results/memory.json; it takes a few minutes, most of them to compile.
"""

import argparse

import common
import jax
from comparison import recipes, workloads

import jmeta

STEPS = (1, 5, 10, 20, 50)
KINDS = ("plain", "remat", "first order")


def megabytes(steps: int, kind: str) -> float:
    """Temporary and output memory of one compiled update, in MB."""
    algorithm = "fomaml" if kind == "first order" else "maml"
    workload = workloads.WORKLOADS["A"]._replace(inner_steps=steps, algorithm=algorithm)
    tx, loss = recipes.optimizer(workload), recipes.loss(workload, remat=kind == "remat")
    update = jax.jit(jmeta.step(loss, tx, chunk=1))
    tasks, state = recipes.batch(workload), jmeta.train_state(recipes.params(workload), tx)
    stats = update.lower(state, tasks).compile().memory_analysis()
    return (stats.temp_size_in_bytes + stats.output_size_in_bytes) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    asked = parser.parse_args()
    found: dict[str, dict[int, float]] = {kind: {} for kind in KINDS}
    for kind in KINDS:
        for steps in asked.steps:
            found[kind][steps] = megabytes(steps, kind)
            print(f"{kind:12} {steps:3} steps  {found[kind][steps]:8.1f} MB", flush=True)
    record: dict = {"workload": "A", "chunk": 1, "megabytes": found}
    if {5, 50} <= set(asked.steps):
        record["remat_50_to_plain_5"] = found["remat"][50] / found["plain"][5]
        print(f"50 steps with remat / 5 steps without: {record['remat_50_to_plain_5']:.2f}")
    common.write("memory", record)


if __name__ == "__main__":
    main()

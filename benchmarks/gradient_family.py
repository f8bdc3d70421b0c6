"""Compare the gradient-based family on the same tasks: accuracy, speed and memory.

    python benchmarks/gradient_family.py omniglot [--tasks 80000] [--members maml anil ...]
    python benchmarks/gradient_family.py sinusoid [--tasks 1750000] [--seeds 0 1 2]
    python benchmarks/gradient_family.py speed [--rounds 7]

Each member is its preset (`omniglot-NAME-5way-1shot`, `sinusoid-NAME`) with the same number of
training tasks; the cosine schedule is as long as the training.

Omniglot: the random 1200/423 split, MAML's strided network with 64 filters, 5-way 1-shot, the best
of ten checkpoints by validation, 1,000 test episodes. An update has 8 tasks (Reptile's has 4, with
ten examples per class as in its paper), 3 queries per class and three times the rate of the preset,
which validation of MAML preferred for a budget this small; iMAML keeps its rate.

Sinusoid: an MLP with hidden layers of 40 and 40, trained on 10 points, tested on 5 and on 10 points
after 1, 5 and 10 steps, on 600 tasks.

Speed: the Omniglot updates of all members on all cores, timed in turn. Memory is what the compiled
updates take.

Members that are not asked for stay in the record, so it can be made in several runs. Interrupted
runs continue where they stopped.
"""

import argparse
import statistics
import time
from typing import Any

import common
import jax

from jmeta import train
from jmeta.runs import _memory as fits
from jmeta.runs import _programs as programs

MEMBERS = (
    *("maml", "fomaml", "reptile", "anil", "boil", "meta-sgd", "maml++", "cavia", "imaml"),
    "proto-maml",
)
UPDATES = 16  # of a timed call


def within(preset: train.Experiment, tasks: int, batch: int | None = None) -> train.Experiment:
    """The same experiment with so many training tasks, `batch` per update, validated ten times."""
    each = min(batch or preset.budget.tasks, preset.budget.tasks)
    steps = max(10, tasks // each)
    every, schedule = steps // 10, preset.outer.schedule
    changes = {
        "tasks": each,
        "steps": every * 10,
        "validate_every": every,
        "log_every": max(n for n in range(1, every + 1) if every % n == 0 and n <= 1000),
        "schedule": "cosine" if schedule == "constant" else schedule,
    }
    if first_order := getattr(preset.algorithm, "first_order_until", 0):
        changes["first_order_until"] = first_order * steps // preset.budget.steps
    return train.experiment(start=preset, **changes)


def omniglot_experiment(member: str, tasks: int, **options: Any) -> train.Experiment:
    """5-way 1-shot within a budget."""
    preset = within(train.preset(f"omniglot-{member}-5way-1shot"), tasks, batch=8)
    rate = preset.outer.rate if member == "imaml" else 3 * preset.outer.rate
    own = {"train_queries": 3, "rate": rate, "episodes": 1000}
    return train.experiment(start=preset, **{**own, **options})


def omniglot(member: str, tasks: int, seed: int, devices: int | None) -> list[dict[str, Any]]:
    """One row: 5-way 1-shot."""
    experiment = omniglot_experiment(member, tasks, seed=seed, devices=devices)
    out = common.RUNS / f"family-omniglot-{member}-{tasks}-seed{seed}"
    result = train.run(experiment, out, resume=True, progress=train.lines)
    print(
        f"{member}: {common.percent(result['metrics']['accuracy'])} transductive, "
        f"{common.percent(result['inductive']['metrics']['accuracy'])} inductive",
        flush=True,
    )
    return [{"member": member, "seed": seed, "config": train.to_json(experiment), **result}]


def speed(rounds: int) -> None:
    """Tasks per second of each member's Omniglot updates, the median of rounds in turn."""
    seconds: dict[str, list[float]] = {}
    runs, rows = {}, []
    for member in MEMBERS:
        parts = programs.parts(omniglot_experiment(member, 80_000))
        state, pool = programs.initial_state(parts), parts.domain.train
        lowered = programs.dispatch(parts).lower(state, pool=pool, length=UPDATES)
        compiled = lowered.compile()
        runs[member] = (compiled, state, pool)
        tasks = UPDATES * parts.experiment.budget.tasks
        needed = fits.needed(compiled, parts)
        rows.append({"member": member, "tasks": tasks, "memory_bytes": needed})
        jax.block_until_ready(compiled(state, pool=pool))
    for _ in range(rounds):
        for member, (compiled, state, pool) in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(compiled(state, pool=pool))
            seconds.setdefault(member, []).append(time.perf_counter() - start)
    for row in rows:
        rate = row["tasks"] / statistics.median(seconds[row["member"]])
        row["tasks_per_second"] = rate
        print(f"{row['member']}: {rate:.0f} tasks/s")
    common.write("family_speed", {"rounds": rounds, "rows": rows})


def sinusoid(member: str, tasks: int, seed: int, devices: int | None) -> list[dict[str, Any]]:
    """Six rows: 5 and 10 points, after 1, 5 and 10 steps; or one that says where it diverged."""
    preset = within(train.preset(f"sinusoid-{member}"), tasks)
    experiment = train.experiment(start=preset, seed=seed, devices=devices)
    out = common.RUNS / f"family-sinusoid-{member}-{tasks}-seed{seed}"
    shared = {"member": member, "seed": seed, "config": train.to_json(experiment)}
    try:
        trained = train.run(experiment, out, resume=True, progress=train.lines)
    except train.Diverged as error:
        print(f"{member}, seed {seed}: {error}")
        return [{**shared, "diverged": str(error)}]
    rows = []
    for shots in (5, 10):
        for steps in (1, 5, 10):
            found = train.evaluate_run(out, inner_steps=steps, shots=shots)
            mse = found["metrics"]["mse"]
            print(f"{member}, seed {seed}, {shots} points, {steps} steps: {mse['mean']:.3f}")
            rate = {name: trained[name] for name in ("throughput", "seconds")}
            rows.append({**shared, "shots": shots, "steps": steps, **rate, **found})
    return rows


def keep(name: str, tasks: int, rows: list[dict[str, Any]]) -> None:
    """Put rows in the place of those of the same member and seed with the same budget."""
    path = common.RESULTS / f"{name}.json"
    old = common.read(path) if path.exists() else {"rows": [], "tasks": tasks}
    new = {(row["member"], row["seed"]) for row in rows}
    kept = [row for row in old["rows"] if (row["member"], row["seed"]) not in new]
    kept = kept if old["tasks"] == tasks else []
    kept += rows
    kept.sort(key=lambda row: (MEMBERS.index(row["member"]), row["seed"]))
    common.write(name, {"tasks": tasks, "rows": kept})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=("omniglot", "sinusoid", "speed"))
    parser.add_argument("--tasks", type=int, help="training tasks of every member")
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--members", nargs="+", choices=MEMBERS)
    parser.add_argument("--devices", type=int, help="1 to train two members side by side")
    parser.add_argument("--rounds", type=int, default=7, help="of speed")
    options = parser.parse_args()
    common.use_all_cores()
    if options.experiment == "speed":
        return speed(options.rounds)
    known = MEMBERS if options.experiment == "omniglot" else MEMBERS[:-1]  # it classifies
    make, tasks, seeds = {
        "omniglot": (omniglot, 80_000, [0]),
        "sinusoid": (sinusoid, 1_750_000, [0, 1, 2]),
    }[options.experiment]
    tasks = options.tasks or tasks
    for seed in options.seeds or seeds:
        for member in options.members or known:
            keep(f"family_{options.experiment}", tasks, make(member, tasks, seed, options.devices))


if __name__ == "__main__":
    main()

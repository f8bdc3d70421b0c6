"""Every member of the gradient-based family on the same tasks: accuracy, speed, memory.

    python benchmarks/gradient_family.py omniglot [--tasks 80000] [--members maml anil ...]
    python benchmarks/gradient_family.py sinusoid [--tasks 1750000] [--seeds 0 1 2]
    python benchmarks/gradient_family.py speed [--rounds 7]

Each member is its preset (`omniglot-NAME-5way-1shot`, `sinusoid-NAME`), cut to one budget of
training tasks, the cosine schedule as long as that. Omniglot: the random 1200/423 split, MAML's
strided network with 64 filters, 5-way 1-shot, the best of ten checkpoints by validation, 1,000 test
episodes. Updates of 8 tasks (Reptile of its own 4, of ten examples a class as in its paper) with 3
queries a class and three times the rate of the presets: a budget this small is better spent so, as
validation of MAML said (not iMAML's, which keeps its rate). Sinusoid: 40-40 MLP, trained on 10
points; tested on 5 and on 10 points after 1, 5 and 10 steps, 600 tasks. Members of a record that
are not asked for stay, so that a long table can be made in parts; interrupted runs go on where they
stopped. Speed: the Omniglot updates of all members, on all cores, timed in turns; memory is what
the compiled updates take.
"""

import argparse
import dataclasses
import statistics
import time
from typing import Any

import common
import jax

from jmeta import train
from jmeta.train import Config
from jmeta.runs import _programs as programs
from jmeta.runs import _memory as fits
from jmeta.runs._progress import lines

MEMBERS = (
    *("maml", "fomaml", "reptile", "anil", "boil", "meta-sgd", "maml++", "cavia", "imaml"),
    "proto-maml",
)
PUBLISHED_MSE = {1: 0.67, 5: 0.38, 10: 0.35}  # MAML on 5 points, arXiv:1703.03400, Table 2


def within(config: Config, tasks: int, batch: int | None = None) -> Config:
    """The same experiment with so many training tasks, `batch` an update, validated ten times."""
    config = dataclasses.replace(config, tasks=min(batch or config.tasks, config.tasks))
    steps = max(10, tasks // config.tasks)
    every, first_order = steps // 10, config.first_order_until * steps // config.steps
    schedule = "cosine" if config.schedule == "constant" else config.schedule
    return dataclasses.replace(
        config,
        steps=every * 10,
        validate_every=every,
        log_every=max(n for n in range(1, every + 1) if every % n == 0 and n <= 1000),
        schedule=schedule,
        first_order_until=first_order,
    )


def omniglot_config(member: str, tasks: int) -> Config:
    """5-way 1-shot within a budget."""
    preset = within(train.preset(f"omniglot-{member}-5way-1shot"), tasks, batch=8)
    rate = preset.rate if member == "imaml" else 3 * preset.rate
    return dataclasses.replace(preset, train_queries=3, rate=rate, episodes=1000)


def omniglot(member: str, tasks: int, seed: int, devices: int | None) -> list[dict[str, Any]]:
    """One row: 5-way 1-shot."""
    config = dataclasses.replace(omniglot_config(member, tasks), seed=seed, devices=devices)
    out = common.RUNS / f"family-omniglot-{member}-{tasks}-seed{seed}"
    result = train.run(config, out, resume=True, progress=lines)
    print(
        f"{member}: {common.percent(result['metrics']['accuracy'])} transductive, "
        f"{common.percent(result['inductive']['metrics']['accuracy'])} inductive",
        flush=True,
    )
    return [{"member": member, "seed": seed, "config": dataclasses.asdict(config), **result}]


def speed(rounds: int) -> None:
    """Tasks per second of each member's Omniglot updates, the median of rounds in turn."""
    seconds: dict[str, list[float]] = {}
    runs, rows = {}, []
    for member in MEMBERS:
        config = dataclasses.replace(omniglot_config(member, 80_000), log_every=16)
        parts = programs.parts(config)
        state, pool = programs.initial_state(parts), parts.built.train
        lowered = programs.dispatch(parts).lower(state, pool=pool, length=config.log_every)
        compiled = lowered.compile()
        runs[member] = (compiled, state, pool)
        tasks, needed = config.log_every * config.tasks, fits.needed(compiled, parts)
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
    config = dataclasses.replace(preset, seed=seed, devices=devices)
    out = common.RUNS / f"family-sinusoid-{member}-{tasks}-seed{seed}"
    shared = {"member": member, "seed": seed, "config": dataclasses.asdict(config)}
    try:
        trained = train.run(config, out, resume=True, progress=lines)
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

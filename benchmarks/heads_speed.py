"""Episodes per second of metric heads beside easyfsl's classes, on identical features and episodes.

    python benchmarks/heads_speed.py [--episodes 1000] [--rounds 5] [--features 640] [--out FILE]

Features of a whole pool are given (random, around a mean a class: speed does not depend on them);
an episode is 5-way 5-shot with 15 queries a class. Both sides classify the same episodes, drawn
beforehand, and report each query's class; jmeta takes all of them in one jitted call, easyfsl one
after another in a loop, as its own evaluation does. Compiling is left out. The predictions of both
are compared: `same` is the share of queries in which they agree. easyfsl takes the root of the
Euclidean distance, which moves no prediction; its Matching Networks do not normalise a query, so
that queries are given with length 1; full-context embeddings are replaced by ones that add nothing
("matching"), over which easyfsl still attends S times. Systems are timed in turn, round after
round; the median round counts. Where easyfsl is not installed only jmeta is timed, and the record
says so.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import jax
import numpy as np

import jmeta
from jmeta import data

WAYS, SHOTS, QUERIES, CLASSES, EACH = 5, 5, 15, 64, 100
TARGET = 20  # times easyfsl
Run = Callable[[], np.ndarray]  # -> predictions [E, Q]


def episodes(count: int, features: int) -> jmeta.Task:
    """The same episodes for every system: leaves [E, ...]."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(CLASSES, 1, features))
    z = (means + rng.normal(size=(CLASSES, EACH, features))).astype(np.float32)
    pool = data.pool_from_classes(list(z / np.linalg.norm(z, axis=-1, keepdims=True)))
    keys = jax.random.split(jax.random.key(0), count)
    draw = jax.vmap(
        lambda key, pool: data.sample_episode(key, pool, ways=WAYS, shots=SHOTS, queries=QUERIES),
        (0, None),
    )
    return jax.block_until_ready(jax.jit(draw)(keys, pool))


def heads() -> dict[str, jmeta.Head]:
    """The heads that easyfsl has too; its SimpleShot measures the angle."""
    return {
        "prototypical": jmeta.prototypical(WAYS),
        "matching": jmeta.matching(WAYS),
        "simpleshot": jmeta.prototypical(WAYS, distance="cosine"),
    }


def ours(head: jmeta.Head, tasks: jmeta.Task) -> Run:
    """All episodes in one call, a few at a time."""

    def classify(task: jmeta.Task) -> jax.Array:
        state = head.fit(task.support.x, task.support.y)
        return head.predict(state, task.query.x).argmax(-1)

    run = jax.jit(lambda tasks: jax.lax.map(classify, tasks, batch_size=16))
    return lambda: np.asarray(run(tasks))


def theirs(tasks: jmeta.Task) -> dict[str, Run] | str:
    """easyfsl's classes, or why there are none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torch
            from easyfsl import methods
    except (ImportError, RuntimeError) as error:
        return f"easyfsl is not timed: {error}"

    class Nothing(torch.nn.Module):
        """Full-context embeddings that add nothing."""

        def forward(self, z: Any, state: Any = None) -> Any:
            if state is None:
                return (torch.zeros(*z.shape[:-1], 2 * z.shape[-1]),)
            return torch.zeros_like(state[0]), state[1]

    width = tasks.support.x.shape[-1]
    plain = {"support_encoder": Nothing(), "query_encoder": Nothing()}
    made = {
        "prototypical": methods.PrototypicalNetworks(),
        "matching": methods.MatchingNetworks(feature_dimension=width, **plain),
        "simpleshot": methods.SimpleShot(),
    }
    leaves = (tasks.support.x, tasks.support.y, tasks.query.x)
    support, labels, queries = (torch.tensor(np.asarray(leaf)) for leaf in leaves)
    labels = labels.long()

    def loop(method: Any) -> np.ndarray:
        found = []
        with torch.no_grad():
            for x, y, q in zip(support, labels, queries, strict=True):
                method.process_support_set(x, y)
                found.append(method(q).argmax(-1))
        return torch.stack(found).numpy()

    return {name: (lambda method=method: loop(method)) for name, method in made.items()}


def timed(runs: dict[tuple[str, str], Run], rounds: int, count: int) -> dict:
    """Episodes per second of each, the median of rounds taken in turn."""
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: count / statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--features", type=int, default=640, metavar="D")
    parser.add_argument("--out", type=Path, default=common.RESULTS / "heads_speed.json")
    options = parser.parse_args()
    tasks = episodes(options.episodes, options.features)
    peers = theirs(tasks)
    runs = {(name, "jmeta"): ours(head, tasks) for name, head in heads().items()}
    if isinstance(peers, str):
        print(peers)
    else:
        runs |= {(name, "easyfsl"): run for name, run in peers.items()}
    guesses = {name: run() for name, run in runs.items()}  # and compiles
    speed = timed(runs, options.rounds, options.episodes)
    rows = []
    for name in heads():
        row: dict[str, Any] = {"head": name, "jmeta": speed[name, "jmeta"]}
        if not isinstance(peers, str):
            row["easyfsl"] = speed[name, "easyfsl"]
            row["ratio"] = row["jmeta"] / row["easyfsl"]
            row["same"] = float((guesses[name, "jmeta"] == guesses[name, "easyfsl"]).mean())
        rows.append(row)
        print(row)
    shape = {"ways": WAYS, "shots": SHOTS, "queries": QUERIES, "features": options.features}
    protocol = {**shape, "episodes": options.episodes, "rounds": options.rounds, "target": TARGET}
    left_out = [peers] if isinstance(peers, str) else []
    common.write(
        options.out, {"schema": 1, "protocol": protocol, "rows": rows, "left_out": left_out}
    )


if __name__ == "__main__":
    main()

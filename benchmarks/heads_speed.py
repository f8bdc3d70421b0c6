"""Episodes per second of metric heads beside easyfsl, on identical features and episodes.

    python benchmarks/heads_speed.py [--episodes 1000] [--rounds 5] [--features 640] [--out FILE]

The features of a whole pool are given. They are random, around one mean per class; speed does not
depend on them. An episode is 5-way 5-shot with 15 queries per class. There are two comparisons.

Evaluation: from the stored features to the mean accuracy of all episodes. jmeta's `head_accuracies`
draws and judges them in one jitted call, shared among one virtual device per core. easyfsl's
`evaluate` has its `FeaturesDataset`, its own collation, a data loader in the same process and
torch's own threads; it is given the episodes that jmeta draws.

Heads alone: all episodes are in memory. jmeta takes them in one jitted call, easyfsl's classes take
one after another, and `same` is the share of queries for which the predictions agree. easyfsl takes
the square root of the Euclidean distance, which changes no prediction. Its Matching Networks do not
normalise queries, so they are given queries of length 1. Its full-context embeddings are replaced
by ones that add nothing, over which it still attends S times.

Compilation is not timed. The systems are timed in turn, round after round, and the median round
counts. Where easyfsl is not installed, only jmeta is timed, and the record states this.
"""

import argparse
import dataclasses
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jmeta
from jmeta import data, distances, learners

WAYS, SHOTS, QUERIES, CLASSES, EACH = 5, 5, 15, 64, 100
TARGET = 20  # times easyfsl
Run = Callable[[], np.ndarray]  # -> predictions [E, Q], or an accuracy
SEED = 0
sample = partial(data.sample_episode, ways=WAYS, shots=SHOTS, queries=QUERIES)


def features_of_a_pool(features: int) -> data.Pool:
    """Vectors of length 1."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(CLASSES, 1, features))
    noise = 12 * rng.normal(size=(CLASSES, EACH, features))  # so that some queries go wrong
    z = (means + noise).astype(np.float32)
    return data.pool_from_classes(list(z / np.linalg.norm(z, axis=-1, keepdims=True)))


def episodes(pool: data.Pool, count: int) -> jmeta.Task:
    """The same episodes for every system, those of `head_accuracies`: leaves [E, ...]."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(SEED), jnp.arange(count))
    return jax.block_until_ready(jax.jit(jax.vmap(sample, (0, None)))(keys, pool))


def heads() -> dict[str, jmeta.learners.Head]:
    """The heads that easyfsl has too; its SimpleShot measures the angle."""
    return {
        "prototypical": jmeta.prototypical(WAYS),
        "matching": jmeta.matching(WAYS),
        "simpleshot": jmeta.prototypical(WAYS, distance=distances.cosine),
    }


def ours(head: jmeta.learners.Head, tasks: jmeta.Task) -> Run:
    """All episodes in one call, a few at a time."""

    def classify(task: jmeta.Task) -> jax.Array:
        state = head.fit(task.support.x, task.support.y)
        return head.predict(state, task.query.x).argmax(-1)

    run = jax.jit(lambda tasks: jax.lax.map(classify, tasks, batch_size=4))
    return lambda: np.asarray(run(tasks))


def our_evaluation(head: jmeta.learners.Head, pool: data.Pool, count: int) -> Run:
    """Draw and judge all episodes in one call."""
    mesh = jax.sharding.Mesh(jax.devices(), "episodes")
    run = jax.jit(
        partial(learners.head_accuracies, {"head": head}, sample, episodes=count, mesh=mesh)
    )
    pool = jax.device_put(pool, NamedSharding(mesh, P()))  # all features on each device
    return lambda: np.asarray(run(pool, jax.random.key(SEED))["head"].mean())


def absent() -> str | None:
    """Why easyfsl cannot be timed here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import easyfsl.methods
            import easyfsl.utils  # noqa: F401
    except (ImportError, RuntimeError) as error:
        return f"easyfsl is not timed: {error}"
    return None


def their_methods(width: int) -> dict[str, Any]:
    """easyfsl's classes over features of that width."""
    import torch
    from easyfsl import methods

    class Nothing(torch.nn.Module):
        """Full-context embeddings that add nothing."""

        def forward(self, z: Any, state: Any = None) -> Any:
            if state is None:
                return (torch.zeros(*z.shape[:-1], 2 * z.shape[-1]),)
            return torch.zeros_like(state[0]), state[1]

    plain = {"support_encoder": Nothing(), "query_encoder": Nothing()}
    return {
        "prototypical": methods.PrototypicalNetworks(),
        "matching": methods.MatchingNetworks(feature_dimension=width, **plain),
        "simpleshot": methods.SimpleShot(),
    }


def theirs(tasks: jmeta.Task) -> dict[str, Run]:
    """easyfsl's classes, one episode after another."""
    import torch

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

    made = their_methods(tasks.support.x.shape[-1])
    return {name: partial(loop, method) for name, method in made.items()}


def their_evaluation(pool: data.Pool, count: int) -> dict[str, Run]:
    """easyfsl's `evaluate` over a data loader that is told which examples each episode has."""
    import torch
    from easyfsl import datasets, samplers, utils

    places = dataclasses.replace(pool, examples=np.arange(CLASSES * EACH))
    tasks = episodes(places, count)
    each = [np.asarray(x).reshape(count, WAYS, -1) for x in (tasks.support.x, tasks.query.x)]
    drawn = np.concatenate(each, -1).reshape(count, -1).tolist()
    labels = np.repeat(np.arange(CLASSES), EACH).tolist()
    z = torch.tensor(np.asarray(pool.examples))
    stored = datasets.FeaturesDataset(labels, z, [str(name) for name in range(CLASSES)])
    sampler = object.__new__(samplers.TaskSampler)  # its __init__ fails with torch of today
    sampler.n_way, sampler.n_shot, sampler.n_query = WAYS, SHOTS, QUERIES
    collate = sampler.episodic_collate_fn
    loader = torch.utils.data.DataLoader(stored, batch_sampler=drawn, collate_fn=collate)

    def run(method: Any) -> np.ndarray:
        return np.asarray(utils.evaluate(method, loader, device="cpu", use_tqdm=False))

    return {name: partial(run, each) for name, each in their_methods(z.shape[-1]).items()}


def named(runs: dict[str, Run]) -> list[tuple[tuple[str, str], Run]]:
    """Under (head, "easyfsl")."""
    return [((name, "easyfsl"), run) for name, run in runs.items()]


def timed(runs: dict[tuple[str, str, str], Run], rounds: int, count: int) -> dict:
    """Episodes per second of each, the median of rounds taken in turn."""
    seconds: dict[tuple[str, str, str], list[float]] = {name: [] for name in runs}
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
    common.use_all_cores()
    pool, count = features_of_a_pool(options.features), options.episodes
    tasks, missing = episodes(pool, count), absent()
    runs: dict[tuple[str, str, str], Run] = {}
    for name, head in heads().items():
        runs["evaluation", name, "jmeta"] = our_evaluation(head, pool, count)
        runs["heads alone", name, "jmeta"] = ours(head, tasks)
    if missing:
        print(missing)
    else:
        runs |= {("evaluation", *n): r for n, r in named(their_evaluation(pool, count))}
        runs |= {("heads alone", *n): r for n, r in named(theirs(tasks))}
    found = {name: run() for name, run in runs.items()}  # and compiles
    speed = timed(runs, options.rounds, count)
    rows = []
    for what, name in [key[:2] for key in runs if key[2] == "jmeta"]:
        row: dict[str, Any] = {"what": what, "head": name, "jmeta": speed[what, name, "jmeta"]}
        if not missing:
            row["easyfsl"] = speed[what, name, "easyfsl"]
            row["ratio"] = row["jmeta"] / row["easyfsl"]
            mine, other = found[what, name, "jmeta"], found[what, name, "easyfsl"]
            if what == "evaluation":
                row["accuracies"] = [float(mine), float(other)]
            else:
                row["same"] = float((mine == other).mean())
        rows.append(row)
        print(row)
    shape = {"ways": WAYS, "shots": SHOTS, "queries": QUERIES, "features": options.features}
    protocol = {**shape, "episodes": options.episodes, "rounds": options.rounds, "target": TARGET}
    left_out = [missing] if missing else []
    common.write(
        options.out, {"schema": 1, "protocol": protocol, "rows": rows, "left_out": left_out}
    )


if __name__ == "__main__":
    main()

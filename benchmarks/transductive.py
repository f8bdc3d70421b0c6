"""Heads that look at the whole episode beside easyfsl's classes, on identical features.

    python benchmarks/transductive.py [--episodes 1000] [--peer-episodes 50] [--threads 1]

The features are random, around one mean per class, and not negative, as after a ReLU. Episodes are
5-way, 1-shot and 5-shot, with 15 queries per class. jmeta takes all of them in one jitted call,
shared among one virtual device per core, which takes one, four or eight at a time. easyfsl's
classes take the first ones, one after another, with one thread and with one per core. Of all these
the quickest counts. --threads 1 leaves the last out, for a machine that has other work.

`same` is the share of queries for which the predictions agree, `episodes_same` the share of
episodes in which all do, and `apart` the largest difference of the scores, after jmeta's are put
on easyfsl's scale: probabilities for LaplacianShot and PT-MAP, cosines for TIM and BD-CSPN,
negative distances for the others. easyfsl's PT-MAP leaves out the paper's normalisation, and all
its answers are NaN on these features, so that a subclass normalises them. The tests compare the two
without it. `finite` is the share of easyfsl's episodes without NaN.

FEAT has the same random attention in both. Compilation is not timed. The systems are timed in turn,
round after round, and the median round counts.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import common
import heads_speed
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from jmeta import data, learners, nn
from jmeta.core import Task
from jmeta.learners import Head

WAYS, QUERIES, CLASSES, EACH = 5, 15, 64, 100
TARGET = 20  # times easyfsl
SHOTS, CHUNKS = (1, 5), (1, 4, 8)


class Method(NamedTuple):
    """A head, easyfsl's class, and how the logits of the one become the scores of the other."""

    head: Head
    theirs: Any
    scores: Callable[[np.ndarray], np.ndarray]


def pool_of(features: int) -> data.Pool:
    """Features of classes that overlap."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(CLASSES, 1, features))
    noise = 4 * rng.normal(size=(CLASSES, EACH, features))
    return data.pool_from_classes(list(np.maximum(means + noise, 0).astype(np.float32) / 4))


def attention_of(features: int) -> tuple[Any, Any]:
    """Random parameters of the set-to-set function, and easyfsl's module with the same ones."""
    import torch
    from easyfsl.modules import MultiHeadAttention

    net, z = nn.SetAttention(), jnp.zeros((WAYS, features))
    params = net.init(jax.random.key(0), z, jnp.ones(WAYS, bool))
    module, own = MultiHeadAttention(1, features, features, features).eval(), params["params"]
    layers = {"queries": "w_qs", "keys": "w_ks", "values": "w_vs", "out": "fc"}
    with torch.no_grad():
        for mine, other in layers.items():
            getattr(module, other).weight.copy_(torch.tensor(np.asarray(own[mine]["kernel"].T)))
        module.fc.bias.copy_(torch.tensor(np.asarray(own["out"]["bias"])))
    return params, module


def methods_of(features: int) -> dict[str, Method]:
    """Name -> head and class."""
    import torch
    from easyfsl import methods

    class Normalised(methods.PTMAP):
        """PT-MAP with features of length 1, as in the paper."""

        def compute_features(self, images: Any) -> Any:
            return torch.nn.functional.normalize(super().compute_features(images), dim=1)

    params, module = attention_of(features)
    feat = learners.set_to_set(WAYS, nn.SetAttention(), params)
    same = lambda logits: logits  # noqa: E731
    return {
        "transductive_finetuning": Method(
            learners.transductive_finetuning(WAYS), methods.TransductiveFinetuning(), same
        ),
        "tim": Method(learners.tim(WAYS), methods.TIM(), lambda logits: logits / 10),
        "bd_cspn": Method(learners.bd_cspn(WAYS), methods.BDCSPN(), lambda logits: logits / 10),
        "laplacian_shot": Method(learners.laplacian_shot(WAYS), methods.LaplacianShot(), np.exp),
        "pt_map": Method(learners.pt_map(WAYS), Normalised(), np.exp),
        "feat": Method(
            feat, methods.FEAT(attention_module=module), lambda logits: -np.sqrt(np.abs(logits))
        ),
    }


def ours(head: Head, tasks: Task, chunk: int) -> Callable[[], np.ndarray]:
    """Logits [E, Q, N] of all episodes, in one call that takes some of them at a time."""
    mesh = jax.sharding.Mesh(jax.devices(), "episodes")
    split = P("episodes")

    def one(task: Task) -> jax.Array:
        return head.predict(head.fit(task.support.x, task.support.y), task.query.x)

    many = partial(jax.lax.map, one, batch_size=chunk if chunk > 1 else None)
    run = jax.jit(jax.shard_map(many, mesh=mesh, in_specs=split, out_specs=split, check_vma=False))
    held = jax.device_put(tasks, jax.sharding.NamedSharding(mesh, split))
    return lambda: np.asarray(run(held))


def theirs(method: Any, tasks: Task, threads: int) -> Callable[[], np.ndarray]:
    """Scores [E, Q, N], one episode after another, with some threads of torch."""
    import torch

    leaves = (tasks.support.x, tasks.support.y, tasks.query.x)
    support, labels, queries = (torch.tensor(np.asarray(leaf)) for leaf in leaves)

    def run() -> np.ndarray:
        found = []
        torch.set_num_threads(threads)
        with torch.no_grad():
            for x, y, q in zip(support, labels.long(), queries, strict=True):
                method.process_support_set(x, y)
                found.append(method(q))
        return torch.stack(found).numpy()

    return run


def compared(mine: np.ndarray, other: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """How two systems' scores [E, Q, N] agree, over the episodes where both are finite."""
    finite = np.isfinite(other).all((1, 2))
    row: dict[str, Any] = {"finite": float(finite.mean())}
    row["accuracy"] = float((mine.argmax(-1) == truth).mean())
    if finite.any():
        left, right = mine[finite], other[finite]
        same = left.argmax(-1) == right.argmax(-1)
        row["accuracy_easyfsl"] = float((right.argmax(-1) == truth[finite]).mean())
        row |= {"same": float(same.mean()), "episodes_same": float(same.all(1).mean())}
        row["apart"] = float(np.abs(left - right).max())
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--peer-episodes", type=int, default=50)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--features", type=int, default=640, metavar="D")
    parser.add_argument("--out", type=Path, default=common.RESULTS / "transductive.json")
    options = parser.parse_args()
    common.use_all_cores()
    if missing := heads_speed.absent():
        parser.error(missing)
    pool, made = pool_of(options.features), methods_of(options.features)
    rows = []
    for shots in SHOTS:
        sample = partial(data.sample_episode, ways=WAYS, shots=shots, queries=QUERIES)
        keys = jax.random.split(jax.random.key(shots), options.episodes)
        tasks = jax.block_until_ready(jax.jit(jax.vmap(sample, (0, None)))(keys, pool))
        for name, method in made.items():
            row = {"head": name, "shots": shots}
            row |= measured(method, tasks, options.peer_episodes, options.rounds, options.threads)
            rows.append(row)
            print(row)
    protocol = {"ways": WAYS, "queries": QUERIES, "target": TARGET}
    protocol |= {k: v for k, v in vars(options).items() if k != "out"}
    common.write(options.out, {"schema": 1, "protocol": protocol, "rows": rows})


def measured(
    method: Method, tasks: Task, count: int, rounds: int, threads: Sequence[int]
) -> dict[str, Any]:
    """How a head and easyfsl's class agree on the first episodes, and how fast each is."""
    first = jax.tree.map(lambda leaf: leaf[:count], tasks)
    mine = {("", "jmeta", str(n)): ours(method.head, tasks, n) for n in CHUNKS}
    peers = {("", "easyfsl", str(n)): theirs(method.theirs, first, n) for n in threads}
    scores, *_ = [method.scores(run()[:count]) for run in mine.values()]  # and compiles
    row = compared(scores, next(iter(peers.values()))(), np.asarray(first.query.y))
    speed = heads_speed.timed({**mine, **peers}, rounds, count)
    best = max(mine, key=lambda name: speed[name])
    row |= {"chunk": int(best[-1]), "jmeta": speed[best] * len(tasks.query.y) / count}
    row["easyfsl"] = max(speed[name] for name in peers)
    row["ratio"] = row["jmeta"] / row["easyfsl"]
    return row


if __name__ == "__main__":
    main()

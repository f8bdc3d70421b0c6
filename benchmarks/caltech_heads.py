"""Compare all heads on the features of one network: Caltech-101 at 84x84, identical episodes.

    python benchmarks/caltech_heads.py [--network conv4 resnet12] [--steps 3000] [--episodes 1000]

The network is trained as a prototypical network on 10-way 5-shot episodes of the training classes.
The best of ten checkpoints by validation is used. Batch statistics are fixed to those of training
images, and the features of the test classes are computed once. All heads then see the same
episodes, 5-way 1-shot and 5-shot with 15 queries per class. Hyperparameters of heads (scales,
strengths) are chosen on the validation classes. Where easyfsl is installed, its Prototypical
Networks, Matching Networks and SimpleShot classify the same features of the same episodes; the
claim is that they agree within 0.3 points. The images and the split (61 / 15 / 25 classes) must be
under $JMETA_DATA. Rows of other networks stay in the record, so it can be made in several runs.
"""

import argparse
import dataclasses
from functools import partial
from typing import Any

import common
import heads_speed
import jax
import jax.numpy as jnp
import numpy as np

import jmeta
from jmeta import data, distances, learners, metrics, train
from jmeta.runs import _report as report

WAYS, QUERIES, TARGET = 5, 15, 0.003
CHOICES: dict[str, tuple[float, ...]] = {  # of the one hyperparameter a head has
    "ridge": (0.01, 0.1, 1.0, 10.0),
    "logistic": (0.01, 0.1, 1.0, 10.0),
    "svm": (0.01, 0.1, 1.0),
    "matching, scaled": (3.0, 10.0, 30.0, 100.0),
}


def heads(base_mean: jax.Array, chosen: dict[str, float]) -> dict[str, jmeta.learners.Head]:
    """All heads; the others are compared with the first."""
    return {
        "prototypical": jmeta.prototypical(WAYS),
        "prototypical, cosine": jmeta.prototypical(WAYS, distance=distances.cosine),
        "simpleshot, UN": learners.nearest_centroid(WAYS, features="UN"),
        "simpleshot, L2N": learners.nearest_centroid(WAYS, features="L2N"),
        "simpleshot, CL2N": learners.nearest_centroid(WAYS, features="CL2N", base_mean=base_mean),
        "matching": jmeta.matching(WAYS, scale=1.0),
        **{name: one(name, value) for name, value in chosen.items()},
    }


def one(name: str, value: float) -> jmeta.learners.Head:
    """A head with its hyperparameter."""
    if name == "svm":
        return learners.svm(WAYS, capacity=value)
    if name == "matching, scaled":
        return jmeta.matching(WAYS, scale=value)
    return {"ridge": jmeta.ridge, "logistic": learners.logistic}[name](WAYS, strength=value)


def training(network: str, options: argparse.Namespace) -> train.Experiment:
    """A prototypical network on the training classes."""
    every = max(1, options.steps // 10)
    return train.experiment(
        "protonet",
        dataset="folder:caltech101/caltech101_84x84.zip",
        split="splits/caltech101_fewshot",
        ways=WAYS,
        shots=5,
        queries=QUERIES,
        train_ways=10,
        train_queries=5,
        network=network,
        filters=options.filters,
        tasks=1,
        steps=10 * every,
        validate_every=every,
        log_every=max(n for n in range(1, every + 1) if every % n == 0 and n <= 50),
        validation_episodes=60,
        episodes=100,  # of the network's own test; the heads are tested on more
        seed=options.seed,
        devices=options.devices,
    )


def draw(shots: int) -> Any:
    """The sampler of test episodes."""
    return partial(data.sample_episode, ways=WAYS, shots=shots, queries=QUERIES)


def choose(pool: Any, shots: int, seed: int) -> dict[str, float]:
    """Of each such head the best hyperparameter on the validation classes."""
    tried = {(name, v): one(name, v) for name, values in CHOICES.items() for v in values}
    run = jax.jit(partial(learners.head_accuracies, tried, draw(shots), episodes=300))
    found = {key: float(values.mean()) for key, values in run(pool, jax.random.key(seed)).items()}
    return {name: max(values, key=lambda v: found[name, v]) for name, values in CHOICES.items()}


def rows_of(network: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train, embed, compare."""
    experiment = training(network, options)
    steps, seed, filters = experiment.budget.steps, experiment.budget.seed, options.filters
    out = common.RUNS / f"caltech-{network}-{filters}-{steps}-seed{seed}"
    result = train.run(experiment, out, resume=True, progress=train.lines)
    parts, params, _ = train.load_run(out)
    fixed, embedding = report.fixed_moments(parts, params), parts.network.module(None)

    @jax.jit
    def embedded(pool: Any) -> Any:
        features = learners.embed_examples(embedding, fixed, pool.examples, chunk=64)
        return dataclasses.replace(pool, examples=features)

    base, val, test = map(embedded, (parts.domain.train, parts.domain.val, parts.domain.test))
    rows = []
    for shots in (1, 5):
        chosen = choose(val, shots, seed)
        judged = heads(base.examples.mean(0), chosen)
        key = jax.random.key(seed + shots)
        run = jax.jit(
            partial(learners.head_accuracies, judged, draw(shots), episodes=options.episodes)
        )
        found = run(test, key)
        trained = {"filters": filters, "steps": steps, "validation": result["best"]}
        shared = {"network": network, **trained, "shots": shots, "ways": WAYS, "chosen": chosen}
        for name in judged:  # jit sorts what it returns
            values = found[name]
            gap = metrics.paired(values, found["prototypical"])
            score = metrics.estimate(values)
            row = {"head": name, "accuracy": score._asdict(), "above_first": gap._asdict()}
            rows.append({**shared, **row})
            print(f"{network}, {shots}-shot, {name}: {common.percent(score._asdict())}")
        rows += [{**shared, **row} for row in beside(test, key, shots, options.episodes, found)]
    return rows


def beside(
    pool: Any, key: jax.Array, shots: int, episodes: int, found: dict[str, jax.Array]
) -> list[dict[str, Any]]:
    """easyfsl's own methods on the same features of the same episodes, where it is installed."""
    if missing := heads_speed.absent():
        print(missing)
        return []
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(episodes))
    tasks = jax.jit(jax.vmap(draw(shots), (0, None)))(keys, pool)

    def unit(x: jax.Array) -> jax.Array:
        return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)

    rows = []
    same = {"prototypical": "prototypical", "matching": "matching"}
    for name, ours in {**same, "simpleshot": "prototypical, cosine"}.items():
        # its Matching Networks leave a query as long as it is
        given = jax.tree.map(unit, (tasks.support.x, tasks.query.x))
        x, q = given if name == "matching" else (tasks.support.x, tasks.query.x)
        given = jmeta.Task(tasks.support._replace(x=x), tasks.query._replace(x=q))
        peers = heads_speed.theirs(given)
        accuracy = (peers[name]() == np.asarray(tasks.query.y)).mean(1)
        gap = metrics.paired(jnp.asarray(accuracy, jnp.float32), found[ours])._asdict()
        score = metrics.estimate(jnp.asarray(accuracy, jnp.float32))._asdict()
        met = abs(gap["mean"]) <= TARGET
        rows.append({"easyfsl": name, "head": ours, "accuracy": score, "above_ours": gap})
        print(f"easyfsl {name}: {common.percent(score)}, above ours {gap['mean']:+.4f}, met: {met}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", default=["conv4"], choices=("conv4", "resnet12"))
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--devices", type=int, help="1 to train beside something else")
    options = parser.parse_args()
    common.use_all_cores()
    path = common.RESULTS / "caltech_heads.json"
    for network in options.network:
        new = rows_of(network, options)
        old = common.read(path)["rows"] if path.exists() else []
        rows = [row for row in old if row["network"] != network] + new
        protocol = {"queries": QUERIES, "episodes": options.episodes, "seed": options.seed}
        common.write("caltech_heads", {"protocol": protocol, "target": TARGET, "rows": rows})


if __name__ == "__main__":
    main()

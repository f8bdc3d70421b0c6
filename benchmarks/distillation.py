"""Distillation: a student with a quarter of its teacher's parameters, with and without the teacher.

    python benchmarks/distillation.py [--seeds 5] [--steps 3000] [--student-steps 12000]

The characters of Omniglot at 14x14 pixels as one classification: each of 150 characters is a class.
The drawings of ten people have labels, those of five others have none, and those of the last five
are the test. The teacher is a network of four strided convolutions with 64 channels, trained on the
labels. The student has 32 channels, and about a quarter of the parameters. It is trained three
times from the same weights: on the labels alone; on the same drawings by
`jmeta.transfer.distillation` from the teacher; and in that way on the drawings without labels too,
about which only the teacher has something to say. All see augmented images, and the teacher is
asked about the augmented ones. With `--born-again` a further student has the size of the teacher
and learns from it by the labelled drawings. Every seed has other characters, weights and batches.

Hyperparameters were chosen on characters of the validation split (`--split val`); the record is of
characters of the test split. Intervals are 95% over seeds, by Student's t.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import common
import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import over_seeds

import jmeta
from jmeta import Batch, Task, augment, data, losses, metrics, nn, transfer

LABELLED, UNLABELLED, SIDE = 10, 5, 14  # of the twenty people who drew
LogitsOf = Callable[[jax.Array], jax.Array]
Objective = Callable[[LogitsOf, Task], tuple[jax.Array, jax.Array]]  # -> loss, logits


class Drawings(NamedTuple):
    """Drawings with the numbers of their characters; those of `unlabelled` are never read."""

    labelled: Batch
    unlabelled: Batch
    test: Batch


def drawings(seed: int, split: str, characters: int) -> Drawings:
    """Those of some characters."""
    pool = getattr(data.load_omniglot(size=SIDE), split)
    chosen = np.random.default_rng(seed).permutation(len(pool.counts))[:characters]
    images = np.asarray(pool.examples).reshape(-1, 20, SIDE, SIDE, 1)[np.sort(chosen)] / 255
    parts = np.split(images.astype(np.float32), [LABELLED, LABELLED + UNLABELLED], axis=1)
    own = np.arange(characters, dtype=np.int32)
    batches = [Batch(x.reshape(-1, SIDE, SIDE, 1), np.repeat(own, x.shape[1])) for x in parts]
    return jax.device_put(Drawings(*batches))


def train(
    net: Any,
    objective: Objective,
    found: Drawings,
    key: jax.Array,
    options: argparse.Namespace,
    steps: int,
) -> Any:
    """Parameters after `steps` updates of Adam."""
    tx = optax.adam(optax.cosine_decay_schedule(options.rate, steps))
    change = augment.affine(options.jitter, shift=0.07)

    def drawn(key: jax.Array, batch: Batch) -> Batch:
        own, other = jax.random.split(key)
        place = jax.random.randint(own, (options.batch,), 0, len(batch.y))
        return Batch(change(other, batch.x[place]), batch.y[place])

    def sample(key: jax.Array) -> Task:
        first, second = jax.random.split(key)
        return Task(drawn(first, found.labelled), drawn(second, found.unlabelled))

    def loss(params: Any, task: Task) -> tuple[jax.Array, jax.Array]:
        return objective(partial(net.apply, params), task)

    update = jmeta.step(loss, tx, sample=sample)

    @jax.jit
    def rounds(state: jmeta.TrainState, keys: jax.Array) -> tuple[jmeta.TrainState, jax.Array]:
        def body(state: jmeta.TrainState, key: jax.Array) -> tuple:
            state, aux = update(state, key[None])
            return state, aux.loss

        return jax.lax.scan(body, state, keys)

    params = jax.jit(lambda key: net.init(key, found.labelled.x[:1]))(key)
    state = jmeta.train_state(params, tx)
    keys = jax.random.split(jax.random.fold_in(key, 1), steps)
    for place in range(0, steps, 250):
        state, _ = rounds(state, keys[place : place + 250])
    return state.params


def from_labels(logits_of: LogitsOf, task: Task) -> tuple[jax.Array, jax.Array]:
    """Without a teacher."""
    logits = logits_of(task.support.x)
    return losses.cross_entropy(logits, task.support.y), logits


def from_teacher(
    logits_of: LogitsOf,
    task: Task,
    *,
    teacher: LogitsOf,
    options: argparse.Namespace,
    unlabelled: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """What the teacher says of the same images, and the labels of those that have some."""
    x, y = task.support.x, task.support.y
    both = jnp.concatenate([x, task.query.x]) if unlabelled else x
    logits, told, n = logits_of(both), teacher(both), len(y)
    soft = partial(transfer.distillation, temperature=options.temperature)
    value = soft(logits[:n], told[:n], y, weight=options.weight)
    return value + (soft(logits[n:], told[n:]) if unlabelled else 0), logits[:n]


def size_of(params: Any) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument(
        "--student-steps", type=int, default=12_000, help="with and without teacher"
    )
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument(
        "--born-again", action="store_true", help="a second teacher, from the first"
    )
    parser.add_argument("--characters", type=int, default=150)
    parser.add_argument("--filters", type=int, default=64, help="of the teacher; the student: half")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--jitter", type=float, default=10.0, help="degrees of the augmentation")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--weight", type=float, default=0.9)
    options = parser.parse_args()
    conv = partial(nn.Conv4, options.characters, form="strided")
    large, small = conv(filters=options.filters), conv(filters=options.filters // 2)
    found: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    for seed in range(options.seeds):
        drawn = drawings(seed, options.split, options.characters)
        key = jax.random.key(seed)

        def score(name: str, net: Any, objective: Objective, key: jax.Array) -> LogitsOf:
            begin = time.perf_counter()
            steps = options.student_steps if net is small else options.steps
            params = train(net, objective, drawn, key, options, steps)  # noqa: B023
            logits_of = partial(jax.jit(net.apply), params)
            right = float(metrics.accuracy(logits_of(drawn.test.x), drawn.test.y))  # noqa: B023
            found.setdefault(name, []).append(right)
            sizes[name] = size_of(params)
            took = time.perf_counter() - begin
            print(f"seed {seed}, {name}: {right:.4f} in {took:.0f} s", flush=True)  # noqa: B023
            return logits_of

        teacher = score("teacher", large, from_labels, key)
        taught = partial(from_teacher, teacher=teacher, options=options)
        own = jax.random.fold_in(key, 2)
        score("student alone", small, from_labels, own)
        score("distilled, labelled images", small, taught, own)
        score("distilled", small, partial(taught, unlabelled=True), own)
        if options.born_again:
            score("born-again", large, taught, jax.random.fold_in(key, 3))
    gains = {
        "student_gain": ("distilled", "student alone"),
        "below_teacher": ("teacher", "distilled"),
    }
    record: dict[str, Any] = {"schema": 1, "protocol": vars(options), "parameters": sizes}
    record["accuracy"] = {name: over_seeds(values) for name, values in found.items()}
    for name, (first, second) in gains.items():
        pairs = zip(found[first], found[second], strict=True)
        record[name] = over_seeds([a - b for a, b in pairs])
    print(record)
    if options.split == "test":
        common.write("distillation", record)


if __name__ == "__main__":
    main()

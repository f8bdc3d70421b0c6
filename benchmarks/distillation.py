"""Distillation: a student with a quarter of its teacher's parameters, with and without the teacher.

    python benchmarks/distillation.py [--seeds 3] [--steps 3000] [--student-steps 3000]

The characters of Omniglot at 14x14 pixels as one classification: each of 150 characters is a class,
drawers 1 to 10 are trained on, and 11 to 20 are the test. The teacher is a network of four strided
convolutions with 64 channels, trained on the labels. The student has 32 channels, and about a
quarter of the parameters. It is trained twice from the same weights on the same batches: on the
labels alone, and by `jmeta.transfer.distillation` from the teacher. With `--born-again` a further
student has the size of the teacher and learns from it. All see the same augmented images,
as does the teacher when it is asked. Every seed has other characters, weights and batches.

Hyperparameters were chosen on characters of the validation split (`--split val`); the record is of
characters of the test split. Intervals are 95% over seeds, by Student's t.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import common
import jax
import numpy as np
import optax
from domain_adversarial import over_seeds

import jmeta
from jmeta import Batch, Task, augment, data, losses, metrics, nn, transfer

DRAWERS, SIDE = 10, 14
Objective = Callable[[jax.Array, Batch], jax.Array]  # logits, batch -> loss


def drawings(seed: int, split: str, characters: int) -> tuple[Batch, Batch]:
    """Training and test images of some characters, with the number of the character."""
    pool = getattr(data.load_omniglot(size=SIDE), split)
    chosen = np.random.default_rng(seed).permutation(len(pool.counts))[:characters]
    images = np.asarray(pool.examples).reshape(-1, 20, SIDE, SIDE, 1)[np.sort(chosen)] / 255
    labels = np.repeat(np.arange(characters, dtype=np.int32), DRAWERS)
    parts = np.split(images.astype(np.float32), [DRAWERS], axis=1)
    train, test = (Batch(x.reshape(-1, SIDE, SIDE, 1), labels) for x in parts)
    return jax.device_put((train, test))


def train(
    net: Any,
    objective: Objective,
    examples: Batch,
    key: jax.Array,
    options: argparse.Namespace,
    steps: int,
) -> Any:
    """Parameters after `steps` updates of Adam."""
    tx = optax.adam(optax.cosine_decay_schedule(options.rate, steps))
    change = augment.affine(options.jitter, shift=0.07)

    def sample(key: jax.Array) -> Task:
        own, other = jax.random.split(key)
        place = jax.random.randint(own, (options.batch,), 0, len(examples.y))
        batch = Batch(change(other, examples.x[place]), examples.y[place])
        return Task(batch, batch)

    def loss(params: Any, task: Task) -> tuple[jax.Array, jax.Array]:
        logits = net.apply(params, task.query.x)
        return objective(logits, task.query), logits

    update = jmeta.step(loss, tx, sample=sample)

    @jax.jit
    def rounds(state: jmeta.TrainState, keys: jax.Array) -> tuple[jmeta.TrainState, jax.Array]:
        def body(state: jmeta.TrainState, key: jax.Array) -> tuple:
            state, aux = update(state, key[None])
            return state, aux.loss

        return jax.lax.scan(body, state, keys)

    params = jax.jit(lambda key: net.init(key, examples.x[:1]))(key)
    state = jmeta.train_state(params, tx)
    keys = jax.random.split(jax.random.fold_in(key, 1), steps)
    for place in range(0, steps, 250):
        state, _ = rounds(state, keys[place : place + 250])
    return state.params


def from_labels(logits: jax.Array, batch: Batch) -> jax.Array:
    """Without a teacher."""
    return losses.cross_entropy(logits, batch.y)


def from_teacher(
    logits: jax.Array, batch: Batch, *, net: Any, params: Any, options: argparse.Namespace
) -> jax.Array:
    """What the teacher says of the same images, and the labels."""
    told = net.apply(params, batch.x)
    known = {"temperature": options.temperature, "weight": options.weight}
    return transfer.distillation(logits, told, batch.y, **known)


def size_of(params: Any) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--student-steps", type=int, default=3000, help="with and without teacher")
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
        examples, test = drawings(seed, options.split, options.characters)
        key = jax.random.key(seed)

        def score(name: str, net: Any, objective: Objective, key: jax.Array) -> Any:
            begin = time.perf_counter()
            steps = options.student_steps if net is small else options.steps
            params = train(net, objective, examples, key, options, steps)  # noqa: B023
            right = metrics.accuracy(jax.jit(net.apply)(params, test.x), test.y)  # noqa: B023
            found.setdefault(name, []).append(float(right))
            sizes[name] = size_of(params)
            took = time.perf_counter() - begin
            print(f"seed {seed}, {name}: {float(right):.4f} in {took:.0f} s", flush=True)  # noqa: B023
            return params

        teacher = score("teacher", large, from_labels, key)
        taught = partial(from_teacher, net=large, params=teacher, options=options)
        own = jax.random.fold_in(key, 2)
        score("student alone", small, from_labels, own)
        score("student distilled", small, taught, own)
        if options.born_again:
            score("born-again", large, taught, jax.random.fold_in(key, 3))
    gains = {
        "student_gain": ("student distilled", "student alone"),
        "below_teacher": ("teacher", "student distilled"),
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

"""Augmentation of tasks: of support, of query, or of whole classes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta.augment._each import Augment, check_images, check_share
from jmeta.core import Batch, Task

_SUPPORT, _QUERY = 0, 1  # folded into the key of an augmentation


def chain(*augments: Augment) -> Augment:
    """Several augmentations, one after another, each with a key of its own.

    >>> from jmeta.augment import flip
    >>> chain(flip(1.0), flip(1.0))(jax.random.key(0), jnp.arange(2.0).reshape(1, 1, 2, 1)).ravel()
    Array([0., 1.], dtype=float32)
    """

    def augment(key: jax.Array, images: jax.Array) -> jax.Array:
        for number, each in enumerate(augments):
            images = each(jax.random.fold_in(key, number), images)
        return images

    return augment


def sometimes(augment: Augment, probability: float) -> Augment:
    """An augmentation that each image undergoes with some probability.

    Args:
        augment: of images [N, H, W, C].
        probability: that an image is changed.

    Raises:
        ValueError: a probability that is not in 0..1.

    >>> from jmeta.augment import flip
    >>> sometimes(flip(1.0), 0.0)(jax.random.key(0), jnp.arange(2.0).reshape(1, 1, 2, 1)).ravel()
    Array([0., 1.], dtype=float32)
    """
    check_share(probability, name="probability", of="sometimes")

    def mostly(key: jax.Array, images: jax.Array) -> jax.Array:
        check_images(images, of="sometimes")
        chosen, own = jax.random.split(key)
        changed = jax.random.bernoulli(chosen, float(probability), (images.shape[0], 1, 1, 1))
        return jnp.where(changed, augment(own, images), images)

    return mostly


def augmented(
    sample: Callable[..., Task],
    *,
    support: Augment | None = None,
    query: Augment | None = None,
) -> Callable[..., Task]:
    """A sampler of tasks whose images are augmented.

    The images are those that `sample` draws from the same key, and what is drawn for support and
    query is independent.

    Args:
        sample: `(key, ...) -> task`.
        support: what support images undergo; None leaves them as they are.
        query: what query images undergo; None leaves them as they are.

    >>> from jmeta.augment import flip
    >>> x = jnp.arange(2.0).reshape(1, 1, 2, 1)
    >>> sample = lambda key: Task(Batch(x, jnp.zeros(1, int)), Batch(x, jnp.zeros(1, int)))
    >>> task = augmented(sample, support=flip(1.0))(jax.random.key(0))
    >>> task.support.x.ravel().tolist(), task.query.x.ravel().tolist()
    ([1.0, 0.0], [0.0, 1.0])
    """

    def draw(key: jax.Array, *rest: Any, **options: Any) -> Task:
        task = sample(key, *rest, **options)
        own = jax.random.fold_in(key, _OWN)
        parts = (task.support, support, _SUPPORT), (task.query, query, _QUERY)
        return Task(*(_changed(batch, how, jax.random.fold_in(own, n)) for batch, how, n in parts))

    return draw


_OWN = 2**31 - 3  # no key that a sampler or `with_keys` folds in


def _changed(batch: Batch, augment: Augment | None, key: jax.Array) -> Batch:
    return batch if augment is None else batch._replace(x=augment(key, batch.x))


def turned_classes(key: jax.Array, task: Task, *, ways: int, probability: float = 1.0) -> Task:
    """Make new classes: turn all examples of a class by 0, 90, 180 or 270 degrees.

    Each class of the task draws its own angle, so a turned class stands in the place of the one it
    was made of.

    Args:
        key: a random key.
        task: of square images [S, H, H, C], and labels of 0 to N - 1; -1 for padding.
        ways: N, the number of classes (static).
        probability: that a class draws an angle; the others stay as they are.

    Raises:
        ValueError: images that are not square, or a probability that is not in 0..1.

    Task Augmentation by Rotating for Meta-Learning (Liu, Chao, Lin, 2020, arXiv:2003.00804).

    >>> x, y = jnp.zeros((2, 4, 4, 1)), jnp.arange(2)
    >>> turned_classes(jax.random.key(0), Task(Batch(x, y), Batch(x, y)), ways=2).query.x.shape
    (2, 4, 4, 1)
    """
    check_share(probability, name="probability", of="turned_classes")
    which, angle = jax.random.split(key)
    turns = jax.random.randint(angle, (ways,), 0, 4)
    turns = jnp.where(jax.random.bernoulli(which, float(probability), (ways,)), turns, 0)

    def changed(batch: Batch) -> Batch:
        return batch._replace(x=turned(batch.x, jnp.where(batch.y < 0, 0, turns[batch.y])))

    return Task(changed(task.support), changed(task.query))


def turned(images: jax.Array, quarters: jax.Array) -> jax.Array:
    """Turn each image by a number of quarters.

    Args:
        images: square images [N, H, H, C].
        quarters: [N] integers of 0 to 3.

    Raises:
        ValueError: images that are not square.

    >>> turned(jnp.arange(4.0).reshape(1, 2, 2, 1), jnp.array([2])).ravel().tolist()
    [3.0, 2.0, 1.0, 0.0]
    """
    check_images(images, of="turned")
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"only square images can be turned, but got {images.shape[1:3]}.")
    four = jnp.stack([jnp.rot90(images, n, (1, 2)) for n in range(4)])
    return four[quarters, jnp.arange(images.shape[0])]

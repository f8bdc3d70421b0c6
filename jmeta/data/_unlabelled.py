"""Samplers of tasks from images without labels: UMTRA, and CACTUs over clusters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jmeta.core import Task
from jmeta.core._numbers import in_unit
from jmeta.data._episodes import (
    check_rotations,
    draw_distinct,
    positive,
    sample_episode,
    task_of,
    turned,
)
from jmeta.data._pool import Pool

Change = Callable[[Array, Array], Array]  # key, images [N, ...] -> images of the same shape


def sample_umtra(
    key: Array,
    images: Pool | Array,
    *,
    ways: int,
    queries: int,
    change: Change,
    shots: int = 1,
    change_support: bool = False,
    rotations: int = 1,
) -> Task:
    """Draw one task without labels: each class is one image and what an augmentation makes of it.

        x_1, ..., x_N distinct,   support (x_c, c),   query (A(x_c), c)

    Two of the N images may show the same thing. That is rare where a set has many more classes
    than N, and else the tasks are noisy.

    Args:
        key: a JAX random key.
        images: [E, ...], or a pool, whose labels are not read. Pass it as an argument to the
            function that you jit.
        ways: N, the number of images.
        queries: query examples of a class, each changed on its own.
        change: A, a function `(key, images [N, ...]) -> images` such as those of `jmeta.augment`.
            It sees uint8 images as float32 in [0, 1], as learners do.
        shots: support examples of a class. The first is the image itself, and the others are
            changed.
        change_support: change the first support example too.
        rotations: with 4, an image turned by a quarter counts as another image.

    Returns:
        As of `sample_episode`: labels in order, and a key for each part.

    Raises:
        ValueError: fewer images than ways, a number below 1, or a `change` that is no function or
            gives images of another shape.

    Unsupervised Meta-Learning for Few-Shot Image Classification (Siavash Khodadadeh, Ladislau
    Boloni, Mubarak Shah, 2019, arXiv:1811.11819).

    >>> from jmeta import augment
    >>> images = jnp.arange(6.0)[:, None, None, None] * jnp.ones((1, 4, 4, 1))
    >>> task = sample_umtra(
    ...     jax.random.key(0), images, ways=3, queries=2, change=augment.flip()
    ... )
    >>> bool((task.query.x[::2] == task.support.x).all()), task.query.y.tolist()
    (True, [0, 0, 1, 1, 2, 2])
    """
    positive({"ways": ways, "shots": shots, "queries": queries})
    examples = images.examples if isinstance(images, Pool) else images
    check_rotations(examples.shape, rotations)
    if not callable(change):
        raise ValueError(
            f"change must be a function (key, images) -> images, but got {change!r}; "
            "jmeta.augment.named makes one of a name."
        )
    if ways > (most := rotations * examples.shape[0]):
        raise ValueError(
            f"asked for {ways} ways, each of them one image, but there are {most} images; lower "
            f"the ways to at most {most}."
        )
    draw_key, change_key = jax.random.split(key)
    chosen = draw_distinct(draw_key, most, k=ways)
    x = examples.at[chosen // rotations].get(mode="promise_in_bounds")[:, None]
    x = in_unit(turned(x, chosen, rotations))
    fresh = shots + queries - (not change_support)
    copies = jnp.repeat(x, fresh, axis=1)
    changed = change(change_key, copies.reshape(-1, *x.shape[2:]))
    if changed.shape != (ways * fresh, *x.shape[2:]):
        raise ValueError(
            f"change must keep the shape of images, but made {list(changed.shape)} of "
            f"{[ways * fresh, *x.shape[2:]]}."
        )
    changed = changed.reshape(copies.shape)
    all_of = changed if change_support else jnp.concatenate([x, changed.astype(x.dtype)], 1)
    return task_of(all_of[:, :shots], all_of[:, shots:], key)


def sample_cactus(
    key: Array,
    images: Pool | Array,
    clusters: Pool,
    *,
    ways: int,
    shots: int,
    queries: int,
) -> Task:
    """Draw one task without labels: its classes are clusters of one partition.

    A partition is drawn first, each that has enough clusters with the same probability. The rest is
    `sample_episode` with `within_group` on the places of images.

    Args:
        key: a JAX random key.
        images: [E, ...], or a pool, whose labels are not read. Pass it and the clusters as
            arguments to the function that you jit.
        clusters: from `cactus`, of embeddings of these images in this order.
        ways, shots, queries: clusters of a task, support and query examples of each.

    Returns:
        As of `sample_episode`.

    Raises:
        ValueError: no partition has so many clusters, or a cluster has too few images.

    Unsupervised Learning via Meta-Learning (Kyle Hsu, Sergey Levine, Chelsea Finn, 2019,
    arXiv:1810.02334).

    >>> from jmeta.data._clusters import cactus
    >>> images = jnp.repeat(jnp.arange(4.0), 6)[:, None]
    >>> clusters = cactus(images, clusters=4, partitions=2, least=3)
    >>> task = sample_cactus(jax.random.key(0), images, clusters, ways=2, shots=1, queries=2)
    >>> bool((task.query.x.reshape(2, 2) == task.support.x).all())
    True
    """
    examples = images.examples if isinstance(images, Pool) else images
    most = max(clusters.group_sizes)
    if ways > most or shots + queries > clusters.smallest:
        raise ValueError(
            f"asked for {ways} ways of {shots + queries} examples (shots + queries), but no "
            f"partition has more than {most} clusters, and the smallest cluster has "
            f"{clusters.smallest} images; make other clusters, or ask for less."
        )
    size = {"ways": ways, "shots": shots, "queries": queries}
    places = sample_episode(key, clusters, **size, within_group=True)

    def seen(places: Array) -> Array:
        return in_unit(examples.at[places].get(mode="promise_in_bounds"))

    return Task(*(part._replace(x=seen(part.x)) for part in places))

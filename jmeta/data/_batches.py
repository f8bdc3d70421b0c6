"""Batches of examples from all classes of a pool at once, for supervised training."""

import jax
import jax.numpy as jnp

from jmeta.core import Batch, Key
from jmeta.core._numbers import in_unit
from jmeta.data._pool import Pool


def sample_batch(key: Key, pool: Pool, *, size: int) -> Batch:
    """Draw a batch from all examples of a pool, each as likely as any other, with replacement.

    Args:
        key: a random key.
        pool: the classes.
        size: examples of the batch (static).

    Returns:
        x [size, ...], uint8 images as floats in [0, 1]; y [size] int32, the number of the class in
        the pool; and a key for what is random in training.

    Raises:
        ValueError: `size` is less than 1.

    >>> import numpy as np
    >>> from jmeta.data import pool_from_classes
    >>> pool = pool_from_classes([np.full((2, 3), c, np.float32) for c in range(4)])
    >>> batch = sample_batch(jax.random.key(0), pool, size=8)
    >>> batch.x.shape, bool((batch.x[:, 0] == batch.y).all())
    ((8, 3), True)
    """
    if size < 1:
        raise ValueError(f"sample_batch expects size >= 1, but got {size}.")
    draw, own = jax.random.split(key)
    place = jax.random.randint(draw, (size,), 0, pool.examples.shape[0])
    y = jnp.searchsorted(pool.starts, place, side="right").astype(jnp.int32) - 1
    return Batch(in_unit(pool.examples[place]), y, own)

"""What is known of single test episodes: their metrics, and the classes that they drew."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jmeta import data
from jmeta.core import Key, Task
from jmeta.experiments._domain import Domain, Each

_TURNS = np.array([0, 1, 3, 2])  # pixel that comes first -> quarter turns


def each_of(domain: Domain) -> Each:
    """The metrics of single episodes: those of the domain, or the one that it is scored by."""
    if domain.each is not None:
        return domain.each
    scores = jax.jit(jax.vmap(domain.score))
    return lambda outputs, targets: {domain.metric: scores(outputs, targets)}


class Drawn(NamedTuple):
    """The classes of the queries of some episodes."""

    names: list[str]  # of all test classes, turned ones too
    classes: np.ndarray  # [E, Q] numbers among these names


def drawn_classes(domain: Domain, keys: Array) -> Drawn | None:
    """The classes that test episodes draw, whose labels say only which class of the episode it is.

    The sampler is run on a pool whose examples say where they come from: each is an image of 2x2
    pixels with four numbers of its own, so that a quarter turn shows too.

    Args:
        domain: the tasks.
        keys: [E] of the episodes.

    Returns:
        None where the test classes have no names, or the sampler changes examples in another way.
    """
    pool, names = domain.test, (domain.info.get("classes") or {}).get("test") or []
    if not isinstance(pool, data.Pool) or len(names) != len(pool.counts):
        return None
    number = jnp.arange(len(pool.examples) * 4, dtype=jnp.int32).reshape(-1, 2, 2, 1)
    marked = dataclasses.replace(pool, examples=number)
    corners = _corners(domain.sample_eval, marked, keys)
    if corners is None:
        return None
    ends = np.cumsum(np.asarray(pool.counts))
    owners = np.searchsorted(ends, corners // 4, side="right")
    turns = _TURNS[corners % 4]
    if not turns.any():
        return Drawn(list(names), owners)
    turned = [f"{name} turned {90 * turn}" if turn else name for name in names for turn in range(4)]
    return Drawn(turned, 4 * owners + turns)


def _corners(sample: Callable[[Key, Any], Task], pool: data.Pool, keys: Array) -> np.ndarray | None:
    """The first pixel of every query [E, Q]; None where they are not as in the pool."""

    def one(key: Key) -> Array:
        return sample(key, pool).query.x

    shape = jax.eval_shape(one, keys[0])
    if shape.shape[1:] != (2, 2, 1) or shape.dtype != jnp.int32:
        return None
    return np.asarray(
        jax.jit(lambda keys: jax.lax.map(lambda key: one(key)[:, 0, 0, 0], keys))(keys)
    )

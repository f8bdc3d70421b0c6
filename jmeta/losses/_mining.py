"""Miners choose the pairs or triplets that a loss of embeddings counts; reducers average them.

A miner reads the distances [N, N] between the embeddings of a batch and their labels [N]. A label
of -1 marks padding, which belongs to no pair. Shapes are static, so miners return masks.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core._types import Scalar
from jmeta.losses._objectives import masked_mean


class Pairs(NamedTuple):
    """Masks of the chosen pairs; rows are anchors."""

    positive: jax.Array  # [N, N] bool: another example with the same label
    negative: jax.Array  # [N, N] bool: an example with another label


class Triplets(NamedTuple):
    """The distances within triplets; the three arrays broadcast against each other."""

    positive: jax.Array  # from anchor to positive
    negative: jax.Array  # from anchor to negative
    mask: jax.Array  # bool: the triplet is chosen


PairMiner = Callable[[jax.Array, jax.Array], Pairs]
TripletMiner = Callable[[jax.Array, jax.Array], Triplets]
Reducer = Callable[[jax.Array, jax.Array], Scalar]  # losses, mask of the same shape -> scalar


def all_pairs(distances: jax.Array, labels: jax.Array) -> Pairs:
    """Choose every pair of two examples.

    >>> all_pairs(jnp.zeros((3, 3)), jnp.array([0, 0, -1])).positive.sum().tolist()
    2
    """
    same = labels[:, None] == labels[None, :]
    real = (labels[:, None] >= 0) & (labels[None, :] >= 0)
    others = ~jnp.eye(len(labels), dtype=bool)
    return Pairs(same & real & others, ~same & real)


def hard_pairs(distances: jax.Array, labels: jax.Array) -> Pairs:
    """Choose the farthest positive and the nearest negative of each anchor that has both.

    In Defense of the Triplet Loss for Person Re-Identification (Hermans, Beyer, Leibe, 2017,
    arXiv:1703.07737).

    >>> hard = hard_pairs(jnp.zeros((4, 4)), jnp.array([0, 0, 0, 1]))
    >>> hard.positive.sum().tolist(), hard.negative.sum().tolist()
    (3, 3)
    """
    every = all_pairs(distances, labels)
    both = (every.positive.any(1) & every.negative.any(1))[:, None]

    def pick(scores: jax.Array, mask: jax.Array) -> jax.Array:
        chosen = jnp.argmax(jnp.where(mask, scores, -jnp.inf), 1)
        return jax.nn.one_hot(chosen, len(labels), dtype=bool) & both

    return Pairs(pick(distances, every.positive), pick(-distances, every.negative))


def all_triplets(distances: jax.Array, labels: jax.Array) -> Triplets:
    """Choose every triplet (anchor, positive, negative); the arrays have N³ entries.

    >>> all_triplets(jnp.zeros((3, 3)), jnp.array([0, 0, 1])).mask.sum().tolist()
    2
    """
    every = all_pairs(distances, labels)
    mask = every.positive[:, :, None] & every.negative[:, None, :]
    return Triplets(distances[:, :, None], distances[:, None, :], mask)


def hard_triplets(distances: jax.Array, labels: jax.Array) -> Triplets:
    """Choose the farthest positive and the nearest negative of each anchor [N]: "batch hard".

    In Defense of the Triplet Loss for Person Re-Identification (Hermans, Beyer, Leibe, 2017,
    arXiv:1703.07737).

    >>> d = jnp.array([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]])
    >>> hard_triplets(d, jnp.array([0, 0, 1])).negative[:2].tolist()
    [3.0, 2.0]
    """
    every = all_pairs(distances, labels)
    mask = every.positive.any(1) & every.negative.any(1)
    farthest = jnp.max(jnp.where(every.positive, distances, -jnp.inf), 1)
    nearest = jnp.min(jnp.where(every.negative, distances, jnp.inf), 1)
    return Triplets(jnp.where(mask, farthest, 0), jnp.where(mask, nearest, 0), mask)


def semihard_triplets(margin: float = 0.2) -> TripletMiner:
    """Choose triplets whose negative is farther than the positive, but within the margin.

        0 < d(a, n) − d(a, p) ≤ margin

    Args:
        margin: in units of the distance.

    FaceNet: A Unified Embedding for Face Recognition and Clustering (Schroff, Kalenichenko,
    Philbin, 2015, arXiv:1503.03832).

    >>> d = jnp.array([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]])
    >>> semihard_triplets(1.0)(d, jnp.array([0, 0, 1])).mask.sum().tolist()
    1
    """

    def mine(distances: jax.Array, labels: jax.Array) -> Triplets:
        every = all_triplets(distances, labels)
        gap = every.negative - every.positive
        return every._replace(mask=every.mask & (gap > 0) & (gap <= margin))

    return mine


def mean_reducer(losses: jax.Array, mask: jax.Array) -> Scalar:
    """The mean of the masked losses; 0 if the mask is empty.

    >>> float(mean_reducer(jnp.array([0.0, 4.0]), jnp.array([True, True])))
    2.0
    """
    return masked_mean(losses, mask)


def avg_non_zero_reducer(losses: jax.Array, mask: jax.Array) -> Scalar:
    """The mean of the masked losses above 0; 0 if there are none.

    >>> float(avg_non_zero_reducer(jnp.array([0.0, 4.0]), jnp.array([True, True])))
    4.0
    """
    return masked_mean(losses, mask & (losses > 0))


def sum_reducer(losses: jax.Array, mask: jax.Array) -> Scalar:
    """The sum of the masked losses.

    >>> float(sum_reducer(jnp.array([1.0, 4.0]), jnp.array([True, True])))
    5.0
    """
    return jnp.sum(jnp.where(mask, losses, 0))

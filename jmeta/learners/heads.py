"""Heads: classifiers over embeddings that are fitted in closed form to a support set."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core.types import Outputs, PyTree


class Head(NamedTuple):
    """Two pure functions over embeddings; usable with no learner at all."""

    fit: Callable[[jax.Array, jax.Array], PyTree]  # embeddings [S, D], labels [S] -> state
    predict: Callable[[PyTree, jax.Array], Outputs]  # state, embeddings [Q, D] -> logits [Q, N]


class Prototypes(NamedTuple):
    """One mean embedding a class."""

    means: jax.Array  # [N, D]
    present: jax.Array  # [N] bool: the class has a support example


def squared_euclidean(queries: jax.Array, means: jax.Array) -> jax.Array:
    """|z_q − c_n|² for all pairs: [Q, D], [N, D] -> [Q, N], as one matrix product.

    >>> squared_euclidean(jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2))).tolist()
    [[25.0]]
    """
    cross = queries @ means.T
    lengths = jnp.sum(queries**2, -1)[:, None] + jnp.sum(means**2, -1)[None, :]
    return lengths - 2 * cross


def prototypical(ways: int) -> Head:
    """Nearest class mean: logits_n(z) = −|z − c_n|², c_n = mean of class n's embeddings.

    A class without a support example can never be predicted: its logit is the least finite
    number. Labels of -1 are padding and count for nothing.

    Args:
        ways: N, the number of classes of an episode (static, never read off the labels).

    Raises:
        ValueError: `ways` is less than 1.

    Prototypical Networks for Few-shot Learning (Snell, Swersky, Zemel, 2017,
    arXiv:1703.05175).

    >>> head = prototypical(2)
    >>> state = head.fit(jnp.array([[0.0], [2.0], [4.0]]), jnp.array([0, 1, 1]))
    >>> head.predict(state, jnp.array([[1.0]])).tolist()
    [[-1.0, -4.0]]
    """
    if ways < 1:
        raise ValueError(f"prototypical expects ways >= 1, but got {ways}.")

    def fit(embeddings: jax.Array, labels: jax.Array) -> Prototypes:
        members = jax.nn.one_hot(labels, ways, dtype=embeddings.dtype)  # zeros where -1
        counts = members.sum(0)
        means = (members.T @ embeddings) / jnp.maximum(counts, 1)[:, None]
        return Prototypes(means, counts > 0)

    def predict(state: Prototypes, embeddings: jax.Array) -> jax.Array:
        logits = -squared_euclidean(embeddings, state.means)
        return jnp.where(state.present[None, :], logits, jnp.finfo(logits.dtype).min)

    return Head(fit, predict)

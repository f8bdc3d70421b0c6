"""What the transductive heads share: an episode with its masks, and entropies of predictions."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core import PyTree
from jmeta.core._numbers import at_least_float32, product
from jmeta.core._padding import blanked, unmarked
from jmeta.learners.comparison._heads import (
    Head,
    check_ways,
    membership,
    only_present,
    real_rows,
)


class Support(NamedTuple):
    """An embedded support set. Padded examples are zeros in each array."""

    z: jax.Array  # [S, D] embeddings, in float32 or wider
    members: jax.Array  # [S, N] one-hot labels
    present: jax.Array  # [N] bool: the class has a support example


class Episode(NamedTuple):
    """A support set and all queries. Padded examples are zeros in each array."""

    support: jax.Array  # [S, D]
    members: jax.Array  # [S, N] one-hot labels
    present: jax.Array  # [N] bool
    queries: jax.Array  # [Q, D]
    real: jax.Array  # [Q], 1 for a query and 0 for padding


def transductive_head(ways: int, classify: Callable[[Episode], jax.Array], *, name: str) -> Head:
    """A head that keeps the support set and classifies all queries at once.

    Args:
        ways: N, the number of classes (static).
        classify: episode -> logits [Q, N]. Those of absent classes are replaced.
        name: of the head, for messages.

    Raises:
        ValueError: `ways` is less than 1, and, when the head is used, embeddings are not [S, D]
            and [Q, D].

    >>> head = transductive_head(2, lambda e: e.queries @ means(e).T, name="dots")
    >>> state = head.fit(jnp.eye(2), jnp.array([0, 1]))
    >>> head.predict(state, jnp.array([[3.0, 4.0]])).tolist()
    [[3.0, 4.0]]
    """
    check_ways(ways, name=name)

    def fit(embeddings: jax.Array, labels: jax.Array) -> Support:
        present = membership(labels, ways, jnp.int32).any(0)  # checks the labels first
        if getattr(embeddings, "ndim", 0) != 2 or len(embeddings) != len(labels):
            raise ValueError(
                f"{name} expects embeddings [S, D] and labels [S], but got "
                f"{jax.tree.map(jnp.shape, embeddings)} and {labels.shape}; flatten the embeddings."
            )
        z = at_least_float32(real_rows(embeddings, labels))
        return Support(z, membership(labels, ways, z.dtype), present)

    def predict(state: Support, embeddings: PyTree) -> jax.Array:
        z, real = unmarked(embeddings)
        if getattr(z, "ndim", 0) != 2 or z.shape[1] != state.z.shape[1]:
            raise ValueError(
                f"{name} was fitted to embeddings [S, {state.z.shape[1]}] and expects queries "
                f"[Q, {state.z.shape[1]}], but got {jax.tree.map(jnp.shape, z)}."
            )
        dtype = jnp.promote_types(z.dtype, state.z.dtype)
        ones = jnp.ones(z.shape[0], dtype)
        weights = ones if real is None else jnp.where(real, ones, 0)
        z = (z if real is None else blanked(z, real)).astype(dtype)
        support, members = state.z.astype(dtype), state.members.astype(dtype)
        episode = Episode(support, members, state.present, z, weights)
        return only_present(classify(episode), state.present)

    return Head(fit, predict, transductive=True)


def means(episode: Episode) -> jax.Array:
    """The mean support embedding of each class, [N, D]; 0 for an absent class.

    >>> members, one = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.ones((1, 1))
    >>> episode = Episode(jnp.array([[1.0], [3.0]]), members, members.any(0), one, jnp.ones(1))
    >>> means(episode).tolist()
    [[2.0], [0.0]]
    """
    counts = jnp.maximum(episode.members.sum(0), 1)
    return product(episode.members.T, episode.support) / counts[:, None]


def started(start: jax.Array, episode: Episode) -> jax.Array:
    """Where gradient descent begins, with the varying axes of the queries, too.

    In a `shard_map` that divides the queries alone, a gradient in what comes from the support set
    would otherwise be summed over all devices.

    >>> one = jnp.ones((1, 1))
    >>> started(3 * one, Episode(one, one, one[0] > 0, one, one[0])).tolist()
    [[3.0]]
    """
    return start + 0 * episode.queries[:1].sum()


def mean_of(x: jax.Array, real: jax.Array) -> jax.Array:
    """The mean of the real rows: [Q, ...], [Q] -> [...]; 0 where there is none.

    >>> mean_of(jnp.array([[1.0], [5.0], [9.0]]), jnp.array([1.0, 1.0, 0.0])).tolist()
    [3.0]
    """
    return jnp.tensordot(real, x, 1, precision="highest") / jnp.maximum(real.sum(), 1)


def probabilities(
    logits: jax.Array, present: jax.Array, *, axis: int = -1
) -> tuple[jax.Array, jax.Array]:
    """The softmax over the classes that are present, and its logarithm, both as the logits are.

    Both are 0 for an absent class, so that p log p is 0 there and has a derivative. The classes are
    along `axis`: -1 for [Q, N], 0 for [N, Q], which is faster where little else is computed.

    >>> p, log_p = probabilities(jnp.zeros((1, 3)), jnp.array([True, True, False]))
    >>> p.tolist(), [round(x, 4) for x in log_p[0].tolist()]
    ([[0.5, 0.5, 0.0]], [-0.6931, -0.6931, 0.0])
    """
    here = present[None] if axis == -1 else present[:, None]
    log_p = jax.nn.log_softmax(jnp.where(here, logits, jnp.finfo(logits.dtype).min), axis)
    log_p = jnp.where(here, log_p, 0)
    return jnp.where(here, jnp.exp(log_p), 0), log_p


def support_error(log_p: jax.Array, members: jax.Array) -> jax.Array:
    """The mean cross-entropy of the support examples, from [S, N] and [S, N].

    >>> log_p = jnp.log(jnp.array([[0.5, 0.5], [0.9, 0.1]]))
    >>> round(float(support_error(log_p, jnp.array([[0.0, 1.0], [0.0, 0.0]]))), 4)
    0.6931
    """
    return -jnp.sum(members * log_p) / jnp.maximum(members.sum(), 1)


def mean_entropy(p: jax.Array, log_p: jax.Array, real: jax.Array) -> jax.Array:
    """The mean entropy of the predictions of the real queries, Ĥ(Y|X).

    >>> p = jnp.array([[0.5, 0.5]])
    >>> round(float(mean_entropy(p, jnp.log(p), jnp.ones(1))), 4)
    0.6931
    """
    return mean_of(-jnp.sum(p * log_p, -1), real)

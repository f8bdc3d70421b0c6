"""Distances between all pairs of embeddings, arrays or pytrees; smaller is nearer."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jmeta.core import PyTree

__all__ = [
    "Distance",
    "cosine",
    "cosine_similarity",
    "dot",
    "euclidean",
    "normalized",
    "squared_euclidean",
    "unit",
]

Distance = Callable[[PyTree, PyTree], jax.Array]  # [N, ...], [M, ...] -> [N, M]

EPS = 1e-12  # inside every root, so that the derivative at zero is finite


def _over_leaves(pairwise: Callable, left: PyTree, right: PyTree) -> jax.Array:
    """Σ over leaves of the distance of the flattened leaves [N, D], [M, D]."""

    def leaf(a: jax.Array, b: jax.Array) -> jax.Array:
        if a.ndim < 2 or a.shape[1:] != b.shape[1:]:
            raise ValueError(
                f"a distance expects embeddings [N, D] and [M, D], but got {a.shape} and "
                f"{b.shape}; add the batch axis, or give both the same D."
            )
        return pairwise(a.reshape(len(a), -1), b.reshape(len(b), -1))

    total: jax.Array = jax.tree.reduce(jnp.add, jax.tree.map(leaf, left, right))
    return total


def squared_euclidean(left: PyTree, right: PyTree) -> jax.Array:
    """|a − b|² for all pairs: [N, D], [M, D] -> [N, M], as one matrix product.

    Args:
        left, right: arrays, or pytrees of arrays whose distances are added up; an axis after
            the second counts as more of D.

    Raises:
        ValueError: leaves without a batch axis, or of different D.

    >>> squared_euclidean(jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2))).tolist()
    [[25.0]]
    """

    def pairwise(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sum(a**2, -1)[:, None] + jnp.sum(b**2, -1)[None, :] - 2 * (a @ b.T)

    return _over_leaves(pairwise, left, right)


def euclidean(left: PyTree, right: PyTree) -> jax.Array:
    """√(|a − b|² + 1e-12) for all pairs: [N, D], [M, D] -> [N, M].

    From the differences, not the matrix product, whose rounding a root makes large.

    Raises:
        ValueError: see `squared_euclidean`.

    >>> round(float(euclidean(jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2)))[0, 0]), 4)
    5.0
    """

    def pairwise(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sqrt(jnp.sum((a[:, None] - b[None]) ** 2, -1) + EPS)

    return _over_leaves(pairwise, left, right)


def dot(left: PyTree, right: PyTree) -> jax.Array:
    """−⟨a, b⟩ for all pairs: a similarity, negative so that smaller is nearer.

    Raises:
        ValueError: see `squared_euclidean`.

    >>> dot(jnp.array([[3.0, 4.0]]), jnp.ones((1, 2))).tolist()
    [[-7.0]]
    """
    return _over_leaves(lambda a, b: -(a @ b.T), left, right)


def cosine(left: PyTree, right: PyTree) -> jax.Array:
    """1 − cos(a, b) for all pairs: [N, D], [M, D] -> [N, M] in 0..2.

    Raises:
        ValueError: see `squared_euclidean`.

    >>> cosine(jnp.array([[2.0, 0.0]]), jnp.eye(2)).tolist()
    [[0.0, 1.0]]
    """
    return _over_leaves(lambda a, b: 1 - cosine_similarity(a, b), left, right)


def cosine_similarity(left: jax.Array, right: jax.Array, *, epsilon: float = EPS) -> jax.Array:
    """cos(a, b) for all pairs of arrays: [N, D], [M, D] -> [N, M] in -1..1.

    Args:
        left, right: embeddings.
        epsilon: added to the squared lengths inside the roots.

    >>> cosine_similarity(jnp.array([[2.0, 0.0]]), jnp.eye(2)).tolist()
    [[1.0, 0.0]]
    """
    # The lengths divide the products, so that no copy of the embeddings is made.
    lengths = [jnp.sqrt(jnp.sum(z**2, -1) + epsilon) for z in (left, right)]
    return (left @ right.T) / lengths[0][:, None] / lengths[1][None, :]


def unit(embeddings: PyTree) -> PyTree:
    """z / √(|z|² + 1e-12), leaf by leaf, over all axes but the first; 0 stays 0.

    >>> unit(jnp.array([[0.0, 4.0]])).tolist()
    [[0.0, 1.0]]
    """

    def leaf(z: jax.Array) -> jax.Array:
        axes = tuple(range(1, z.ndim))
        return z / jnp.sqrt(jnp.sum(z**2, axes, keepdims=True) + EPS)

    return jax.tree.map(leaf, embeddings)


def normalized(distance: Distance) -> Distance:
    """The same distance between embeddings of length 1.

    >>> float(normalized(dot)(jnp.array([[5.0, 0.0]]), jnp.array([[3.0, 0.0]]))[0, 0])
    -1.0
    """
    return lambda left, right: distance(unit(left), unit(right))

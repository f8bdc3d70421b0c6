"""Distances between all pairs of embeddings, which are arrays or pytrees of arrays."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jmeta.core import PyTree
from jmeta.core._numbers import product

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

EPS = 1e-12  # added inside every root, so that the derivative at zero is finite


def _over_leaves(pairwise: Callable, left: PyTree, right: PyTree) -> jax.Array:
    """The sum over leaves of the distances between flattened leaves [N, D] and [M, D]."""

    def leaf(a: jax.Array, b: jax.Array) -> jax.Array:
        if a.ndim < 2 or a.shape[1:] != b.shape[1:]:
            raise ValueError(
                f"a distance expects embeddings [N, D] and [M, D], but got {a.shape} and "
                f"{b.shape}; add the batch axis, or give both the same D."
            )
        return pairwise(a.reshape(a.shape[0], -1), b.reshape(b.shape[0], -1))

    total: jax.Array = jax.tree.reduce(jnp.add, jax.tree.map(leaf, left, right))
    return total


def squared_euclidean(left: PyTree, right: PyTree) -> jax.Array:
    """The squared Euclidean distance of all pairs, computed by a matrix product.

        |a − b|² = |a'|² + |b'|² − 2⟨a', b'⟩,   a' = a − m,   b' = b − m

    m is the mean of `right`. It changes no distance, but without it the digits of distances are
    lost when all embeddings are far from zero.

    Args:
        left: [N, D], or a pytree of such arrays, whose distances are added up. Axes after the
            second are flattened into D.
        right: [M, D], with the structure of `left`.

    Returns:
        [N, M] distances.

    Raises:
        ValueError: a leaf has no batch axis, or D differs.

    >>> squared_euclidean(jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2))).tolist()
    [[25.0]]
    """

    def pairwise(a: jax.Array, b: jax.Array) -> jax.Array:
        centre = jax.lax.stop_gradient(jnp.mean(b, 0, keepdims=True))
        a, b = a - centre, b - centre
        return jnp.sum(a**2, -1)[:, None] + jnp.sum(b**2, -1)[None, :] - 2 * product(a, b.T)

    return _over_leaves(pairwise, left, right)


def euclidean(left: PyTree, right: PyTree) -> jax.Array:
    """The Euclidean distance √(|a − b|² + 1e-12) of all pairs: [N, D], [M, D] -> [N, M].

    It is computed from the differences, because the root would magnify the rounding errors of the
    matrix product in `squared_euclidean`.

    Args:
        left, right: see `squared_euclidean`.

    Raises:
        ValueError: see `squared_euclidean`.

    >>> round(float(euclidean(jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2)))[0, 0]), 4)
    5.0
    """

    def pairwise(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.sqrt(jnp.sum((a[:, None] - b[None]) ** 2, -1) + EPS)

    return _over_leaves(pairwise, left, right)


def dot(left: PyTree, right: PyTree) -> jax.Array:
    """The negative inner product −⟨a, b⟩ of all pairs: [N, D], [M, D] -> [N, M].

    Args:
        left, right: see `squared_euclidean`.

    Raises:
        ValueError: see `squared_euclidean`.

    >>> dot(jnp.array([[3.0, 4.0]]), jnp.ones((1, 2))).tolist()
    [[-7.0]]
    """
    return _over_leaves(lambda a, b: -product(a, b.T), left, right)


def cosine(left: PyTree, right: PyTree) -> jax.Array:
    """The cosine distance 1 − cos(a, b) of all pairs, in 0..2: [N, D], [M, D] -> [N, M].

    Args:
        left, right: see `squared_euclidean`.

    Raises:
        ValueError: see `squared_euclidean`.

    >>> cosine(jnp.array([[2.0, 0.0]]), jnp.eye(2)).tolist()
    [[0.0, 1.0]]
    """
    return _over_leaves(lambda a, b: 1 - cosine_similarity(a, b), left, right)


def cosine_similarity(left: jax.Array, right: jax.Array, *, epsilon: float = EPS) -> jax.Array:
    """The cosine cos(a, b) of all pairs of two arrays, in -1..1: [N, D], [M, D] -> [N, M].

    Args:
        left: embeddings [N, D].
        right: embeddings [M, D].
        epsilon: is added to the squared lengths inside the roots.

    >>> cosine_similarity(jnp.array([[2.0, 0.0]]), jnp.eye(2)).tolist()
    [[1.0, 0.0]]
    """
    # Divide the products, not the embeddings, so that the embeddings are not copied.
    lengths = [jnp.sqrt(jnp.sum(z**2, -1) + epsilon) for z in (left, right)]
    return product(left, right.T) / lengths[0][:, None] / lengths[1][None, :]


def unit(embeddings: PyTree) -> PyTree:
    """Scale every embedding to length 1: z / √(|z|² + 1e-12), which leaves 0 as it is.

    Args:
        embeddings: [N, ...], or a pytree of such arrays, each of which is scaled separately.

    >>> unit(jnp.array([[0.0, 4.0]])).tolist()
    [[0.0, 1.0]]
    """

    def leaf(z: jax.Array) -> jax.Array:
        axes = tuple(range(1, z.ndim))
        return z / jnp.sqrt(jnp.sum(z**2, axes, keepdims=True) + EPS)

    return jax.tree.map(leaf, embeddings)


def normalized(distance: Distance) -> Distance:
    """The same distance between embeddings that are scaled to length 1.

    Args:
        distance: a distance between all pairs.

    >>> float(normalized(dot)(jnp.array([[5.0, 0.0]]), jnp.array([[3.0, 0.0]]))[0, 0])
    -1.0
    """
    return lambda left, right: distance(unit(left), unit(right))

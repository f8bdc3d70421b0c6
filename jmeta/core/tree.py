"""Checks and small arithmetic on pytrees of arrays."""

import jax
import jax.numpy as jnp

from jmeta.core.types import PyTree, Scalar


def require_inexact(params: PyTree, *, what: str = "params") -> None:
    """Refuse a tree that cannot be differentiated whole.

    Args:
        params: any pytree; every leaf must be a floating-point or complex array.
        what: the name used in the message.

    Raises:
        ValueError: a leaf is an integer, a boolean, a key, or no array at all.

    >>> require_inexact({"w": jnp.ones(3)})
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
            found = type(leaf).__name__ if dtype is None else f"dtype {dtype}"
            raise ValueError(
                f"{what}{jax.tree_util.keystr(path)} has {found}, but every leaf that is learned "
                "must be a floating-point array; keep counters and keys out of the parameters."
            )


def leading_axis(tree: PyTree, *, what: str = "tasks") -> int:
    """The common length of the first axis of every leaf.

    Raises:
        ValueError: no leaf, a scalar leaf, or leaves of different lengths.

    >>> leading_axis({"x": jnp.ones((4, 2)), "y": jnp.ones(4)})
    4
    """
    lengths = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(tree)}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            f"{what} must share one leading axis, but the leaves have first axes "
            f"{sorted(lengths, key=str)}; stack them along a new first axis."
        )
    return int(lengths.pop())  # type: ignore[arg-type]


def squared_distance(left: PyTree, right: PyTree) -> Scalar:
    """|left − right|² summed over every leaf.

    >>> float(squared_distance({"w": jnp.ones(3)}, {"w": jnp.zeros(3)}))
    3.0
    """
    per_leaf = jax.tree.map(lambda a, b: jnp.sum(jnp.square(a - b)), left, right)
    return jax.tree.reduce(jnp.add, per_leaf, jnp.zeros(()))

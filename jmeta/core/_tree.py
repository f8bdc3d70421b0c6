"""Checks and small arithmetic on pytrees of arrays."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jmeta.core._types import Batch, Params, PyTree, Scalar, Task

# Flax collections that a network reads and that are not learned, such as running statistics.
FIXED = ("batch_stats", "constants", "cache", "spectral_stats")


def require_inexact(params: PyTree, *, what: str = "params") -> None:
    """Refuse a tree with a leaf that cannot be differentiated.

    Args:
        params: any pytree; every leaf must be a floating-point or complex array.
        what: the name of the tree, for the message.

    Raises:
        ValueError: a leaf holds integers, booleans or keys, or is not an array.

    >>> require_inexact({"w": jnp.ones(3)})
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
            found = type(leaf).__name__ if dtype is None else f"dtype {dtype}"
            hint = (
                "convert a module that has functions among its leaves with jmeta.nn.from_equinox "
                "or from_nnx."
                if callable(leaf)
                else "keep counters and keys out of the parameters."
            )
            raise ValueError(
                f"{what}{jax.tree_util.keystr(path)} has {found}, but every leaf that is learned "
                f"must be a floating-point array; {hint}"
            )


def require_keys(params: Params, keys: tuple[str, ...], *, of: str) -> None:
    """Refuse parameters that another learner's `init` made.

    Args:
        params: the parameters given to a learner.
        keys: the entries of the dictionary that its `init` makes.
        of: the name of the learner, for the message.

    Raises:
        ValueError: `params` is not a dictionary with these entries.

    >>> require_keys({"embed": 1, "relation": 2}, ("embed", "relation"), of="relation")
    """
    found = sorted(map(str, params)) if isinstance(params, Mapping) else type(params).__name__
    if found != sorted(keys):
        raise ValueError(
            f"the parameters of {of} are a dictionary with {', '.join(keys)}, but got {found}; "
            "make them with learner.init(key, task)."
        )


def is_fixed(path: tuple[Any, ...]) -> bool:
    """Whether a leaf at this path belongs to a collection that is not learned.

    >>> tree = {"params": 1, "batch_stats": {"mean": 2}}
    >>> [is_fixed(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    [True, False]
    """
    return any(getattr(entry, "key", None) in FIXED for entry in path)


def paths_of(params: Params) -> dict[str, jax.Array]:
    """The leaves by their paths, such as "params/head/kernel", in the order of the leaves.

    >>> list(paths_of({"params": {"head": jnp.ones(1)}}))
    ['params/head']
    """
    found = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found}


def learned_part(params: Params) -> PyTree:
    """The parameters without the collections that are not learned.

    A tree without such a collection is returned unchanged. Any other becomes a dictionary of its
    remaining leaves by path.

    >>> learned_part({"params": jnp.ones(1), "batch_stats": jnp.ones(2)})
    {'params': Array([1.], dtype=float32)}
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    keep = [not is_fixed(path) for path, _ in leaves]
    if all(keep):
        return params
    return {
        path: leaf
        for (path, leaf), kept in zip(paths_of(params).items(), keep, strict=True)
        if kept
    }


def with_learned(params: Params, new: PyTree) -> Params:
    """The parameters with their learned part replaced.

    Args:
        params: parameters.
        new: the replacement, with the structure of `learned_part(params)`.

    >>> tree = {"params": jnp.ones(()), "batch_stats": jnp.ones(())}
    >>> {name: float(leaf) for name, leaf in with_learned(tree, {"params": jnp.zeros(())}).items()}
    {'batch_stats': 1.0, 'params': 0.0}
    """
    if not any(is_fixed(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)):
        return new
    return put_paths(params, new)


def put_paths(params: Params, new: dict[str, jax.Array]) -> Params:
    """The parameters with some leaves replaced.

    Args:
        params: parameters.
        new: path -> the new leaf.

    >>> put_paths({"a": 1, "b": 2}, {"b": 3})
    {'a': 1, 'b': 3}
    """
    leaves = {**paths_of(params), **new}
    return jax.tree.unflatten(jax.tree.structure(params), list(leaves.values()))


def leading_axis(tree: PyTree, *, what: str = "tasks") -> int:
    """The length of the first axis, which all leaves share.

    Args:
        tree: a pytree of arrays.
        what: the name of the tree, for the message.

    Raises:
        ValueError: there is no leaf, a leaf is a scalar, the lengths differ, or a single `Task`
            was given instead of a batch of tasks.

    >>> leading_axis({"x": jnp.ones((4, 2)), "y": jnp.ones(4)})
    4
    """
    if isinstance(tree, Task) and any(_is_single(batch) for batch in tree):
        raise ValueError(
            f"{what} must be a batch of tasks with a leading axis [T], but this is a single task; "
            "sample with jax.vmap, or add the axis: jax.tree.map(lambda leaf: leaf[None], task)."
        )
    lengths = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(tree)}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            f"{what} must share one leading axis, but the leaves have first axes "
            f"{sorted(lengths, key=str)}; stack them along a new first axis."
        )
    return int(lengths.pop())  # type: ignore[arg-type]


def _is_single(batch: Batch) -> bool:
    """Whether the targets belong to one task: labels [N] or values [N, D]."""
    y = batch.y
    if not hasattr(y, "ndim"):
        return False
    return y.ndim < (2 if jnp.issubdtype(y.dtype, jnp.integer) else 3)


def squared_distance(left: PyTree, right: PyTree) -> Scalar:
    """|left − right|² summed over every leaf.

    >>> float(squared_distance({"w": jnp.ones(3)}, {"w": jnp.zeros(3)}))
    3.0
    """
    per_leaf = jax.tree.map(lambda a, b: jnp.sum(jnp.square(a - b)), left, right)
    return jax.tree.reduce(jnp.add, per_leaf, jnp.zeros(()))

"""Labels of classes: which numbers are allowed, and one-hot rows of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def require_range(labels: Any, ways: int, *, of: str) -> None:
    """Refuse labels of a wrong dtype, and those not in -1..ways - 1 where their values are known.

    -1 and the number of classes must exist in the dtype: a uint8 cannot hold the one, an int8 not
    128. Inside `jit` or `vmap` the values are not known yet; there `one_hot` and `cross_entropy`
    turn a label out of range into NaN.

    Args:
        labels: integers [N], where -1 marks padding.
        ways: the number of classes.
        of: the name of the function that was called, for the message.

    Raises:
        ValueError: the labels are no array of signed integers, or one is below -1 or at least
            `ways`.

    >>> require_range(jnp.array([0, 4, -1]), 5, of="cross_entropy")
    """
    dtype = getattr(labels, "dtype", type(labels).__name__)
    if not hasattr(labels, "dtype") or not np.issubdtype(dtype, np.integer):
        raise ValueError(
            f"{of} expects an array of integer labels, but got {dtype}; number the classes 0 to "
            f"{ways - 1} (numpy.unique with return_inverse does that)."
        )
    if np.issubdtype(dtype, np.unsignedinteger) or np.iinfo(dtype).max < ways:
        raise ValueError(
            f"{of} got labels of dtype {dtype}, which cannot hold -1 for padding and {ways} "
            "classes; convert them with .astype(jnp.int32)."
        )
    if isinstance(labels, jax.core.Tracer):
        return
    found = np.asarray(labels)
    wrong = found[(found < -1) | (found >= ways)]
    if wrong.size:
        raise ValueError(
            f"{of} got the label {wrong[0]} for {ways} classes; expected 0 to {ways - 1}, or -1 "
            "for padding. Number the classes of each task from 0 (numpy.unique with "
            "return_inverse does that)."
        )


def in_range(labels: jax.Array, ways: int) -> jax.Array:
    """Which labels are those of a class or of padding: [N] bool.

    >>> in_range(jnp.array([0, 4, -1, 5]), 5).tolist()
    [True, True, True, False]
    """
    return (labels >= -1) & (labels < ways)


def one_hot(labels: jax.Array, ways: int, dtype: Any) -> jax.Array:
    """One-hot rows [N, ways]: zeros for padding, and NaN for labels that are out of range.

    >>> one_hot(jnp.array([1, -1, 2]), 2, jnp.float32).tolist()
    [[0.0, 1.0], [0.0, 0.0], [nan, nan]]
    """
    rows = jax.nn.one_hot(labels, ways, dtype=dtype)
    if not jnp.issubdtype(dtype, jnp.inexact):
        return rows
    return jnp.where(in_range(labels, ways)[:, None], rows, jnp.nan)

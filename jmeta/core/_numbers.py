"""Numbers: checks of those that may be traced, and the precision of sums and products."""

import jax
import jax.numpy as jnp
import numpy as np


def require_positive(value: float | jax.Array, *, name: str, of: str) -> None:
    """Refuse a number that is not above 0, where its value is known.

    Raises:
        ValueError: the value is zero, negative or NaN. Traced values are not checked.

    >>> require_positive(0.5, name="strength", of="ridge")
    """
    if not isinstance(value, jax.core.Tracer) and not np.all(np.asarray(value) > 0):
        raise ValueError(f"{of} expects {name} > 0, but got {value}.")


def require_weight(value: float | jax.Array, *, name: str, of: str) -> None:
    """Refuse a number below 0, where its value is known.

    Raises:
        ValueError: the value is negative or NaN. Traced values are not checked.

    >>> require_weight(0.0, name="marginal", of="tim")
    """
    if not isinstance(value, jax.core.Tracer) and not np.all(np.asarray(value) >= 0):
        raise ValueError(f"{of} expects {name} >= 0, but got {value}.")


def in_unit(values: jax.Array) -> jax.Array:
    """uint8, which images are kept in, as float32 in [0, 1]; other types as they are.

    >>> in_unit(jnp.array([0, 255], jnp.uint8)).tolist()
    [0.0, 1.0]
    """
    return values.astype(jnp.float32) / 255 if values.dtype == jnp.uint8 else values


def at_least_float32(values: jax.Array) -> jax.Array:
    """The same values in float32, or in a wider type if they have one.

    Sums, counts and solutions of linear systems are computed in it: bfloat16 cannot count above
    256, and float16 ends at 65,504.

    >>> at_least_float32(jnp.ones(2, jnp.bfloat16)).dtype
    dtype('float32')
    """
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def product(left: jax.Array, right: jax.Array) -> jax.Array:
    """A matrix product in all digits of its type, whatever precision others have.

    Distances and linear systems need it: their small differences of large numbers are lost in the
    coarser products that GPUs and TPUs compute by default.

    >>> product(jnp.ones((1, 2)), jnp.ones((2, 1))).tolist()
    [[2.0]]
    """
    return jnp.matmul(left, right, precision="highest")

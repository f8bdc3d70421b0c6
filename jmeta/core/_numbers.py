"""Checks of numbers that may be traced."""

import jax
import numpy as np


def require_positive(value: float | jax.Array, *, name: str, of: str) -> None:
    """Refuse a number that is not above 0, where its value is known.

    Raises:
        ValueError: the value is zero, negative or NaN. Traced values are not checked.

    >>> require_positive(0.5, name="strength", of="ridge")
    """
    if not isinstance(value, jax.core.Tracer) and not np.all(np.asarray(value) > 0):
        raise ValueError(f"{of} expects {name} > 0, but got {value}.")

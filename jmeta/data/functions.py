"""Families of functions to regress: tasks made of a key alone."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from jmeta.core.types import Batch, Task


def sample_sinusoid(
    key: Array,
    *,
    shots: int,
    queries: int,
    amplitude: tuple[float, float] = (0.1, 5.0),
    phase: tuple[float, float] = (0.0, math.pi),
    x: tuple[float, float] = (-5.0, 5.0),
    noise: float = 0.0,
) -> Task:
    """Draw one task of the sinusoid family: y = A sin(x - p) + e, with e ~ N(0, noise^2).

    A, p and every x are uniform on their intervals; one A and one p hold for the whole task. The
    noise is in the support and in the query targets.

    Args:
      key: a JAX random key.
      shots, queries: points in the support and in the query set.
      amplitude, phase, x: (low, high) of A, of p in radians, and of the inputs in radians.
      noise: standard deviation of the targets' noise; 0 for none.

    Returns:
      Task with x and y float32 [shots, 1] and [queries, 1].

    Raises:
      ValueError: for no points, an interval that runs backwards or a negative noise.

    >>> task = sample_sinusoid(jax.random.key(0), shots=10, queries=5)
    >>> task.support.x.shape, task.query.y.shape, bool(abs(task.query.y).max() <= 5)
    ((10, 1), (5, 1), True)

    Chelsea Finn, Pieter Abbeel, Sergey Levine. "Model-Agnostic Meta-Learning for Fast Adaptation
    of Deep Networks", 2017, arXiv:1703.03400, section 5.1.
    """
    _check(shots, queries, {"amplitude": amplitude, "phase": phase, "x": x}, noise)
    a_key, p_key, x_key, e_key = jax.random.split(key, 4)
    a = jax.random.uniform(a_key, (), minval=amplitude[0], maxval=amplitude[1])
    p = jax.random.uniform(p_key, (), minval=phase[0], maxval=phase[1])
    points = jax.random.uniform(x_key, (shots + queries, 1), minval=x[0], maxval=x[1])
    values = a * jnp.sin(points - p) + noise * jax.random.normal(e_key, points.shape)
    support = Batch(points[:shots], values[:shots])
    return Task(support, Batch(points[shots:], values[shots:]))


def _check(
    shots: int, queries: int, intervals: dict[str, tuple[float, float]], noise: float
) -> None:
    if min(shots, queries) < 1:
        raise ValueError(
            f"got shots={shots} and queries={queries}, expected at least 1 of each; raise them."
        )
    for name, (low, high) in intervals.items():
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(
                f"got {name}=({low}, {high}), expected finite low <= high; swap or fix the bounds."
            )
    if not noise >= 0 or math.isinf(noise):
        raise ValueError(f"got noise={noise}, expected a standard deviation of at least 0; fix it.")

"""The sinusoid family, and the building blocks of every family of functions."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from jmeta.core import Batch, Task
from jmeta.data._keys import with_keys


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

    A, p and every x are uniform on their intervals. A task has one A and one p. Both the support
    targets and the query targets are noisy.

    Args:
        key: a JAX random key.
        shots, queries: points in the support and in the query set.
        amplitude, phase, x: (low, high) of A, of p in radians, and of the inputs in radians.
        noise: standard deviation of the targets' noise; 0 for none.

    Returns:
        Task with x and y float32 [shots, 1] and [queries, 1], and a key in each set.

    Raises:
        ValueError: there are no points, an interval is reversed, or the noise is negative.

    >>> task = sample_sinusoid(jax.random.key(0), shots=10, queries=5)
    >>> task.support.x.shape, task.query.y.shape, bool(abs(task.query.y).max() <= 5)
    ((10, 1), (5, 1), True)

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Chelsea Finn, Pieter Abbeel,
    Sergey Levine, 2017, arXiv:1703.03400, section 5.1).
    """
    check_family(shots, queries, {"amplitude": amplitude, "phase": phase, "x": x}, noise)
    a_key, p_key, x_key, e_key = jax.random.split(key, 4)
    a, p = uniform(a_key, amplitude), uniform(p_key, phase)
    points = uniform(x_key, x, (shots + queries, 1))
    task = noisy_task(e_key, points, a * jnp.sin(points - p), shots=shots, noise=noise)
    return with_keys(task, key)


def uniform(key: Array, interval: tuple[float, float], shape: tuple[int, ...] = ()) -> Array:
    """Draw float32 numbers of a shape uniformly from [low, high).

    >>> float(uniform(jax.random.key(0), (2.0, 2.0)))
    2.0
    """
    return jax.random.uniform(key, shape, minval=interval[0], maxval=interval[1])


def noisy_task(key: Array, x: Array, y: Array, *, shots: int, noise: float) -> Task:
    """Add e ~ N(0, noise^2) to y, and divide the points into a support and a query set.

    Args:
        key: the random key of the noise. It is not in the task; `with_keys` adds the task's keys.
        x, y: [S + Q, 1] inputs and values of the function.
        shots: S; the first S points are the support set.
        noise: standard deviation of e; 0 for none.

    >>> noisy_task(jax.random.key(0), jnp.ones((3, 1)), jnp.ones((3, 1)), shots=1, noise=0).query.y
    Array([[1.],
           [1.]], dtype=float32)
    """
    values = y + noise * jax.random.normal(key, y.shape)
    return Task(Batch(x[:shots], values[:shots]), Batch(x[shots:], values[shots:]))


def check_family(
    shots: int, queries: int, intervals: dict[str, tuple[float, float]], noise: float
) -> None:
    """Reject numbers from which no task can be drawn.

    Args:
        shots, queries: points in the support and in the query set.
        intervals: name -> (low, high).
        noise: a standard deviation.

    Raises:
        ValueError: there are no points, an interval is reversed, or the noise is negative.

    >>> check_family(1, 1, {"x": (-5.0, 5.0)}, 0.0)
    """
    if min(shots, queries) < 1:
        raise ValueError(
            f"got shots={shots} and queries={queries}, expected at least 1 of each; raise them."
        )
    for name, (low, high) in intervals.items():
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(
                f"got {name}=({low}, {high}), expected finite low <= high; correct the bounds."
            )
    if not noise >= 0 or math.isinf(noise):
        raise ValueError(
            f"got noise={noise}, expected a finite standard deviation of at least 0; correct it."
        )

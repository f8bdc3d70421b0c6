"""Families of functions to regress: named samplers that make tasks from a key alone."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jmeta.core import Task
from jmeta.data._functions import check_family, noisy_task, sample_sinusoid, uniform
from jmeta.data._gaussian import sample_gaussian_process
from jmeta.data._keys import with_keys

Interval = tuple[float, float]


def sample_harmonic(
    key: Array,
    *,
    shots: int,
    queries: int,
    frequency: Interval = (5.0, 7.0),
    phase: Interval = (0.0, 2 * math.pi),
    centre: Interval = (-4.0, 4.0),
    noise: float = 0.1,
) -> Task:
    """Draw a sum of two sines: y = a1 sin(w x + b1) + a2 sin(2 w x + b2) + e, e ~ N(0, noise^2).

    a1, a2 ~ N(0, 1); w, b1 and b2 are uniform on their intervals. A task sees a window of the
    function: x ~ N(m, 1) with m uniform on `centre`. The distributions are the paper's; the
    default noise is this toolkit's.

    Args:
        key: a JAX random key.
        shots, queries: points in the support and in the query set.
        frequency, phase, centre: (low, high) of w, of b1 and b2 in radians, and of m.
        noise: standard deviation of the targets' noise; 0 for none.

    Returns:
        Task with x and y float32 [shots, 1] and [queries, 1], and a key in each set.

    Raises:
        ValueError: there are no points, an interval is reversed, or the noise is negative.

    >>> sample_harmonic(jax.random.key(0), shots=10, queries=5).support.y.shape
    (10, 1)

    Uncertainty in Multitask Transfer Learning (Alexandre Lacoste et al., 2018, arXiv:1806.07528).
    """
    intervals = {"frequency": frequency, "phase": phase, "centre": centre}
    check_family(shots, queries, intervals, noise)
    a_key, w_key, b_key, m_key, x_key, e_key = jax.random.split(key, 6)
    a = jax.random.normal(a_key, (2,))
    w, b = uniform(w_key, frequency), uniform(b_key, phase, (2,))
    x = uniform(m_key, centre) + jax.random.normal(x_key, (shots + queries, 1))
    y = a[0] * jnp.sin(w * x + b[0]) + a[1] * jnp.sin(2 * w * x + b[1])
    return with_keys(noisy_task(e_key, x, y, shots=shots, noise=noise), key)


def sample_sinusoid_or_line(
    key: Array,
    *,
    shots: int,
    queries: int,
    amplitude: Interval = (0.1, 5.0),
    phase: Interval = (0.0, math.pi),
    slope: Interval = (-3.0, 3.0),
    intercept: Interval = (-3.0, 3.0),
    x: Interval = (-5.0, 5.0),
    noise: float = 0.3,
) -> Task:
    """Draw a sine or a line: y = A sin(x - p) + e or y = a x + b + e, e ~ N(0, noise^2).

    Both are equally likely, and a few points may fit either, so a task is ambiguous. All numbers
    are uniform on their intervals.

    Args:
        key: a JAX random key.
        shots, queries: points in the support and in the query set.
        amplitude, phase: (low, high) of A and of p in radians, for sines.
        slope, intercept: (low, high) of a and b, for lines.
        x: (low, high) of the inputs.
        noise: standard deviation of the targets' noise; 0 for none.

    Returns:
        Task with x and y float32 [shots, 1] and [queries, 1], and a key in each set.

    Raises:
        ValueError: there are no points, an interval is reversed, or the noise is negative.

    >>> sample_sinusoid_or_line(jax.random.key(0), shots=10, queries=5).query.x.shape
    (5, 1)

    Probabilistic Model-Agnostic Meta-Learning (Chelsea Finn, Kelvin Xu, Sergey Levine, 2018,
    arXiv:1806.02817).
    """
    sines = {"amplitude": amplitude, "phase": phase, "x": x}
    check_family(shots, queries, {**sines, "slope": slope, "intercept": intercept}, noise)
    keys = jax.random.split(key, 7)
    big, p, a, b = map(uniform, keys[:4], (amplitude, phase, slope, intercept))
    points = uniform(keys[4], x, (shots + queries, 1))
    sine = jax.random.bernoulli(keys[5])
    y = jnp.where(sine, big * jnp.sin(points - p), a * points + b)
    return with_keys(noisy_task(keys[6], points, y, shots=shots, noise=noise), key)


def sample_step(
    key: Array,
    *,
    shots: int,
    queries: int,
    switches: int = 3,
    switch: Interval = (-2.5, 2.5),
    levels: tuple[float, float] = (-1.0, 1.0),
    x: Interval = (-5.0, 5.0),
    noise: float = math.sqrt(0.05),
) -> Task:
    """Draw a step function: y = levels[n(x) mod 2] + e, with e ~ N(0, noise^2).

    n(x) is the number of switching points left of x. The function starts at the first level and
    jumps to the other one at each switching point. The switching points are uniform on their
    interval. The defaults are those of the paper's code.

    Args:
        key: a JAX random key.
        shots, queries: points in the support and in the query set.
        switches: the number of switching points, at least 1.
        switch: (low, high) of the switching points.
        levels: the value left of all switching points, and the other value.
        x: (low, high) of the inputs.
        noise: standard deviation of the targets' noise; 0 for none.

    Returns:
        Task with x and y float32 [shots, 1] and [queries, 1], and a key in each set.

    Raises:
        ValueError: there are no points or switches, an interval is reversed, or the noise is
            negative.

    >>> task = sample_step(jax.random.key(0), shots=10, queries=5, noise=0)
    >>> sorted({abs(y) for y in task.support.y[:, 0].tolist()})
    [1.0]

    Meta-Learning Priors for Efficient Online Bayesian Regression (James Harrison, Apoorva Sharma,
    Marco Pavone, 2018, arXiv:1807.08912).
    """
    check_family(shots, queries, {"switch": switch, "x": x}, noise)
    if switches < 1:
        raise ValueError(f"got switches={switches}, expected at least 1; raise switches.")
    s_key, x_key, e_key = jax.random.split(key, 3)
    points = uniform(x_key, x, (shots + queries, 1))
    passed = points > uniform(s_key, switch, (1, switches))  # [S + Q, switches]
    odd = jnp.sum(passed, axis=1, keepdims=True) % 2 == 1
    y = jnp.where(odd, levels[1], levels[0]).astype(points.dtype)
    return with_keys(noisy_task(e_key, points, y, shots=shots, noise=noise), key)


def sample_damped(
    key: Array,
    *,
    shots: int,
    queries: int,
    amplitude: Interval = (0.1, 5.0),
    damping: Interval = (0.1, 0.5),
    frequency: Interval = (1.0, 3.0),
    phase: Interval = (0.0, 2 * math.pi),
    x: Interval = (0.0, 10.0),
    noise: float = 0.0,
) -> Task:
    """Draw a damped oscillation: y = A exp(-d x) sin(w x + p) + e, with e ~ N(0, noise^2).

    y is the displacement of an underdamped spring x seconds after its release. A, d, w, p and
    every x are uniform on their intervals. The intervals are this toolkit's own, except that of A,
    which is the sinusoid's.

    Args:
        key: a JAX random key.
        shots, queries: points in the support and in the query set.
        amplitude, damping, frequency, phase: (low, high) of A, of d in 1/s, of w in radians per
            second, and of p in radians.
        x: (low, high) of the inputs in seconds. Below 0 the oscillation grows.
        noise: standard deviation of the targets' noise; 0 for none.

    Returns:
        Task with x and y float32 [shots, 1] and [queries, 1], and a key in each set.

    Raises:
        ValueError: there are no points, an interval is reversed, or the noise is negative.

    >>> task = sample_damped(jax.random.key(0), shots=10, queries=5)
    >>> bool((abs(task.support.y) <= 5 * jnp.exp(-0.1 * task.support.x)).all())
    True
    """
    intervals = {"amplitude": amplitude, "damping": damping, "frequency": frequency}
    check_family(shots, queries, {**intervals, "phase": phase, "x": x}, noise)
    keys = jax.random.split(key, 6)
    a, d, w, p = map(uniform, keys[:4], (amplitude, damping, frequency, phase))
    points = uniform(keys[4], x, (shots + queries, 1))
    y = a * jnp.exp(-d * points) * jnp.sin(w * points + p)
    return with_keys(noisy_task(keys[5], points, y, shots=shots, noise=noise), key)


FAMILIES: dict[str, Callable[..., Task]] = {  # name -> sample(key, *, shots, queries)
    "sinusoid": sample_sinusoid,
    "harmonic": sample_harmonic,
    "sinusoid-or-line": sample_sinusoid_or_line,
    "step": sample_step,
    "damped": sample_damped,
    "gp": sample_gaussian_process,
}
FORMULAS: dict[str, str] = {  # name -> a description of its tasks, with the default intervals
    "sinusoid": "y = A sin(x - p), A in 0.1..5, p in 0..pi, x in -5..5",
    "harmonic": "y = a1 sin(w x + b1) + a2 sin(2 w x + b2), a ~ N(0, 1), w in 5..7, noise 0.1",
    "sinusoid-or-line": "a sinusoid or y = a x + b, equally likely, a and b in -3..3, noise 0.3",
    "step": "-1 or 1, with 3 switching points in -2.5..2.5, x in -5..5, noise variance 0.05",
    "damped": "y = A exp(-d x) sin(w x + p), A in 0.1..5, d in 0.1..0.5, w in 1..3, x in 0..10",
    "gp": "Gaussian process, length in 0.1..0.6, deviation in 0.1..1, x in -2..2, noise 0.02",
}

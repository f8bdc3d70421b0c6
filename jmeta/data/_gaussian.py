"""Gaussian processes: kernels, tasks drawn from a process, and exact regression."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jmeta.core import Batch, Task
from jmeta.core._numbers import product
from jmeta.data._functions import check_family, uniform
from jmeta.data._keys import with_keys

Kernel = Callable[[Array, Array], Array]  # [N, D], [M, D] -> covariances [N, M]


class Posterior(NamedTuple):
    """What a Gaussian process predicts of the function at M inputs."""

    mean: Array  # [M, 1]
    variance: Array  # [M, 1], of the function itself; add noise^2 for a new target's
    noise: Array  # [], the noise that was assumed: the given one, or the least that rounding allows


def squared_exponential(
    left: Array, right: Array, *, length: float | Array = 1.0, scale: float | Array = 1.0
) -> Array:
    """k(x, x') = scale^2 exp(-|x - x'|^2 / (2 length^2)): [N, D], [M, D] -> [N, M].

    >>> float(squared_exponential(jnp.zeros((1, 1)), jnp.zeros((1, 1)), scale=2.0)[0, 0])
    4.0
    """
    return scale**2 * jnp.exp(-0.5 * _squares(left / length, right / length))


def matern(
    left: Array, right: Array, *, length: float | Array = 1.0, scale: float | Array = 1.0
) -> Array:
    """Matern 5/2: k = scale^2 (1 + s + s^2 / 3) exp(-s), s = sqrt(5) |x - x'| / length.

    Draws are twice differentiable, where those of the squared exponential are infinitely so.
    Shapes [N, D], [M, D] -> [N, M].

    >>> float(matern(jnp.zeros((1, 1)), jnp.zeros((1, 1)), scale=2.0)[0, 0])
    4.0
    """
    square = 5 * _squares(left / length, right / length)
    apart = square > 0  # the root has no derivative at 0
    s = jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)
    return scale**2 * (1 + s + s**2 / 3) * jnp.exp(-s)


def periodic(
    left: Array,
    right: Array,
    *,
    length: float | Array = 1.0,
    scale: float | Array = 1.0,
    period: float | Array = 1.0,
) -> Array:
    """k(x, x') = scale^2 exp(-2 sum_d sin^2(pi (x_d - x'_d) / period) / length^2).

    Shapes [N, D], [M, D] -> [N, M]. To sample with another period, give
    `kernel=partial(periodic, period=2.0)`.

    >>> float(periodic(jnp.zeros((1, 1)), jnp.full((1, 1), 3.0)).round(3)[0, 0])
    1.0

    Introduction to Gaussian Processes (David MacKay, 1998, section 5).
    """
    turns = [
        2 * jnp.pi * x / period for x in (left, right)
    ]  # each coordinate becomes a point on a circle
    circles = [jnp.concatenate([jnp.cos(a), jnp.sin(a)], axis=-1) for a in turns]
    return squared_exponential(*circles, length=length, scale=scale)


def sample_gaussian_process(
    key: Array,
    *,
    shots: int,
    queries: int,
    kernel: Callable[..., Array] = squared_exponential,
    length: tuple[float, float] = (0.1, 0.6),
    scale: tuple[float, float] = (0.1, 1.0),
    x: tuple[float, float] = (-2.0, 2.0),
    noise: float = 0.02,
) -> Task:
    """Draw a function of a Gaussian process: y ~ N(0, K + noise^2 I), K = k(x, x).

    Support and query targets are drawn jointly, as L z, where L is the Cholesky factor of the
    covariance and z ~ N(0, I). The kernel's length and scale and every x are uniform on their
    intervals. A task has one length and one scale.

    Args:
        key: a JAX random key.
        shots, queries: points in the support and in the query set.
        kernel: `kernel(left, right, length=, scale=)`, such as `squared_exponential`, `matern` or
            `periodic`.
        length, scale, x: (low, high) of the kernel's length scale, above 0, of its standard
            deviation, at least 0, and of the inputs.
        noise: standard deviation of the targets' noise. Because of rounding, the factorisation
            needs some: for 100 points at least 0.7% of the scale and for 400 points 1.4%; a
            smaller noise is raised to that.

    Returns:
        Task with x and y float32 [shots, 1] and [queries, 1], and a key in each set.

    Raises:
        ValueError: there are no points, an interval is reversed, the length may be 0, or the scale
            or the noise is negative.

    >>> sample_gaussian_process(jax.random.key(0), shots=10, queries=5).support.y.shape
    (10, 1)

    Conditional Neural Processes (Marta Garnelo et al., 2018, arXiv:1807.01613); Attentive Neural
    Processes (Hyunjik Kim et al., 2019, arXiv:1901.05761), whose code has these intervals.
    """
    check_family(shots, queries, {"length": length, "scale": scale, "x": x}, noise)
    if length[0] <= 0 or scale[0] < 0:
        raise ValueError(
            f"got length={length} and scale={scale}, expected lengths above 0 and scales of at "
            "least 0; raise the lower bounds."
        )
    l_key, s_key, x_key, z_key = jax.random.split(key, 4)
    chosen = partial(kernel, length=uniform(l_key, length), scale=uniform(s_key, scale))
    points = uniform(x_key, x, (shots + queries, 1))
    factor = jnp.linalg.cholesky(_with_noise(chosen(points, points), noise))
    values = product(factor, jax.random.normal(z_key, points.shape))
    support = Batch(points[:shots], values[:shots])
    return with_keys(Task(support, Batch(points[shots:], values[shots:])), key)


def gaussian_process_posterior(
    kernel: Kernel, support: Batch, x: Array, noise: float | Array
) -> Posterior:
    """Exact Gaussian-process regression with a known kernel and a prior mean of 0.

        mean     = k(x, X) (k(X, X) + noise^2 I)^-1 Y
        variance = diag k(x, x) - diag k(x, X) (k(X, X) + noise^2 I)^-1 k(X, x)

    No other prediction of a task from `sample_gaussian_process` with that kernel is better.

    Args:
        kernel: covariances of two sets of inputs, e.g. `partial(squared_exponential, length=0.4)`.
        support: X [S, D] and Y [S, 1].
        x: [M, D] the inputs to predict at.
        noise: standard deviation of the noise in Y. A noise that the factorisation cannot resolve
            is raised: its square to 4 S ε times the largest k(x, x), with ε of the dtype.

    Returns:
        Posterior(mean [M, 1], variance [M, 1] of the function, without noise, and the noise [] that
        was used).

    Raises:
        ValueError: the inputs or the targets have other shapes.

    >>> support = Batch(jnp.zeros((1, 1)), jnp.ones((1, 1)))
    >>> found = gaussian_process_posterior(squared_exponential, support, jnp.zeros((1, 1)), 1.0)
    >>> round(float(found.mean[0, 0]), 3), round(float(found.variance[0, 0]), 3)
    (0.5, 0.5)

    Gaussian Processes for Machine Learning (Carl Edward Rasmussen, Christopher Williams, 2006,
    algorithm 2.1).
    """
    shapes = support.x.shape, support.y.shape, x.shape
    if [len(shape) for shape in shapes] != [2, 2, 2] or shapes[0][1] != shapes[2][1]:
        raise ValueError(
            f"got support x {list(shapes[0])}, support y {list(shapes[1])} and x {list(shapes[2])}"
            ", expected [S, D], [S, 1] and [M, D]; give every array two axes."
        )
    covariance = kernel(support.x, support.x)
    factor = jnp.linalg.cholesky(_with_noise(covariance, noise))
    across = kernel(support.x, x)  # [S, M]
    solve = partial(jax.scipy.linalg.solve_triangular, factor, lower=True)
    half = solve(across)
    prior = jax.vmap(lambda point: kernel(point[None], point[None])[0, 0])(x)
    variance = jnp.maximum(prior - jnp.sum(half**2, axis=0), 0)
    used = jnp.sqrt(_resolved(covariance, noise))
    return Posterior(product(half.T, solve(support.y)), variance[:, None], used)


def _squares(left: Array, right: Array) -> Array:
    """|x - x'|^2 of all pairs. From differences it is exactly symmetric, and 0 between equals."""
    return jnp.sum((left[:, None, :] - right[None, :, :]) ** 2, axis=-1)


def _with_noise(covariance: Array, noise: float | Array) -> Array:
    """K + noise^2 I, where noise^2 is raised to what the Cholesky factorisation needs."""
    eye = jnp.eye(len(covariance), dtype=covariance.dtype)
    return covariance + _resolved(covariance, noise) * eye


def _resolved(covariance: Array, noise: float | Array) -> Array:
    """noise^2, or if that is less: 4 rounding errors per point, and where K is 0 the least normal
    number."""
    limits = jnp.finfo(covariance.dtype)
    rounding = 4 * len(covariance) * limits.eps * jnp.max(jnp.diagonal(covariance))
    return jnp.maximum(noise**2, jnp.maximum(rounding, limits.tiny))

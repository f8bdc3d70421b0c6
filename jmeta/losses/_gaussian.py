"""Normal distributions as predictions: their likelihood and their divergence."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core._types import Scalar


class Gaussian(NamedTuple):
    """Independent normal distributions, or equally weighted samples of such predictions.

    Arrays [Q, D] are one prediction. Arrays [Q, L, D] are L samples, each of which is a joint
    prediction for all queries.
    """

    mean: jax.Array
    scale: jax.Array  # standard deviation > 0


def log_density(outputs: Gaussian, targets: jax.Array) -> jax.Array:
    """log N(y; μ, σ²) summed over the last axis: [..., D], [..., D] -> [...].

    >>> round(float(log_density(Gaussian(jnp.zeros(1), jnp.ones(1)), jnp.zeros(1))), 4)
    -0.9189
    """
    z = (targets - outputs.mean) / outputs.scale
    return -jnp.sum(z**2 / 2 + jnp.log(outputs.scale) + math.log(2 * math.pi) / 2, -1)


def gaussian_nll(outputs: Gaussian, targets: jax.Array) -> Scalar:
    """The negative log likelihood per query, in nats.

        one prediction   −(1/Q) Σ_q log N(y_q; μ_q, σ_q²)
        L samples        −(1/Q) log (1/L) Σ_l Π_q N(y_q; μ_ql, σ_ql²)

    With samples of a latent variable this is the usual bound on the negative log likelihood, which
    becomes tight for many samples.

    Args:
        outputs: mean and scale [Q, D] or [Q, L, D], in the units of the targets.
        targets: [Q, D].

    Returns:
        The loss [].

    Raises:
        ValueError: the shapes are others.

    >>> outputs = Gaussian(jnp.zeros((2, 1)), jnp.ones((2, 1)))
    >>> round(float(gaussian_nll(outputs, jnp.zeros((2, 1)))), 4)
    0.9189
    """
    shape = outputs.mean.shape
    if outputs.scale.shape != shape or targets.shape != (*shape[:1], *shape[-1:]):
        raise ValueError(
            f"gaussian_nll expects mean and scale [Q, D] or [Q, L, D] and targets [Q, D], but got "
            f"{shape}, {outputs.scale.shape} and {targets.shape}; use jax.vmap for a "
            "batch of tasks."
        )
    if len(shape) == 2:
        return -jnp.mean(log_density(outputs, targets))
    joint = log_density(outputs, targets[:, None]).sum(0)  # [L]
    return -(jax.nn.logsumexp(joint) - math.log(shape[1])) / shape[0]


def gaussian_kl(left: Gaussian, right: Gaussian) -> Scalar:
    """The Kullback-Leibler divergence KL(left ‖ right), summed over all entries, in nats.

        Σ log(σ_r/σ_l) + (σ_l² + (μ_l − μ_r)²) / 2 σ_r² − ½

    >>> float(gaussian_kl(Gaussian(jnp.ones(2), jnp.ones(2)), Gaussian(jnp.zeros(2), jnp.ones(2))))
    1.0
    """
    ratio = left.scale / right.scale
    z = (left.mean - right.mean) / right.scale
    return jnp.sum((ratio**2 + z**2 - 1) / 2 - jnp.log(ratio))

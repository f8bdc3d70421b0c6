"""Objectives: (outputs, targets) -> a scalar to descend. A label of -1 marks padding."""

import jax
import jax.numpy as jnp

from jmeta.core._types import Scalar


def masked_mean(values: jax.Array, mask: jax.Array) -> Scalar:
    """Mean of `values` [N] where `mask` [N] holds; 0 where nothing does.

    >>> float(masked_mean(jnp.array([1.0, 3.0, 9.0]), jnp.array([True, True, False])))
    2.0
    """
    total = jnp.sum(jnp.where(mask, values, 0))
    return total / jnp.maximum(jnp.sum(mask), 1)


def log_likelihood(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """log p(label) of each example under a softmax: [Q, N], [Q] -> [Q]; 0 where padded."""
    rows = jax.nn.log_softmax(logits, axis=-1)
    picked = jnp.take_along_axis(rows, jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return jnp.where(labels >= 0, picked, 0)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> Scalar:
    """Mean negative log likelihood: −(1/Q) Σ_q log softmax(logits_q)[label_q].

    Args:
        logits: [Q, N] unnormalised log probabilities.
        labels: [Q] integers in 0..N-1; -1 marks a padded example, which counts for nothing.

    Raises:
        ValueError: shapes or dtypes that are not those above.

    >>> round(float(cross_entropy(jnp.zeros((3, 4)), jnp.array([0, 1, -1]))), 4)
    1.3863
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"cross_entropy expects logits [Q, N] and labels [Q], but got {logits.shape} and "
            f"{labels.shape}; a batch of tasks goes through jax.vmap."
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"cross_entropy expects integer labels, but got {labels.dtype}; "
            "for real-valued targets use mean_squared_error."
        )
    return -masked_mean(log_likelihood(logits, labels), labels >= 0)


def mean_squared_error(outputs: jax.Array, targets: jax.Array) -> Scalar:
    """(1/QD) Σ |output − target|².

    Args:
        outputs: [Q, D] predictions.
        targets: [Q, D] values, in the same units.

    Raises:
        ValueError: the shapes differ (nothing is broadcast).

    >>> float(mean_squared_error(jnp.ones((2, 1)), jnp.zeros((2, 1))))
    1.0
    """
    if outputs.shape != targets.shape:
        raise ValueError(
            f"mean_squared_error expects equal shapes, but got outputs {outputs.shape} and "
            f"targets {targets.shape}; reshape one of them."
        )
    return jnp.mean(jnp.square(outputs - targets))


def relation_error(logits: jax.Array, labels: jax.Array) -> Scalar:
    """Mean over queries of Σ_n (σ(r_{q,n}) − 1[y_q = n])²: the paper's loss.

    Args:
        logits: [Q, N] relation logits; an absent class has score 0 and no error.
        labels: [Q] integers, -1 for padding.

    Learning to Compare: Relation Network for Few-Shot Learning (Sung, Yang, Zhang, Xiang, Torr,
    Hospedales, 2018, arXiv:1711.06025), equation 2.

    >>> float(relation_error(jnp.zeros((1, 2)), jnp.array([0])))
    0.5
    """
    truth = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return masked_mean(jnp.sum((jax.nn.sigmoid(logits) - truth) ** 2, -1), labels >= 0)

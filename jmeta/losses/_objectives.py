"""Objectives to minimise: (outputs, targets) -> scalar. A label of -1 marks padding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta.core._labels import in_range, one_hot, require_range
from jmeta.core._types import Scalar


def masked_mean(values: jax.Array, mask: jax.Array) -> Scalar:
    """The mean of `values` where `mask`, of the same shape, is true; 0 if it is true nowhere.

    >>> float(masked_mean(jnp.array([1.0, 3.0, 9.0]), jnp.array([True, True, False])))
    2.0
    """
    total = jnp.sum(jnp.where(mask, values, 0))
    return total / jnp.maximum(jnp.sum(mask), 1)


def log_likelihood(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """log p(label) of each example under a softmax: [Q, N], [Q] -> [Q]; 0 for padding.

    A label that is out of range makes the value and its gradient NaN.

    >>> [round(x, 4) for x in log_likelihood(jnp.zeros((2, 2)), jnp.array([1, -1])).tolist()]
    [-0.6931, 0.0]
    """
    rows = jax.nn.log_softmax(logits, axis=-1)
    ways = logits.shape[-1]
    index = jnp.clip(labels, 0, ways - 1)[..., None]
    picked = jnp.take_along_axis(rows, index, axis=-1)[..., 0]
    poison = jnp.where(in_range(labels, ways), 1, jnp.nan).astype(picked.dtype)
    return jnp.where(labels == -1, 0, picked * poison)


def require_arrays(outputs: Any, targets: Any, *, of: str) -> None:
    """Refuse outputs and targets that are not arrays.

    Raises:
        ValueError: one of them has no shape and dtype.

    >>> require_arrays(jnp.ones(2), jnp.ones(2), of="cross_entropy")
    """
    if not all(hasattr(value, "ndim") and hasattr(value, "dtype") for value in (outputs, targets)):
        raise ValueError(
            f"{of} expects arrays of outputs and targets, but got {type(outputs).__name__} and "
            f"{type(targets).__name__}; make arrays of lists with jnp.asarray, and check the order "
            "of the arguments."
        )


def require_labels(labels: Any, *, of: str) -> None:
    """Refuse labels that are not integers.

    Raises:
        ValueError: the labels have another dtype.

    >>> require_labels(jnp.array([0, 1]), of="cross_entropy")
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{of} expects integer labels, but got {labels.dtype}; number named classes 0 to N - 1 "
            "(numpy.unique with return_inverse does that), and for real-valued targets use "
            "mean_squared_error."
        )


def cross_entropy(logits: jax.Array, labels: jax.Array) -> Scalar:
    """The mean negative log likelihood of the labels, in nats.

        −(1/Q) Σ_q log softmax(logits_q)[label_q]

    Args:
        logits: [Q, N] unnormalised log probabilities.
        labels: [Q] integers in 0..N-1; -1 marks a padded example, which is left out of the mean.

    Returns:
        The loss [].

    Raises:
        ValueError: the shapes or dtypes are others, or a label is out of range. Where the values
            are traced, a label out of range makes the loss and its gradient NaN.

    >>> round(float(cross_entropy(jnp.zeros((3, 4)), jnp.array([0, 1, -1]))), 4)
    1.3863
    """
    require_arrays(logits, labels, of="cross_entropy")
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"cross_entropy expects logits [Q, N] and labels [Q], but got {logits.shape} and "
            f"{labels.shape}; use jax.vmap for a batch of tasks."
        )
    require_labels(labels, of="cross_entropy")
    require_range(labels, logits.shape[-1], of="cross_entropy")
    return -masked_mean(log_likelihood(logits, labels), labels != -1)


def mean_squared_error(outputs: jax.Array, targets: jax.Array) -> Scalar:
    """The mean squared error.

        (1/QD) Σ |output − target|²

    Args:
        outputs: [Q, D] predictions.
        targets: [Q, D] values, in the same units.

    Returns:
        The loss [], in squared units of the targets.

    Raises:
        ValueError: the shapes differ; arrays are not broadcast.

    >>> float(mean_squared_error(jnp.ones((2, 1)), jnp.zeros((2, 1))))
    1.0
    """
    require_arrays(outputs, targets, of="mean_squared_error")
    if outputs.shape != targets.shape:
        raise ValueError(
            f"mean_squared_error expects equal shapes, but got outputs {outputs.shape} and "
            f"targets {targets.shape}; reshape one of them."
        )
    return jnp.mean(jnp.square(outputs - targets))


def relation_error(logits: jax.Array, labels: jax.Array) -> Scalar:
    """The squared error of relation scores, summed over classes: the loss of Relation Networks.

        (1/Q) Σ_q Σ_n (σ(r_qn) − 1[y_q = n])²

    Args:
        logits: r [Q, N], relation logits. An absent class has score 0 and adds no error.
        labels: [Q] integers, -1 for padding.

    Returns:
        The loss [].

    Raises:
        ValueError: the arguments are not arrays, the labels are not integers, or one is out of
            range.

    Learning to Compare: Relation Network for Few-Shot Learning (Sung, Yang, Zhang, Xiang, Torr,
    Hospedales, 2018, arXiv:1711.06025), equation 2.

    >>> float(relation_error(jnp.zeros((1, 2)), jnp.array([0])))
    0.5
    """
    require_arrays(logits, labels, of="relation_error")
    require_labels(labels, of="relation_error")
    require_range(labels, logits.shape[-1], of="relation_error")
    truth = one_hot(labels, logits.shape[-1], logits.dtype)
    return masked_mean(jnp.sum((jax.nn.sigmoid(logits) - truth) ** 2, -1), labels != -1)

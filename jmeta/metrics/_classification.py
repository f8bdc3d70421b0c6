"""Metrics of one episode from logits [Q, N] and labels [Q], where -1 marks padding."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core._types import Scalar
from jmeta.losses._objectives import cross_entropy, masked_mean


def accuracy(logits: jax.Array, labels: jax.Array) -> Scalar:
    """The fraction of examples whose largest logit is that of their label, in 0..1.

    >>> round(float(accuracy(jnp.eye(3), jnp.array([0, 1, 0]))), 4)
    0.6667
    """
    return masked_mean((jnp.argmax(logits, -1) == labels).astype(logits.dtype), labels >= 0)


def confusion(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The confusion matrix [N, N] of counts: rows are labels, columns are predictions.

    Padded examples are left out.

    >>> confusion(jnp.eye(2), jnp.array([0, 0])).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    ways = logits.shape[-1]
    truth = jax.nn.one_hot(labels, ways, dtype=logits.dtype)  # all zeros where the label is -1
    guess = jax.nn.one_hot(jnp.argmax(logits, -1), ways, dtype=logits.dtype)
    return truth.T @ guess


class Scores(NamedTuple):
    """The scores of each class."""

    precision: jax.Array  # [N] in 0..1
    recall: jax.Array  # [N] in 0..1
    f1: jax.Array  # [N] in 0..1
    support: jax.Array  # [N] the number of examples with this label


def class_scores(logits: jax.Array, labels: jax.Array) -> Scores:
    """Precision, recall and F1 score of every class.

        P = tp / (tp + fp),   R = tp / (tp + fn),   F1 = 2 tp / (2 tp + fp + fn)

    A ratio of 0/0 is taken to be 0, as in scikit-learn.

    >>> class_scores(jnp.eye(2), jnp.array([0, 0])).recall.tolist()
    [0.5, 0.0]
    """
    table = confusion(logits, labels)
    hits, guessed, present = jnp.diagonal(table), table.sum(0), table.sum(1)
    return Scores(
        precision=hits / jnp.maximum(guessed, 1),
        recall=hits / jnp.maximum(present, 1),
        f1=2 * hits / jnp.maximum(guessed + present, 1),
        support=present,
    )


def macro(scores: Scores) -> Scores:
    """The mean of each score over the present or predicted classes, and the summed `support`.

    >>> float(macro(class_scores(jnp.eye(2), jnp.array([0, 1]))).f1)
    1.0
    """
    seen = (scores.support > 0) | (scores.precision > 0)
    return Scores(
        precision=masked_mean(scores.precision, seen),
        recall=masked_mean(scores.recall, seen),
        f1=masked_mean(scores.f1, seen),
        support=scores.support.sum(),
    )


def negative_log_likelihood(logits: jax.Array, labels: jax.Array) -> Scalar:
    """The mean of −log p(label), in nats: the same number as `jmeta.losses.cross_entropy`.

    >>> round(float(negative_log_likelihood(jnp.zeros((1, 2)), jnp.array([0]))), 4)
    0.6931
    """
    return cross_entropy(logits, labels)


def calibration_error(logits: jax.Array, labels: jax.Array, *, bins: int = 15) -> Scalar:
    """The expected calibration error, in 0..1.

        Σ_b (n_b / Q) |accuracy_b − confidence_b|

    Args:
        logits: [Q, N]. Pool the queries of many episodes, since each bin needs many examples.
        labels: [Q] integers, -1 for padding.
        bins: the number of bins of equal width into which the confidences in 0..1 are sorted.

    On Calibration of Modern Neural Networks (Guo, Pleiss, Sun, Weinberger, 2017,
    arXiv:1706.04599).

    >>> float(calibration_error(jnp.zeros((4, 2)), jnp.array([0, 0, 0, 0])))
    0.5
    """
    valid = labels >= 0
    confidence = jnp.max(jax.nn.softmax(logits, -1), -1)
    gap = (jnp.argmax(logits, -1) == labels).astype(logits.dtype) - confidence
    index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    sums = jax.ops.segment_sum(jnp.where(valid, gap, 0), index, num_segments=bins)
    return jnp.abs(sums).sum() / jnp.maximum(valid.sum(), 1)

"""Metrics of one episode, from logits [Q, N] and labels [Q] (-1 = padding)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core._types import Scalar
from jmeta.losses._objectives import cross_entropy, masked_mean


def accuracy(logits: jax.Array, labels: jax.Array) -> Scalar:
    """Share of examples whose largest logit is their label's, in 0..1.

    >>> round(float(accuracy(jnp.eye(3), jnp.array([0, 1, 0]))), 4)
    0.6667
    """
    return masked_mean((jnp.argmax(logits, -1) == labels).astype(logits.dtype), labels >= 0)


def confusion(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Counts [N, N]: row = label, column = prediction; padded examples are left out.

    >>> confusion(jnp.eye(2), jnp.array([0, 0])).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    ways = logits.shape[-1]
    truth = jax.nn.one_hot(labels, ways, dtype=logits.dtype)  # all zeros where the label is -1
    guess = jax.nn.one_hot(jnp.argmax(logits, -1), ways, dtype=logits.dtype)
    return truth.T @ guess


class Scores(NamedTuple):
    """Per-class scores, each [N] in 0..1; `support` [N] is the number of examples."""

    precision: jax.Array
    recall: jax.Array
    f1: jax.Array
    support: jax.Array


def class_scores(logits: jax.Array, labels: jax.Array) -> Scores:
    """Precision, recall and F1 of every class; 0 where a ratio is 0/0, as scikit-learn has it.

        P = tp / (tp + fp),   R = tp / (tp + fn),   F1 = 2 tp / (2 tp + fp + fn)

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
    """Mean of each score over the classes that are present or predicted; `support` is summed.

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
    """Mean −log p(label) in nats; the same as `cross_entropy`.

    >>> round(float(negative_log_likelihood(jnp.zeros((1, 2)), jnp.array([0]))), 4)
    0.6931
    """
    return cross_entropy(logits, labels)


def calibration_error(logits: jax.Array, labels: jax.Array, *, bins: int = 15) -> Scalar:
    """Expected calibration error: Σ_b (n_b / Q) |accuracy_b − confidence_b|.

    Args:
        logits: [Q, N]; pool the queries of many episodes, since a bin needs many examples.
        labels: [Q].
        bins: equal bins of confidence over 0..1.

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

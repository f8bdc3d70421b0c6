"""Metrics of one episode from logits [Q, N] and labels [Q], where -1 marks padding."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core._labels import in_range, one_hot, require_range
from jmeta.core._numbers import at_least_float32
from jmeta.core._types import Scalar
from jmeta.losses._objectives import cross_entropy, masked_mean


def _checked(logits: jax.Array, labels: jax.Array, *, of: str) -> jax.Array:
    """The logits in float32 or wider, after a check of the labels."""
    require_range(labels, logits.shape[-1], of=of)
    return at_least_float32(logits)


def predicted_class(logits: jax.Array) -> jax.Array:
    """The class with the largest logit: [..., N] -> [...]; -1 for a row that contains a NaN.

    >>> predicted_class(jnp.array([[0.0, 1.0], [jnp.nan, 1.0]])).tolist()
    [1, -1]
    """
    return jnp.where(jnp.isnan(logits).any(-1), -1, jnp.argmax(logits, -1))


def accuracy(logits: jax.Array, labels: jax.Array) -> Scalar:
    """The fraction of examples whose largest logit is that of their label, in 0..1.

    An example with a NaN among its logits is never right.

    Raises:
        ValueError: a label is out of range. Where the values are traced, the result is NaN.

    >>> round(float(accuracy(jnp.eye(3), jnp.array([0, 1, 0]))), 4)
    0.6667
    """
    logits = _checked(logits, labels, of="accuracy")
    right = (predicted_class(logits) == labels).astype(logits.dtype)
    known = in_range(labels, logits.shape[-1])
    return masked_mean(jnp.where(known, right, jnp.nan), labels != -1)


def confusion(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The confusion matrix [N, N] of counts: rows are labels, columns are predictions.

    Padded examples are left out, and so are those with a NaN among their logits, which predict no
    class.

    Raises:
        ValueError: a label is out of range. Where the values are traced, the counts are NaN.

    >>> confusion(jnp.eye(2), jnp.array([0, 0])).tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    logits = _checked(logits, labels, of="confusion")
    ways = logits.shape[-1]
    truth = one_hot(labels, ways, logits.dtype)  # all zeros where the label is -1
    guess = one_hot(predicted_class(logits), ways, logits.dtype)
    return truth.T @ guess


class Scores(NamedTuple):
    """The scores of each class."""

    precision: jax.Array  # [N] in 0..1
    recall: jax.Array  # [N] in 0..1
    f1: jax.Array  # [N] in 0..1
    support: jax.Array  # [N] the number of examples with this label
    predicted: jax.Array  # [N] the number of examples that were predicted to be of this class


def class_scores(logits: jax.Array, labels: jax.Array) -> Scores:
    """Precision, recall and F1 score of every class.

        P = tp / (tp + fp),   R = tp / (tp + fn),   F1 = 2 tp / (2 tp + fp + fn)

    A ratio of 0/0 is taken to be 0, as in scikit-learn.

    >>> class_scores(jnp.eye(2), jnp.array([0, 0])).recall.tolist()
    [0.5, 0.0]
    """
    table = confusion(logits, labels)
    hits, guessed = jnp.diagonal(table), table.sum(0)
    present = one_hot(labels, logits.shape[-1], table.dtype).sum(0)  # with those that are NaN
    return Scores(
        precision=_ratio(hits, guessed),
        recall=_ratio(hits, present),
        f1=_ratio(2 * hits, guessed + present),
        support=present,
        predicted=guessed,
    )


def _ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    """Quotients of counts: 0 for 0/0, and NaN where a count is NaN."""
    return part / jnp.where(whole == 0, 1, whole)


def macro(scores: Scores) -> Scores:
    """The mean of each score over the classes that are present or predicted, and summed counts.

    The means are those of scikit-learn's `average="macro"`.

    >>> float(macro(class_scores(jnp.eye(2), jnp.array([0, 1]))).f1)
    1.0
    """
    seen = (scores.support != 0) | (scores.predicted != 0)  # a NaN is seen, and stays one
    return Scores(
        precision=masked_mean(scores.precision, seen),
        recall=masked_mean(scores.recall, seen),
        f1=masked_mean(scores.f1, seen),
        support=scores.support.sum(),
        predicted=scores.predicted.sum(),
    )


def negative_log_likelihood(logits: jax.Array, labels: jax.Array) -> Scalar:
    """The mean of −log p(label), in nats: the same number as `jmeta.losses.cross_entropy`.

    >>> round(float(negative_log_likelihood(jnp.zeros((1, 2)), jnp.array([0]))), 4)
    0.6931
    """
    return cross_entropy(at_least_float32(logits), labels)


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
    logits = _checked(logits, labels, of="calibration_error")
    valid = labels != -1
    confidence = jnp.max(jax.nn.softmax(logits, -1), -1)
    guess = predicted_class(logits)
    gap = (guess == labels).astype(logits.dtype) - confidence
    index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    sums = jax.ops.segment_sum(jnp.where(valid, gap, 0), index, num_segments=bins)
    error = jnp.abs(sums).sum() / jnp.maximum(valid.sum(), 1)
    broken = valid & ((guess == -1) | ~in_range(labels, logits.shape[-1]))
    return jnp.where(broken.any(), jnp.nan, error)

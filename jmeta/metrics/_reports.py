"""Reports: means of metrics over episodes, with 95% confidence intervals."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta.core._labels import require_range
from jmeta.core._types import Outputs, Scalar, Targets
from jmeta.losses._gaussian import Gaussian, gaussian_nll
from jmeta.losses._objectives import mean_squared_error
from jmeta.metrics import _classification as metrics

Values = jax.Array | np.ndarray


class Estimate(NamedTuple):
    """A mean over episodes with its confidence interval."""

    mean: float
    ci95: float  # half the width of the 95% interval, 1.96 σ/√n
    episodes: int  # n


def estimate(values: Values) -> Estimate:
    """The mean of per-episode values [E] and its 95% interval, 1.96 σ/√E.

    σ is the sample standard deviation (with E − 1 in the denominator). If the value of one episode
    is infinite, so is the mean, and the interval is NaN.

    >>> estimate(jnp.array([0.0, 1.0, 0.0, 1.0])).mean
    0.5
    """
    host = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore"):
        mean = host.mean()
        spread = host.std(ddof=1) / np.sqrt(host.size) if host.size > 1 else 0.0
    return Estimate(float(mean), float(1.96 * spread), int(host.size))


def paired(left: Values, right: Values) -> Estimate:
    """The mean of left − right over the same episodes [E], with the interval of the differences.

    The interval is 1.96 σ/√E, and σ is the sample standard deviation of the differences.

    Raises:
        ValueError: the two have different numbers of episodes.

    >>> paired(jnp.array([1.0, 2.0]), jnp.array([0.5, 1.5])).ci95
    0.0
    """
    if left.shape != right.shape:
        raise ValueError(
            f"a paired comparison needs the same episodes, but got {left.shape} and {right.shape}."
        )
    with np.errstate(invalid="ignore"):  # infinity less infinity
        return estimate(np.asarray(left, np.float64) - np.asarray(right, np.float64))


Report = Callable[[Outputs, Targets], dict[str, Estimate]]


def classification_each(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    """Accuracy, macro precision, recall and F1, and NLL (in nats) of every episode: name -> [E].

    Args:
        logits: [E, Q, N].
        labels: [E, Q] integers, -1 for padding.

    >>> logits, labels = jnp.stack([jnp.eye(2)] * 2), jnp.array([[0, 1], [0, 0]])
    >>> classification_each(logits, labels)["accuracy"].tolist()
    [1.0, 0.5]
    """
    found = _classified(logits, labels)
    return {name: found[name] for name in ("accuracy", "precision", "recall", "f1", "nll")}


@jax.jit  # one program, where eager operations would be a hundred small ones
def _classified(logits: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    scores = jax.vmap(lambda z, y: metrics.macro(metrics.class_scores(z, y)))(logits, labels)
    return {
        "accuracy": jax.vmap(metrics.accuracy)(logits, labels),
        "precision": scores.precision,
        "recall": scores.recall,
        "f1": scores.f1,
        "nll": jax.vmap(metrics.negative_log_likelihood)(logits, labels),
    }


def classification_report(logits: jax.Array, labels: jax.Array) -> dict[str, Estimate]:
    """Accuracy, macro precision, recall and F1, NLL (in nats) and ECE of many episodes.

    Each is a mean over episodes, except for the calibration error (ECE). That is computed from the
    queries of all episodes together, with an interval from ten groups of episodes.

    Args:
        logits: [E, Q, N].
        labels: [E, Q] integers, -1 for padding.

    Raises:
        ValueError: the labels are no integers, or one is out of range.

    >>> logits, labels = jnp.stack([jnp.eye(2)] * 2), jnp.array([[0, 1], [0, 0]])
    >>> classification_report(logits, labels)["accuracy"].mean
    0.75
    """
    if np.issubdtype(getattr(labels, "dtype", np.int32), np.floating):
        raise ValueError(
            f"classification_report got targets of dtype {labels.dtype}; for real-valued targets "
            "use regression_report or gaussian_report (report= of evaluate)."
        )
    each = classification_each(logits, labels)
    means = {name: estimate(values) for name, values in each.items()}
    return {**means, "ece": _pooled_calibration(logits, labels)}


def _pooled_calibration(logits: jax.Array, labels: jax.Array, groups: int = 10) -> Estimate:
    """The ECE of all queries, with an interval from `groups` groups of episodes."""
    require_range(labels, logits.shape[-1], of="classification_report")
    episodes = logits.shape[0]
    flat, per_group = _calibrated(logits, labels, min(groups, episodes))
    return Estimate(float(flat), estimate(per_group).ci95, episodes)


@partial(jax.jit, static_argnums=2)
def _calibrated(logits: jax.Array, labels: jax.Array, groups: int) -> tuple[jax.Array, jax.Array]:
    """The ECE of all queries, and that of each group of episodes."""
    size, ways = len(logits) // groups, logits.shape[-1]
    flat = metrics.calibration_error(logits.reshape(-1, ways), labels.reshape(-1))
    per_group = jax.vmap(metrics.calibration_error)(
        logits[: groups * size].reshape(groups, -1, ways),
        labels[: groups * size].reshape(groups, -1),
    )
    return flat, per_group


def regression_report(outputs: jax.Array, targets: jax.Array) -> dict[str, Estimate]:
    """The mean squared error of many episodes, in squared units of the targets.

    Args:
        outputs: [E, Q, D].
        targets: [E, Q, D].

    >>> regression_report(jnp.ones((3, 2, 1)), jnp.zeros((3, 2, 1)))["mse"].mean
    1.0
    """
    return {"mse": estimate(_squared_errors(outputs, targets))}


@jax.jit
def _squared_errors(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    outputs, targets = (metrics.at_least_float32(values) for values in (outputs, targets))
    return jax.vmap(mean_squared_error)(outputs, targets)


def gaussian_each(outputs: Gaussian, targets: jax.Array) -> dict[str, jax.Array]:
    """The NLL per query (in nats) and the squared error of the mean, of every episode: name -> [E].

    Args:
        outputs: mean and scale [E, Q, D] or [E, Q, L, D] (see `jmeta.losses.Gaussian`).
        targets: [E, Q, D].

    >>> outputs = Gaussian(jnp.zeros((2, 3, 1)), jnp.ones((2, 3, 1)))
    >>> gaussian_each(outputs, jnp.zeros((2, 3, 1)))["mse"].tolist()
    [0.0, 0.0]
    """
    found = _gaussian_scores(outputs, targets)
    return {name: found[name] for name in ("nll", "mse")}


@jax.jit
def _gaussian_scores(outputs: Gaussian, targets: jax.Array) -> dict[str, jax.Array]:
    outputs, targets = jax.tree.map(metrics.at_least_float32, (outputs, targets))

    def error(outputs: Gaussian, targets: jax.Array) -> Scalar:
        mean = outputs.mean if outputs.mean.ndim == 2 else outputs.mean.mean(1)
        return jnp.mean((mean - targets) ** 2)

    return {
        "nll": jax.vmap(gaussian_nll)(outputs, targets),
        "mse": jax.vmap(error)(outputs, targets),
    }


def gaussian_report(outputs: Gaussian, targets: jax.Array) -> dict[str, Estimate]:
    """The negative log likelihood per query (in nats) and the squared error of the mean.

    Args:
        outputs: mean and scale [E, Q, D] or [E, Q, L, D] (see `jmeta.losses.Gaussian`).
        targets: [E, Q, D].

    >>> outputs = Gaussian(jnp.zeros((2, 3, 1)), jnp.ones((2, 3, 1)))
    >>> round(gaussian_report(outputs, jnp.zeros((2, 3, 1)))["nll"].mean, 4)
    0.9189
    """

    each = gaussian_each(outputs, targets)
    return {name: estimate(values) for name, values in each.items()}

"""Evaluation on fixed, key-determined episodes, with 95% intervals."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jmeta.core import metrics
from jmeta.core.objectives import mean_squared_error
from jmeta.core.types import Learner, Outputs, Params, Targets, Task

Sample = Callable[[jax.Array], Task]  # key -> one task


class Estimate(NamedTuple):
    """A mean over episodes and the half-width of its 95% interval, 1.96 σ/√n."""

    mean: float
    ci95: float
    episodes: int


def estimate(values: jax.Array) -> Estimate:
    """Mean and 1.96 σ/√n of per-episode values [E] (σ with n − 1 in the denominator).

    One episode that diverged makes the mean infinite, and the interval NaN.

    >>> estimate(jnp.array([0.0, 1.0, 0.0, 1.0])).mean
    0.5
    """
    host = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore"):
        spread = host.std(ddof=1) / np.sqrt(host.size) if host.size > 1 else 0.0
    return Estimate(float(host.mean()), float(1.96 * spread), int(host.size))


def paired(left: jax.Array, right: jax.Array) -> Estimate:
    """Mean of left − right over identical episodes [E], with the paired interval.

    Raises:
        ValueError: the two have different numbers of episodes.

    >>> paired(jnp.array([1.0, 2.0]), jnp.array([0.5, 1.5])).ci95
    0.0
    """
    if left.shape != right.shape:
        raise ValueError(
            f"a paired comparison needs the same episodes, but got {left.shape} and {right.shape}."
        )
    return estimate(left - right)


def predictions(
    learner: Learner,
    params: Params,
    sample: Sample,
    key: jax.Array,
    *,
    episodes: int,
    chunk: int = 1,
    mesh: Mesh | None = None,
) -> tuple[Outputs, Targets]:
    """Adapt to and predict `episodes` tasks: episode i is `sample(fold_in(key, i))`.

    Pure, so it can be jitted whole, with the pool that `sample` reads among the arguments.

    Args:
        learner: adapts and predicts.
        params: meta-parameters θ.
        sample: draws one task from a key.
        key: determines all episodes; the same key gives another learner the same ones.
        episodes: how many, E.
        chunk: episodes computed together on a device.
        mesh: share the episodes among its devices.

    Returns:
        Query outputs [E, Q, ...] and query targets [E, Q, ...].
    """

    def many(params: Params, keys: jax.Array) -> tuple[Outputs, Targets]:
        if mesh is not None:  # else the inner gradients would be summed over the devices
            params = lax.pcast(params, mesh.axis_names, to="varying")

        def one(key: jax.Array) -> tuple[Outputs, Targets]:
            task = sample(key)
            adapted = learner.adapt(params, task.support)
            return learner.predict(adapted, task.query.x), task.query.y

        return lax.map(one, keys, batch_size=chunk if chunk > 1 else None)

    devices = 1 if mesh is None else mesh.size
    count = -(-episodes // devices) * devices  # the surplus is dropped below
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))
    if mesh is not None:
        (axis,) = mesh.axis_names
        many = jax.shard_map(many, mesh=mesh, in_specs=(P(), P(axis)), out_specs=P(axis))
    return jax.tree.map(lambda leaf: leaf[:episodes], many(params, keys))


def classification_report(logits: jax.Array, labels: jax.Array) -> dict[str, Estimate]:
    """Accuracy, macro precision, recall and F1, NLL (nats) and ECE of [E, Q, N], [E, Q].

    Each is a mean over episodes, but for the ECE, which pools all queries; its interval is over
    ten equal groups of episodes.
    """
    scores = jax.vmap(lambda z, y: metrics.macro(metrics.class_scores(z, y)))(logits, labels)
    nll = jax.vmap(metrics.negative_log_likelihood)(logits, labels)
    return {
        "accuracy": estimate(jax.vmap(metrics.accuracy)(logits, labels)),
        "precision": estimate(scores.precision),
        "recall": estimate(scores.recall),
        "f1": estimate(scores.f1),
        "nll": estimate(nll),
        "ece": _pooled_calibration(logits, labels),
    }


def _pooled_calibration(logits: jax.Array, labels: jax.Array, groups: int = 10) -> Estimate:
    """ECE over all queries, with an interval from `groups` groups of episodes."""
    flat = metrics.calibration_error(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
    episodes = logits.shape[0]
    if episodes < 2 * groups:
        return Estimate(float(flat), 0.0, episodes)
    size = episodes // groups
    per_group = jax.vmap(metrics.calibration_error)(
        logits[: groups * size].reshape(groups, -1, logits.shape[-1]),
        labels[: groups * size].reshape(groups, -1),
    )
    return Estimate(float(flat), estimate(per_group).ci95, episodes)


def regression_report(outputs: jax.Array, targets: jax.Array) -> dict[str, Estimate]:
    """Mean squared error over episodes: [E, Q, D], [E, Q, D]."""
    return {"mse": estimate(jax.vmap(mean_squared_error)(outputs, targets))}


Report = Callable[[Outputs, Targets], dict[str, Estimate]]


def evaluate(
    learner: Learner,
    params: Params,
    sample: Sample,
    key: jax.Array,
    *,
    episodes: int = 1000,
    report: Report = classification_report,
    chunk: int = 1,
    mesh: Mesh | None = None,
) -> dict[str, Estimate]:
    """Mean and 95% interval of every metric over fixed episodes.

    The one-line way; a loop that evaluates often jits `predictions` once and calls the report.

    Args:
        learner, params, sample, key, episodes, chunk, mesh: see `predictions`. Fewer than 600
            episodes are for a look, not for a reported number.
        report: `classification_report` or `regression_report`, or your own.

    Returns:
        metric name -> `Estimate(mean, ci95, episodes)`.

    Raises:
        ValueError: `episodes` is less than 1.
    """
    if episodes < 1:
        raise ValueError(f"evaluate expects episodes >= 1, but got {episodes}.")
    run = jax.jit(
        lambda params, key: predictions(
            learner, params, sample, key, episodes=episodes, chunk=chunk, mesh=mesh
        )
    )
    return report(*run(params, key))

"""Evaluation on fixed, key-determined episodes, with 95% intervals."""

import jax
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jmeta.core import Learner, Outputs, Params, Sample, Targets
from jmeta.core._devices import episode_keys, only_axis
from jmeta.core._losses import require_learner
from jmeta.core._padding import marked
from jmeta.metrics import Estimate, Report, classification_report


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
        mesh: share the episodes among its devices; it has one axis.

    Raises:
        ValueError: the mesh has several axes, or the first argument is not a learner.

    Returns:
        Query outputs [E, Q, ...] and query targets [E, Q, ...].
    """
    require_learner(learner, of="predictions")

    def many(params: Params, keys: jax.Array) -> tuple[Outputs, Targets]:
        if mesh is not None:  # else the inner gradients would be summed over the devices
            params = lax.pcast(params, mesh.axis_names, to="varying")

        def one(key: jax.Array) -> tuple[Outputs, Targets]:
            task = sample(key)
            adapted = learner.adapt(params, task.support)
            return learner.predict(adapted, marked(learner, task.query)), task.query.y

        return lax.map(one, keys, batch_size=chunk if chunk > 1 else None)

    keys = episode_keys(key, episodes, mesh)
    if mesh is not None:
        axis = only_axis(mesh, of="predictions")
        many = jax.shard_map(many, mesh=mesh, in_specs=(P(), P(axis)), out_specs=P(axis))
    return jax.tree.map(lambda leaf: leaf[:episodes], many(params, keys))


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

    A second call with the same learner and the same sampler object compiles nothing. A pool that
    the sampler closes over becomes a constant of the program; for a large one, jit `predictions`
    with the pool among its arguments.

    Args:
        learner, params, sample, key, episodes, chunk, mesh: see `predictions`. Fewer than 600
            episodes are for a look, not for a reported number.
        report: from `jmeta.metrics`: `classification_report`, `regression_report`,
            `gaussian_report`, or your own.

    Returns:
        metric name -> `Estimate(mean, ci95, episodes)`.

    Raises:
        ValueError: `episodes` is less than 1, the mesh has several axes, or the first argument is
            not a learner.
    """
    require_learner(learner, of="evaluate")
    if episodes < 1:
        raise ValueError(f"evaluate expects episodes >= 1, but got {episodes}.")
    predict = _predictions(learner, params, sample, key, episodes=episodes, chunk=chunk, mesh=mesh)
    return report(*predict)


# Compiled once for the same learner and sampler, whatever the parameters and the key.
_predictions = jax.jit(
    predictions, static_argnames=("learner", "sample", "episodes", "chunk", "mesh")
)

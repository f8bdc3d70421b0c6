"""The compiled programs of a run: many outer updates a dispatch, and validation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jmeta import core
from jmeta.core import Learner, Outputs, Params, Targets, TrainState
from jmeta.train import build
from jmeta.runs import _processes as processes
from jmeta.train.build import Model, Problem
from jmeta.train.config import Config


class Parts(NamedTuple):
    """What a run is made of."""

    config: Config
    built: Problem
    net: Model
    mesh: Mesh


def parts(config: Config, *, root: str | None = None) -> Parts:
    """Load the data, build the network, choose the devices.

    Raises:
        ValueError: impossible options or a missing set.
    """
    built = build.problem(config, root)
    return Parts(config, built, build.model(config, built), mesh_for(config))


class Keys(NamedTuple):
    """One key for each use of randomness, all from the seed."""

    init: jax.Array
    train: jax.Array
    val: jax.Array
    test: jax.Array
    statistics: jax.Array


def keys(seed: int) -> Keys:
    """The keys of a seed.

    >>> len(keys(0))
    5
    """
    return Keys(*jax.random.split(jax.random.key(seed), 5))


def mesh_for(config: Config) -> Mesh:
    """As many devices as divide the tasks of an update, or as many as the config asks for.

    Raises:
        ValueError: more devices than there are, or a number that does not divide the tasks.
    """
    if config.devices is not None:
        if config.tasks % config.devices:
            raise ValueError(
                f"{config.tasks} tasks an update cannot be shared among {config.devices} devices; "
                "choose tasks as a multiple of devices."
            )
        return core.task_mesh(config.devices)
    each, count = jax.local_device_count(), jax.process_count()
    fitting = [n for n in range(1, each + 1) if config.tasks % (n * count) == 0]
    if not fitting:
        raise ValueError(
            f"{config.tasks} tasks an update cannot be shared among {count} processes; "
            "choose tasks as a multiple of them."
        )
    return core.task_mesh(max(fitting) * count)


def chunk_for(config: Config) -> int | None:
    """Tasks differentiated at once on a device: one on a CPU if the network convolves."""
    alone = jax.default_backend() == "cpu" and config.network != "mlp"
    return config.chunk or (1 if alone else None)


def initial_state(parts: Parts) -> TrainState:
    """The state before the first update, replicated over the mesh."""
    tx = build.outer_optimizer(parts.config)

    learner = build.eval_learner(parts.config, parts.net)

    def initial(key: jax.Array) -> TrainState:
        return core.train_state(learner.init(parts.net.init(key)), tx)

    everywhere = NamedSharding(parts.mesh, PartitionSpec())
    return jax.jit(initial, out_shardings=everywhere)(keys(parts.config.seed).init)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Put a copy of every leaf on each device of the mesh; the processes hold the same values.

    Several processes do not compare them leaf by leaf, as `jax.device_put` would: that is a
    program and a message for each shape.
    """
    everywhere = NamedSharding(mesh, PartitionSpec())
    if not processes.several():
        return jax.device_put(tree, everywhere)

    def spread(leaf: Any) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, everywhere, lambda index: host[index])

    return jax.tree.map(spread, tree)


Dispatch = Any  # a jitted function, see `dispatch`; it can be lowered and compiled ahead


def dispatch(parts: Parts) -> Dispatch:
    """`(state, pool, *, length) -> (state, (losses [length], scores [length]))`, jitted.

    Update n draws task i from the key fold_in(fold_in(train key, n), i), inside the scan and on
    the device that differentiates it; so a resumed run sees the tasks it would have seen.
    """
    config, built = parts.config, parts.built
    tx = build.outer_optimizer(config)
    base = keys(config.seed).train

    def updates(state: TrainState, pool: Any, *, length: int) -> tuple:
        def body(state: TrainState, _: None) -> tuple[TrainState, tuple]:
            loss = build.train_loss(config, parts.net, state.step)

            def of_key(params: Params, key: Any) -> tuple[jax.Array, jax.Array]:
                task = built.sample_train(key, pool)
                value, outputs = loss(params, task)
                return value, built.score(outputs, task.query.y)

            update = core.step(of_key, tx, chunk=chunk_for(config), mesh=parts.mesh)
            key = jax.random.fold_in(base, state.step)
            tasks = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(config.tasks))
            state, aux = update(state, tasks)
            return state, (aux.loss, jnp.mean(aux.outputs))

        return lax.scan(body, state, length=length)

    everywhere = NamedSharding(parts.mesh, PartitionSpec())  # so that each process can read it
    return jax.jit(updates, static_argnames="length", out_shardings=everywhere)


Predict = Callable[[Params, Any, jax.Array], tuple[Outputs, Targets]]


def predict(parts: Parts, learner: Learner, *, episodes: int) -> Predict:
    """`(params, pool, key) -> (outputs [E, Q, ...], targets [E, Q, ...])`, jitted; NumPy arrays."""
    chunk = chunk_for(parts.config) or min(episodes, 64)

    def run(params: Params, pool: Any, key: jax.Array) -> tuple[Outputs, Targets]:
        def sample(key: jax.Array) -> core.Task:
            return parts.built.sample_eval(key, pool)

        return core.predictions(
            learner, params, sample, key, episodes=episodes, chunk=chunk, mesh=parts.mesh
        )

    everywhere = NamedSharding(parts.mesh, PartitionSpec())  # so that each process can read it
    compiled = jax.jit(run, out_shardings=everywhere)
    return lambda params, pool, key: jax.tree.map(np.asarray, compiled(params, pool, key))

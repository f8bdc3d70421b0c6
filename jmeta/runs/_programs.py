"""The compiled programs of a run: many outer updates a dispatch, and validation."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jmeta import core, predictions
from jmeta.core import Learner, Outputs, Params, Targets, TrainState
from jmeta.core._meta_gradient import default_chunk
from jmeta.core._step import Share
from jmeta.experiments import (
    Domain,
    Episode,
    Experiment,
    Method,
    Network,
    Points,
    completed,
    example_task,
    open_experiment,
)
from jmeta.experiments._experiment import Origin
from jmeta.experiments._parts import names_in
from jmeta.runs import _processes as processes
from jmeta.runs import _room as room
from jmeta.runs._devices import shared
from jmeta.runs._start import begun


class Parts(NamedTuple):
    """What a run is made of."""

    experiment: Experiment  # completed
    domain: Domain
    method: Method
    mesh: Mesh
    share: Share  # what the devices of the mesh share

    @property
    def tasks_each(self) -> int:
        """The tasks of an update that a device differentiates."""
        tasks = self.experiment.budget.tasks
        return tasks // self.mesh.size if self.share == "tasks" else tasks

    @property
    def network(self) -> Network:
        """The network of the experiment, which has been chosen."""
        assert self.experiment.network is not None
        return self.experiment.network

    @property
    def episode(self) -> Episode | Points:
        """The numbers of an episode, which have been chosen."""
        assert self.experiment.episode is not None
        return self.experiment.episode


def parts(
    experiment: Experiment, *, root: str | None = None, origin: Origin | None = None
) -> Parts:
    """Load the data, build the learner and its loss, choose the devices.

    Args:
        experiment: what is run.
        root: where data sets are looked for; None for `$JMETA_DATA`.
        origin: what a stored run says of its data; None for a new run.

    Raises:
        ValueError: options that cannot be satisfied, a missing set, or `jax.disable_jit`.
    """
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        raise ValueError(
            "runs are compiled, but jax.disable_jit is on; unset JAX_DISABLE_JIT, and debug a "
            "learner by calling its functions."
        )
    whole = completed(experiment, root, origin=origin)
    domain, method = open_experiment(whole, root, origin=origin)
    return Parts(whole, domain, method, *shared(whole, domain))


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
    return _keys(seed)


@partial(jax.jit, static_argnames="seed")  # one program, and not one for each of its steps
def _keys(seed: int) -> Keys:
    return Keys(*jax.random.split(jax.random.key(seed), 5))


def chunk_for(experiment: Experiment) -> int | None:
    """Tasks differentiated at once on a device: those asked for, or the default."""
    network = experiment.network
    convolves = network is not None and network.convolves
    return experiment.device.chunk or default_chunk(convolves=convolves)


def outer(experiment: Experiment) -> optax.GradientTransformation:
    """The outer optimizer."""
    return experiment.outer.transformation(experiment.budget.steps)


def initial_state(parts: Parts) -> TrainState:
    """The state before the first update, replicated over the mesh.

    Raises:
        ValueError: its arrays do not fit into memory, or there is nothing to learn; none of them
            has been made.
    """
    tx, task = outer(parts.experiment), example_task(parts.domain)

    def initial(key: jax.Array) -> TrainState:
        return core.train_state(parts.method.learner.init(key, task), tx)

    everywhere = NamedSharding(parts.mesh, PartitionSpec())
    made, key = jax.jit(initial, out_shardings=everywhere), keys(parts.experiment.budget.seed).init
    shapes = made.trace(key).out_info
    _require_learning(parts.experiment, shapes.params)
    leaves = jax.tree.leaves(shapes)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    what = "the parameters and the state of the outer optimizer need"
    advice = "choose a smaller network, or smaller examples"
    room.require(size * room.sharing(parts.mesh), parts.mesh, what=what, advice=advice)
    state, chosen = made(key), parts.experiment.outer
    if chosen.init_from is None:
        return state
    fresh = () if chosen.init_except is None else names_in(chosen.init_except, "init_except")
    params = begun(jax.device_get(state.params), chosen.init_from, without=fresh)
    return replicate(state._replace(params=params), parts.mesh)


def _require_learning(experiment: Experiment, params: Any) -> None:
    """Refuse updates of no parameters.

    Raises:
        ValueError: there are updates, and nothing that they could change.
    """
    if experiment.budget.steps and not jax.tree.leaves(params):
        assert experiment.network is not None
        raise ValueError(
            f"{experiment.algorithm.name} with network {experiment.network.name} has no parameters "
            "to learn; test it as it is with steps 0, or choose another network."
        )


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


def state_like(parts: Parts) -> TrainState:
    """The shapes and dtypes of the states of a run; nothing is computed, no weights are read."""
    tx, task = outer(parts.experiment), example_task(parts.domain)
    return jax.eval_shape(
        lambda key: core.train_state(parts.method.learner.init(key, task), tx), jax.random.key(0)
    )


Dispatch = Any  # a jitted function, see `dispatch`; it can be lowered and compiled ahead


def dispatch(parts: Parts) -> Dispatch:
    """`(state, pool, *, length) -> (state, (losses [length], scores [length]))`, jitted.

    Update n draws task i from the key fold_in(fold_in(train key, n), i), inside the scan and on
    the device that differentiates it; so a resumed run sees the tasks it would have seen.
    """
    experiment, domain = parts.experiment, parts.domain
    tx, tasks = outer(experiment), experiment.budget.tasks
    base = keys(experiment.budget.seed).train

    def updates(state: TrainState, pool: Any, *, length: int) -> tuple:
        def sample(key: jax.Array) -> core.Task:
            return domain.sample_train(key, pool)

        def body(state: TrainState, _: None) -> tuple[TrainState, tuple]:
            loss = core.scored(parts.method.loss(state.step), domain.score)
            chunk, mesh, share = chunk_for(experiment), parts.mesh, parts.share
            update = core.step(loss, tx, sample=sample, chunk=chunk, mesh=mesh, share=share)
            key = jax.random.fold_in(base, state.step)
            drawn = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(tasks))
            state, aux = update(state, drawn)
            return state, (aux.loss, jnp.mean(aux.outputs))

        return lax.scan(body, state, length=length)

    everywhere = NamedSharding(parts.mesh, PartitionSpec())  # so that each process can read it
    precise = experiment.device.traced(updates)
    return jax.jit(precise, static_argnames="length", out_shardings=everywhere)


class Predict:
    """`(params, pool, key) -> (outputs [E, Q, ...], targets [E, Q, ...])`, in NumPy arrays.

    Compiled once, and refused where there is no room for it, by `prepare` or at the first call.
    """

    def __init__(self, program: Dispatch, mesh: Mesh, *, what: str) -> None:
        self._program, self._mesh, self._what = program, mesh, what
        self._compiled: Any = None

    def prepare(self, params: Params, pool: Any, key: jax.Array) -> None:
        """Compile for arguments of these shapes.

        Raises:
            ValueError: more memory is needed than there is.
        """

        def compiled() -> Any:
            return room.fitting(self._program, self._mesh, params, pool, key, what=self._what)

        self._compiled = self._compiled or processes.together(compiled)

    def __call__(self, params: Params, pool: Any, key: jax.Array) -> tuple[Outputs, Targets]:
        self.prepare(params, pool, key)
        return jax.tree.map(np.asarray, self._compiled(params, pool, key))


def predict(parts: Parts, learner: Learner, *, episodes: int, what: str = "the test") -> Predict:
    """Predictions for episodes of test or validation classes.

    Args:
        parts: the run.
        learner: what predicts.
        episodes: how many.
        what: what they are for, as the subject of a sentence.
    """
    chunk = chunk_for(parts.experiment) or min(episodes, 64)

    def run(params: Params, pool: Any, key: jax.Array) -> tuple[Outputs, Targets]:
        def sample(key: jax.Array) -> core.Task:
            return parts.domain.sample_eval(key, pool)

        return predictions(
            learner, params, sample, key, episodes=episodes, chunk=chunk, mesh=parts.mesh
        )

    everywhere = NamedSharding(parts.mesh, PartitionSpec())  # so that each process can read it
    precise = parts.experiment.device.traced(run)
    return Predict(jax.jit(precise, out_shardings=everywhere), parts.mesh, what=what)

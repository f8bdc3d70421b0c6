"""Meta-training: the gradient of a loss over a batch of tasks, and the outer update."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jmeta.core._solvers import require_transformation
from jmeta.core._tree import leading_axis, learned_part, require_inexact, with_learned
from jmeta.core._types import Key, Loss, Outputs, Params, PyTree, Sample, Scalar


class Aux(NamedTuple):
    """What a step returns beside the new state."""

    loss: Scalar  # [] mean over tasks
    outputs: Outputs  # [T, Q, ...] query outputs, or what the loss returns instead


class TrainState(NamedTuple):
    """The state that meta-training carries from step to step."""

    params: Params
    opt_state: optax.OptState
    step: jax.Array  # [] int32, the number of updates made so far


MetaGradient = Callable[[Params, PyTree], tuple[Params, Aux]]  # (params, tasks [T]) -> ...
Step = Callable[[TrainState, PyTree], tuple[TrainState, Aux]]


def train_state(params: Params, tx: optax.GradientTransformation) -> TrainState:
    """The state before the first step.

    Collections that are not learned, such as the "batch_stats" of Flax's BatchNorm, stay in the
    parameters, and the optimizer does not see them.

    Args:
        params: meta-parameters, from `learner.init(key, task)`.
        tx: the outer optimizer.

    Raises:
        ValueError: a leaf of `params` is not a floating-point array, or `tx` is not an Optax
            transformation.

    >>> int(train_state({"w": jnp.ones(2)}, optax.adam(1e-3)).step)
    0
    """
    require_transformation(tx, of="train_state")
    require_inexact(params)
    return TrainState(params, tx.init(learned_part(params)), jnp.zeros((), jnp.int32))


def meta_gradient(
    loss: Loss | Callable[[Params, Any], tuple[Scalar, Outputs]], *, chunk: int | None = None
) -> MetaGradient:
    """The gradient of the mean loss over a batch of tasks.

        g = (1/T) Σ_t ∇L(θ, task_t)

    Args:
        loss: the loss of one task.
        chunk: the number of tasks differentiated at once. None takes all T under one `vmap`. A
            smaller number scans over T / chunk groups and adds up their gradients, with the
            memory of one group. On a CPU, 1 is fastest for convolutional learners.

    Returns:
        `gradient(params, tasks) -> (gradient, Aux)`; `tasks` has a leading axis [T].

    Raises:
        ValueError: `loss` is not a function, or T is not a multiple of `chunk`.
    """
    if not callable(loss):
        raise ValueError(
            f"expected the loss of one task, loss(params, task), such as "
            f"jmeta.episodic(learner, objective), but got {type(loss).__name__}."
        )

    def whole(params: Params, tasks: PyTree) -> tuple[Scalar, Outputs]:
        losses, outputs = jax.vmap(loss, in_axes=(None, 0))(params, tasks)
        return jnp.mean(losses), outputs

    def single(params: Params, tasks: PyTree) -> tuple[Scalar, Outputs]:
        value, outputs = loss(params, jax.tree.map(lambda leaf: leaf[0], tasks))
        return value, jax.tree.map(lambda leaf: leaf[None], outputs)

    def gradient(params: Params, tasks: PyTree) -> tuple[Params, Aux]:
        count = leading_axis(tasks)
        size = count if chunk is None else chunk
        if size < 1 or count % size:
            raise ValueError(
                f"a batch of {count} tasks cannot be taken {size} at a time; "
                "choose a chunk that divides the number of tasks."
            )
        differentiate = jax.value_and_grad(single if size == 1 else whole, has_aux=True)
        if size == count:
            (value, outputs), grads = differentiate(params, tasks)
            return grads, Aux(value, outputs)
        return _accumulate(differentiate, params, tasks, count // size)

    return gradient


def _accumulate(
    differentiate: Callable, params: Params, tasks: PyTree, groups: int
) -> tuple[Params, Aux]:
    """The mean gradient over `groups` groups of tasks of equal size, in one scan."""

    def add(total: PyTree, group: PyTree) -> tuple[PyTree, tuple[Scalar, Outputs]]:
        (value, outputs), grads = differentiate(params, group)
        return jax.tree.map(jnp.add, total, grads), (value, outputs)

    grouped = jax.tree.map(lambda leaf: leaf.reshape(groups, -1, *leaf.shape[1:]), tasks)
    zeros = jax.tree.map(lambda leaf: leaf * 0, params)  # keeps the varying axes of `params`
    total, (values, outputs) = lax.scan(add, zeros, grouped)
    grads = jax.tree.map(lambda leaf: leaf / groups, total)
    return grads, Aux(
        jnp.mean(values), jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), outputs)
    )


def data_parallel(gradient: MetaGradient, mesh: Mesh) -> MetaGradient:
    """Share the tasks of a batch among all devices of a mesh, with one all-reduce for each call.

    Parameters are replicated. Each device differentiates its own T / devices tasks, and the
    gradients are averaged. The result equals that of a single device.

    Args:
        gradient: from `meta_gradient`.
        mesh: a mesh with one axis of any name and any number of devices.

    Returns:
        `gradient(params, tasks) -> (gradient, Aux)`, like that of `meta_gradient`.

    Raises:
        ValueError: the mesh has several axes, or T is not a multiple of its size.
    """
    axis = only_axis(mesh, of="data_parallel")

    def local(params: Params, tasks: PyTree) -> tuple[Params, Aux]:
        # Without this cast the inner gradients would be summed over the devices as well.
        params = lax.pcast(params, axis, to="varying")
        grads, aux = gradient(params, tasks)
        grads, value = lax.pmean((grads, aux.loss), axis)
        return grads, Aux(value, aux.outputs)

    specs: PyTree = (P(), Aux(P(), P(axis)))  # type: ignore[arg-type]
    sharded = jax.shard_map(local, mesh=mesh, in_specs=(P(), P(axis)), out_specs=specs)

    def parallel(params: Params, tasks: PyTree) -> tuple[Params, Aux]:
        count = leading_axis(tasks)
        if count % mesh.size:
            raise ValueError(
                f"a batch of {count} tasks cannot be shared among {mesh.size} devices; "
                "choose a number of tasks that is a multiple of the number of devices."
            )
        return sharded(params, tasks)

    return parallel


def only_axis(mesh: Mesh, *, of: str) -> str:
    """The name of the one axis of a mesh.

    Raises:
        ValueError: the mesh has several axes.

    >>> only_axis(task_mesh(1), of="predictions")
    'tasks'
    """
    if len(mesh.axis_names) != 1:
        raise ValueError(
            f"{of} expects a mesh with one axis, but got {mesh.axis_names}; "
            "make one with jmeta.task_mesh()."
        )
    return str(mesh.axis_names[0])


def episode_keys(key: Key, episodes: int, mesh: Mesh | None = None) -> jax.Array:
    """One key for each episode: key i is fold_in(key, i).

    Args:
        key: determines all episodes.
        episodes: E, the number of episodes.
        mesh: the devices that share the episodes. The number of keys is rounded up to a multiple
            of the number of devices, and the caller drops the surplus of the results.

    >>> episode_keys(jax.random.key(0), 3).shape
    (3,)
    """
    devices = 1 if mesh is None else mesh.size
    count = -(-episodes // devices) * devices
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))


def default_chunk(*, convolves: bool) -> int | None:
    """The `chunk` to use by default: 1 for convolutions on a CPU, None (all tasks) otherwise.

    On a CPU the arrays of one task fit into the cache, and `vmap` over tasks is slower.

    Args:
        convolves: whether the learner's network has convolutions.

    >>> default_chunk(convolves=False)
    """
    return 1 if convolves and jax.default_backend() == "cpu" else None


def task_mesh(devices: int | None = None) -> Mesh:
    """A mesh with the single axis "tasks".

    Args:
        devices: the number of devices, all by default. With several processes, each of them
            contributes the same number.

    Raises:
        ValueError: JAX sees fewer devices, or the number is not a multiple of the number of
            processes.

    >>> task_mesh(1).axis_names
    ('tasks',)
    """
    found = jax.devices()
    if devices is not None and not 1 <= devices <= len(found):
        raise ValueError(f"asked for {devices} devices, but JAX sees {len(found)}.")
    if (devices or 0) % jax.process_count():
        raise ValueError(
            f"{devices} devices cannot be divided among {jax.process_count()} processes; "
            "ask for a multiple of them, as every process takes part."
        )
    each = None if devices is None else devices // jax.process_count()
    numbers = range(jax.process_count())
    chosen = [d for n in numbers for d in [d for d in found if d.process_index == n][:each]]
    auto = (jax.sharding.AxisType.Auto,)  # explicit axes break vmapped convolutions
    return jax.make_mesh((len(chosen),), ("tasks",), axis_types=auto, devices=chosen)


def step(
    loss: Loss,
    tx: optax.GradientTransformation,
    *,
    sample: Sample | None = None,
    chunk: int | None = None,
    mesh: Mesh | None = None,
) -> Step:
    """One outer update, which can be the body of a `jax.lax.scan` over batches of tasks or keys.

        θ ← θ + tx((1/T) Σ_t ∇L(θ, task_t)),   task_t = sample(key_t)

    Args:
        loss: the loss of one task, such as that of `episodic` or `reptile`.
        tx: the outer optimizer.
        sample: draws one task from a key. With it, the update takes keys [T], and each device
            draws its own tasks, `chunk` at a time. Without it, the update takes a batch of tasks.
        chunk: the number of tasks differentiated at once (see `meta_gradient`).
        mesh: the devices that share the tasks (see `data_parallel`).

    Returns:
        `update(state, keys or tasks [T]) -> (state, Aux)`. It is not jitted; call
        `jax.jit(update)`.

    Raises:
        ValueError: the arguments are in another order, the batch cannot be divided by `chunk` or
            among the devices, or a single task was given instead of a batch.

    >>> loss = lambda params, task: (jnp.sum((params - task) ** 2), params)
    >>> tx = optax.sgd(0.5)
    >>> state, aux = step(loss, tx)(train_state(jnp.zeros(()), tx), jnp.array([1.0, 3.0]))
    >>> float(state.params), float(aux.loss)
    (2.0, 5.0)
    """
    require_transformation(tx, of="step")
    gradient = meta_gradient(loss if sample is None else _sampled(loss, sample), chunk=chunk)
    if mesh is not None:
        gradient = data_parallel(gradient, mesh)
    change = optax.with_extra_args_support(tx).update  # some transformations need the value

    def update(state: TrainState, tasks: PyTree) -> tuple[TrainState, Aux]:
        grads, aux = gradient(state.params, tasks)
        grads, params = learned_part(grads), learned_part(state.params)
        updates, opt_state = change(grads, state.opt_state, params, value=aux.loss)
        params = with_learned(state.params, optax.apply_updates(params, updates))
        return TrainState(params, opt_state, state.step + 1), aux

    return update


def _sampled(loss: Loss, sample: Sample) -> Callable[[Params, Key], tuple[Scalar, Outputs]]:
    """The same loss as a function of the key from which the task is drawn."""
    return lambda params, key: loss(params, sample(key))

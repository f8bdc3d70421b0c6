"""Several devices: meshes, and gradients whose tasks or examples are shared among devices."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P

from jmeta.core._meta_gradient import Aux, MetaGradient
from jmeta.core._sharing import EXAMPLES, examples_over
from jmeta.core._tree import leading_axis
from jmeta.core._types import Key, Params, PyTree


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
        raise ValueError(
            f"asked for {devices} devices, but JAX sees {len(found)}; ask for fewer, or set "
            "JAX_NUM_CPU_DEVICES on a CPU."
        )
    if (devices or 0) % jax.process_count():
        raise ValueError(
            f"{devices} devices cannot be divided among {jax.process_count()} processes; "
            "ask for a multiple of them, as every process takes part."
        )
    each = None if devices is None else devices // jax.process_count()
    numbers = range(jax.process_count())
    chosen = [d for n in numbers for d in [d for d in found if d.process_index == n][:each]]
    auto = (AxisType.Auto,)  # explicit axes break vmapped convolutions
    return jax.make_mesh((len(chosen),), ("tasks",), axis_types=auto, devices=chosen)


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
                "choose a number of tasks that is a multiple of the number of devices, or let them "
                'share the examples of each task (share="examples" of jmeta.step).'
            )
        return sharded(params, tasks)

    return parallel


def examples_parallel(gradient: MetaGradient, mesh: Mesh) -> MetaGradient:
    """Share the examples of each task among all devices of a mesh.

    This is for updates of few large tasks, such as the episode of a prototypical network or a batch
    of supervised training. Parameters are replicated. A network that is `by_example` computes N /
    devices examples on each device, with the moments of `jmeta.nn.Norm` over all of them; whatever
    else a learner does with the outputs, every device does. The result equals that of a single
    device up to the order of sums. A network computes all examples on each device if it is not
    `by_example`, if it draws random numbers, or if the devices do not divide N.

    Args:
        gradient: from `meta_gradient`.
        mesh: a mesh with one axis of any name and any number of devices.

    Returns:
        `gradient(params, tasks) -> (gradient, Aux)`, like that of `meta_gradient`.

    A function within the loss that is jitted or checkpointed by itself keeps the devices with which
    it was first traced; make another one for other devices.

    Raises:
        ValueError: the mesh has several axes, or it is called inside `jax.set_mesh`.

    >>> import jmeta, jmeta.nn
    >>> learner = jmeta.metric(jmeta.nn.MLP((8,), 4), jmeta.prototypical(2))
    >>> loss = jmeta.episodic(learner, jmeta.losses.cross_entropy)
    >>> batch = jmeta.core.Batch(jnp.ones((1, 4, 3)), jnp.array([[0, 0, 1, 1]]))
    >>> tasks = jmeta.Task(batch, batch)
    >>> params = learner.init(jax.random.key(0), jax.tree.map(lambda leaf: leaf[0], tasks))
    >>> shared = examples_parallel(jmeta.meta_gradient(loss), task_mesh())
    >>> round(float(jax.jit(shared)(params, tasks)[1].loss), 3)
    0.693
    """
    only_axis(mesh, of="examples_parallel")
    named = Mesh(mesh.devices, (EXAMPLES,), axis_types=(AxisType.Auto,))

    def parallel(params: Params, tasks: PyTree) -> tuple[Params, Aux]:
        around = jax.sharding.get_abstract_mesh()
        if not around.empty and around.axis_names != named.axis_names:
            raise ValueError(
                "examples cannot be shared inside jax.set_mesh, as they have a mesh of their own; "
                "leave it out, and give the mesh to jmeta.step or examples_parallel alone."
            )
        with examples_over(named):
            return gradient(params, tasks)

    return parallel if mesh.size > 1 else gradient


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

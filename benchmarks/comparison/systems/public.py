"""jmeta as its users write it: public functions only, and many updates in one dispatch."""

import jax

import jmeta
from comparison import recipes, workloads
from comparison.system import System, Weights
from comparison.workloads import Workload
from jmeta.core._meta_gradient import default_chunk


def build(workload: Workload) -> System:
    """One update is `jmeta.step`; many of them are one dispatch, as in `jmeta train`."""
    count, share = workloads.shareable(workload)
    devices = most_devices(count)
    mesh = jmeta.task_mesh(devices) if devices > 1 else None
    loss, tx = recipes.loss(workload), recipes.optimizer(workload)
    chunk = workload.chunk or default_chunk(convolves=workload.network != "mlp")
    update = jmeta.step(loss, tx, chunk=chunk, mesh=mesh, share=share)
    gradient = jax.jit(jmeta.meta_gradient(loss, chunk=chunk))

    @jax.jit
    def many(state: jmeta.TrainState, tasks: jmeta.Task, steps: int) -> jmeta.TrainState:
        return jax.lax.fori_loop(0, steps, lambda _, state: update(state, tasks)[0], state)

    place = jax.sharding.NamedSharding(mesh, jax.P()) if mesh else jax.devices()[0]
    spread = place
    if mesh and share == "tasks":
        spread = jax.sharding.NamedSharding(mesh, jax.P(*mesh.axis_names))
    held = [jax.device_put(jmeta.train_state(recipes.params(workload), tx), place)]
    tasks = jax.device_put(recipes.batch(workload), spread)

    def advance(steps: int) -> None:
        held[0] = jax.block_until_ready(many(held[0], tasks, steps))

    def meta_gradient() -> Weights:
        return recipes.weights(workload, gradient(*jax.device_get((held[0].params, tasks)))[0])

    return System(advance, meta_gradient, f"{devices} x {jax.devices()[0].device_kind}")


def most_devices(count: int) -> int:
    """The largest number of devices that divides a number.

    >>> most_devices(1)
    1
    """
    return max(n for n in range(1, jax.device_count() + 1) if count % n == 0)

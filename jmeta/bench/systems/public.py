"""jmeta as its users write it: public functions only, many updates a dispatch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jmeta
from jmeta import nn
from jmeta.bench import workloads
from jmeta.bench.system import RESNET_LAYERS, System, Weights, initial, shapes, widths
from jmeta.bench.workloads import Workload


def build(workload: Workload) -> System:
    """One update is `jmeta.step`; a round of them is one dispatch, as in `jmeta train`."""
    batch = workloads.tasks(workload)
    tasks = jmeta.Task(
        jmeta.Batch(jnp.asarray(batch.support_x), jnp.asarray(batch.support_y)),
        jmeta.Batch(jnp.asarray(batch.query_x), jnp.asarray(batch.query_y)),
    )
    devices = most_devices(workload.tasks)
    mesh = jmeta.task_mesh(devices) if devices > 1 else None
    loss, tx, chunk = _loss(workload), optax.adam(workload.outer_rate), _chunk(workload, devices)
    update = jmeta.step(loss, tx, chunk=chunk, mesh=mesh)
    gradient = jax.jit(jmeta.meta_gradient(loss, chunk=chunk))

    @jax.jit
    def many(state: jmeta.TrainState, tasks: jmeta.Task, steps: int) -> jmeta.TrainState:
        return jax.lax.fori_loop(0, steps, lambda _, state: update(state, tasks)[0], state)

    place = jax.sharding.NamedSharding(mesh, jax.P()) if mesh else jax.devices()[0]
    spread = jax.sharding.NamedSharding(mesh, jax.P(*mesh.axis_names)) if mesh else place
    held = [jax.device_put(jmeta.train_state(_params(workload), tx), place)]
    tasks = jax.device_put(tasks, spread)

    def advance(steps: int) -> None:
        held[0] = jax.block_until_ready(many(held[0], tasks, steps))

    def meta_gradient() -> Weights:
        return _weights(workload, gradient(*jax.device_get((held[0].params, tasks)))[0])

    return System(advance, meta_gradient, f"{devices} x {jax.devices()[0].device_kind}")


def most_devices(tasks: int) -> int:
    """The largest number of devices that divides the tasks.

    >>> most_devices(1)
    1
    """
    return max(n for n in range(1, jax.device_count() + 1) if tasks % n == 0)


def _chunk(workload: Workload, devices: int) -> int | None:
    """Tasks at once on a device: one on a CPU if the network convolves, else all."""
    alone = jax.default_backend() == "cpu" and workload.network != "mlp"
    return workload.chunk or (1 if alone else None)


def _loss(workload: Workload) -> jmeta.Loss:
    apply, rate, algorithm = _network(workload).apply, workload.inner_rate, workload.algorithm
    objective = jmeta.mean_squared_error if workload.image is None else jmeta.cross_entropy
    if algorithm == "protonet":
        return jmeta.episodic(jmeta.metric(apply, jmeta.prototypical(workload.ways)), objective)
    inner = optax.adam(rate, b1=0.0) if workload.inner_optimizer == "adam" else optax.sgd(rate)
    if algorithm == "fomaml":
        inner = optax.chain(jmeta.first_order(), inner)
    learner = jmeta.maml(apply, objective, jmeta.unrolled(inner, workload.inner_steps))
    return (jmeta.reptile if algorithm == "reptile" else jmeta.episodic)(learner, objective)


def _network(workload: Workload) -> nn.Conv4 | nn.MLP | nn.ResNet12:
    outputs = None if workload.algorithm == "protonet" else workload.ways
    if workload.network == "mlp":
        return nn.MLP((workload.filters, workload.filters), 1)
    if workload.network == "resnet12":
        return nn.ResNet12(outputs, widths=widths(workload))
    return nn.Conv4(outputs, filters=workload.filters, form="maxpool")


def _path(workload: Workload, name: str) -> list[str]:
    """Where a weight lies among the variables: "conv5.kernel" -> _Block_1, Conv_1, kernel."""
    layer, _, leaf = name.partition(".")
    kind, index = layer.rstrip("0123456789"), int(layer.lstrip("abcdefghijklmnopqrstuvwxyz"))
    if workload.network == "resnet12" and kind != "dense":
        block, index = divmod(index, RESNET_LAYERS)
        return ["params", f"_Block_{block}", f"{kind.title()}_{index}", leaf]
    return ["params", f"{kind.title()}_{index}", leaf]


def _params(workload: Workload) -> jmeta.Params:
    """The shared weights as this network's variables."""
    tree: dict = {}
    for name, value in initial(workload).items():
        *folders, leaf = _path(workload, name)
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = jnp.asarray(value)
    return tree


def _weights(workload: Workload, tree: jmeta.Params) -> Weights:
    found = {}
    for name in shapes(workload):
        value = tree
        for folder in _path(workload, name):
            value = value[folder]
        found[name] = np.asarray(value)
    return found

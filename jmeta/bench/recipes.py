"""A workload by jmeta's public functions: its loss, parameters to start from, its tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jmeta import core, learners, nn
from jmeta.bench import workloads
from jmeta.bench.workloads import Workload
from jmeta.core import Batch, Learner, Loss, Objective, Params, Task
from jmeta.nn.conv import Impl

Network = nn.Conv4 | nn.ResNet12 | nn.MLP


def loss(workload: Workload, *, impl: Impl | None = None, remat: bool = False) -> Loss:
    """The loss of one task.

    Args:
        workload: what is computed.
        impl: of the convolutions, see `jmeta.nn.conv2d`.
        remat: recompute the inner steps in the backward pass.
    """
    make = core.reptile if workload.algorithm == "reptile" else core.episodic
    learner = _learner(workload, network(workload, impl=impl), remat=remat)
    return make(learner, _objective(workload))


def optimizer(workload: Workload) -> optax.GradientTransformation:
    """The outer optimizer."""
    return optax.adam(workload.outer_rate)


def params(workload: Workload, *, seed: int = 0) -> Params:
    """The network's parameters to start from."""
    example = jnp.zeros((1, *(workload.image or (1,))))
    return jax.jit(network(workload).init)(jax.random.key(seed), example)


def network(workload: Workload, *, impl: Impl | None = None) -> Network:
    """The Flax module of a workload.

    >>> network(workloads.WORKLOADS["G"]).widths
    (64, 160, 320, 640)
    """
    outputs = None if workload.algorithm == "protonet" else workload.ways
    if workload.network == "mlp":
        return nn.MLP((workload.filters, workload.filters), outputs)
    if workload.network == "resnet12":
        return nn.ResNet12(outputs, widths=widths(workload), impl=impl)
    return nn.Conv4(outputs, filters=workload.filters, form="maxpool", impl=impl)


def widths(workload: Workload) -> tuple[int, int, int, int]:
    """Channels of the four blocks of a ResNet-12: 64, 160, 320, 640, or in their proportions."""
    first = workload.filters
    return first, first * 5 // 2, first * 5, first * 10


def _learner(workload: Workload, model: Network, *, remat: bool) -> Learner:
    if workload.algorithm == "protonet":
        return learners.metric(model.apply, learners.prototypical(workload.ways))
    rate = workload.inner_rate
    tx = optax.adam(rate, b1=0.0) if workload.inner_optimizer == "adam" else optax.sgd(rate)
    if workload.algorithm == "fomaml":
        tx = optax.chain(core.first_order(), tx)
    solver = core.unrolled(tx, workload.inner_steps, remat=remat)
    return learners.maml(model.apply, _objective(workload), solver)


def _objective(workload: Workload) -> Objective:
    return core.cross_entropy if workload.image else core.mean_squared_error


def batch(workload: Workload, *, count: int | None = None, seed: int = 0) -> Task:
    """Random tasks as the loss takes them, with a leading axis [T].

    >>> batch(workloads.WORKLOADS["S"], count=2).support.x.shape
    (2, 10, 1)
    """
    arrays: tuple[np.ndarray, ...] = workloads.tasks(workload, count=count, seed=seed)
    support_x, support_y, query_x, query_y = (jnp.asarray(array) for array in arrays)
    return Task(Batch(support_x, support_y), Batch(query_x, query_y))

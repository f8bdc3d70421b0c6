"""A workload in jmeta's public functions: its loss, its initial parameters and its tasks."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from comparison import workloads
from comparison.system import RESNET_LAYERS, Weights, initial, shapes, widths
from comparison.workloads import Workload
from jmeta import core, learners, losses, nn
from jmeta.core import Batch, Learner, Loss, Objective, Params, Task
from jmeta.nn._conv import Impl

Network = nn.Conv4 | nn.ResNet12 | nn.MLP


def loss(workload: Workload, *, impl: Impl | None = None, remat: bool = False) -> Loss:
    """The loss of one task.

    The labels are constants of the program, as those that `jmeta.data.sample_episode` draws in it
    are: all tasks of a workload have the same. So nothing is computed for a padding that is not
    there.

    Args:
        workload: a row of the table, or one like it.
        impl: the implementation of the convolutions, see `jmeta.nn.conv2d`.
        remat: whether to compute the inner steps again in the backward pass.
    """
    make = core.reptile if workload.algorithm == "reptile" else core.episodic
    learner = _learner(workload, network(workload, impl=impl), remat=remat)
    plain = make(learner, _objective(workload))
    if workload.image is None:
        return plain
    known = [workloads.labels(workload, each) for each in (workload.shots, workload.queries)]

    def with_known_labels(params: Params, task: Task) -> Any:
        both = (batch._replace(y=y) for batch, y in zip(task, known, strict=True))
        return plain(params, Task(*both))

    return with_known_labels


def optimizer(workload: Workload) -> optax.GradientTransformation:
    """The outer optimizer."""
    return optax.adam(workload.outer_rate)


def network(workload: Workload, *, impl: Impl | None = None) -> Network:
    """The Flax module of a workload.

    >>> network(workloads.WORKLOADS["G"]).widths
    (64, 160, 320, 640)
    """
    outputs = None if workload.algorithm == "protonet" else workload.ways
    if workload.network == "mlp":
        return nn.MLP((workload.filters, workload.filters), outputs, norm="none")
    if workload.network == "resnet12":
        return nn.ResNet12(outputs, widths=widths(workload), norm="batch", impl=impl)
    return nn.Conv4(outputs, filters=workload.filters, norm="batch", form="maxpool", impl=impl)


def _learner(workload: Workload, model: Network, *, remat: bool) -> Learner:
    if workload.algorithm == "protonet":
        return learners.metric(model, learners.prototypical(workload.ways))
    rate = workload.inner_rate
    tx = optax.adam(rate, b1=0.0) if workload.inner_optimizer == "adam" else optax.sgd(rate)
    if workload.algorithm in ("fomaml", "reptile"):  # no gradient passes through the steps
        tx = optax.chain(core.first_order(), tx)
    solver = core.unrolled(tx, workload.inner_steps, remat=remat)
    return learners.maml(model, _objective(workload), solver)


def _objective(workload: Workload) -> Objective:
    return losses.cross_entropy if workload.image else losses.mean_squared_error


def params(workload: Workload) -> Params:
    """The weights that every system starts from, as the parameters of `network`."""
    tree: dict[str, Any] = {}
    for name, value in initial(workload).items():
        *folders, leaf = _path(workload, name)
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = jnp.asarray(value)
    return tree


def weights(workload: Workload, tree: Params) -> Weights:
    """The inverse: parameters of `network`, or a gradient with respect to them, as weights."""
    found = {}
    for name in shapes(workload):
        value = tree
        for folder in _path(workload, name):
            value = value[folder]
        found[name] = np.asarray(value)
    return found


def _path(workload: Workload, name: str) -> list[str]:
    """The place of a weight in the parameters: "conv5.kernel" -> _Block_1, Conv_1, kernel."""
    layer, _, leaf = name.partition(".")
    kind, index = layer.rstrip("0123456789"), int(layer.lstrip("abcdefghijklmnopqrstuvwxyz"))
    if kind == "dense" and index == (2 if workload.network == "mlp" else 0):
        return ["params", "head", leaf]
    if workload.network == "resnet12" and kind != "dense":
        block, index = divmod(index, RESNET_LAYERS)
        return ["params", f"_Block_{block}", f"{kind.title()}_{index}", leaf]
    return ["params", f"{kind.title()}_{index}", leaf]


def batch(workload: Workload, *, count: int | None = None, seed: int = 0) -> Task:
    """Random tasks with a leading axis [T], as the loss takes them under `vmap`.

    Args:
        workload: a row of the table, or one like it.
        count: the number of tasks T; None takes that of the workload.
        seed: of the random numbers.

    >>> batch(workloads.WORKLOADS["S"], count=2).support.x.shape
    (2, 10, 1)
    """
    arrays: tuple[np.ndarray, ...] = workloads.tasks(workload, count=count, seed=seed)
    support_x, support_y, query_x, query_y = (jnp.asarray(array) for array in arrays)
    return Task(Batch(support_x, support_y), Batch(query_x, query_y))

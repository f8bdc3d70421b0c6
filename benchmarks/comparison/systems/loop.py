"""The loop over tasks of most PyTorch code, in the manner of learn2learn.

For each task, the module is cloned; the clone's parameters are copies in the autograd graph. An
inner step calls `autograd.grad` with `create_graph` and replaces the parameters by new tensors.
The query loss is differentiated at once; gradients accumulate on the original parameters, and are
divided by the number of tasks at the end. Reptile trains a deep copy of the module with Adam.
"""

import copy
from typing import Any

from comparison.system import System
from comparison.systems import common
from comparison.systems.common import Prepared
from comparison.workloads import Workload


def build(workload: Workload) -> System:
    """The per-task loop."""
    prepared = common.prepare(workload)
    kinds = {"reptile": reptile, "protonet": protonet}
    one = kinds.get(workload.algorithm, _maml)

    def accumulate() -> None:
        for task in prepared.tasks:
            one(prepared, task)
        divide(prepared)

    return common.system(prepared, accumulate)


def divide(prepared: Prepared) -> None:
    """Turn a sum over tasks into their mean."""
    for parameter in prepared.net.parameters():
        parameter.grad.data.mul_(1.0 / len(prepared.tasks))


def _maml(prepared: Prepared, task: Any) -> None:
    """Adapt a clone, and differentiate its query loss by the original parameters."""
    workload, (support_x, support_y, query_x, query_y) = prepared.workload, task
    learner = _clone(prepared.net)
    second_order = workload.algorithm == "maml"
    for _ in range(workload.inner_steps):
        loss = prepared.criterion(learner(support_x), support_y)
        _descend(learner, loss, rate=workload.inner_rate, second_order=second_order)
    loss = prepared.criterion(learner(query_x), query_y)
    loss.backward()
    loss.item()  # training loops add the losses up to show them


def _clone(module: Any) -> Any:
    """A copy of a module whose parameters are copies in the autograd graph."""
    other = module.__new__(type(module))
    other.__dict__ = module.__dict__.copy()
    other._parameters = {
        name: None if value is None else value.clone() for name, value in module._parameters.items()
    }
    other._buffers = dict(module._buffers)
    other._modules = {name: _clone(child) for name, child in module._modules.items()}
    return other


def _descend(learner: Any, loss: Any, *, rate: float, second_order: bool) -> None:
    """One step of gradient descent; new parameters replace the old ones."""
    import torch

    before = list(learner.parameters())
    gradients = torch.autograd.grad(
        loss, before, retain_graph=second_order, create_graph=second_order
    )
    after = iter([p - rate * g for p, g in zip(before, gradients, strict=True)])
    _replace(learner, after)


def _replace(module: Any, values: Any) -> None:
    """Replace the parameters of a module, in the order of `parameters()`."""
    for name, value in module._parameters.items():
        if value is not None:
            module._parameters[name] = next(values)
    for child in module._modules.values():
        _replace(child, values)


def reptile(prepared: Prepared, task: Any) -> None:
    """Train a deep copy; the gradient is θ − φ."""
    import torch

    workload, (support_x, support_y, _, _) = prepared.workload, task
    learner = copy.deepcopy(prepared.net)
    inner = torch.optim.Adam(learner.parameters(), lr=workload.inner_rate, betas=(0.0, 0.999))
    for _ in range(workload.inner_steps):
        inner.zero_grad()
        prepared.criterion(learner(support_x), support_y).backward()
        inner.step()
    pairs = zip(prepared.net.parameters(), learner.parameters(), strict=True)
    common.add_gradients(prepared.net, [p.data - q.data for p, q in pairs], scale=1.0)


def protonet(prepared: Prepared, task: Any) -> None:
    """Embed, classify by class means, and differentiate the loss."""
    loss = common.prototype_loss(prepared.net, prepared.workload, task)
    loss.backward()
    loss.item()

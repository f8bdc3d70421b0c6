"""higher: a functional copy of the module and a differentiable optimizer for each task."""

from typing import Any

from comparison.system import System
from comparison.systems import common
from comparison.workloads import Workload


def build(workload: Workload) -> System:
    """`higher.innerloop_ctx` for each task, as in its MAML example.

    For first order, no graph is built through the inner steps, and the gradient is that at the
    adapted parameters.
    """
    import higher
    import torch

    prepared = common.prepare(workload)
    net, parameters = prepared.net, list(prepared.net.parameters())
    second_order, scale = workload.algorithm == "maml", 1 / workload.tasks
    inner: Any = torch.optim.SGD(parameters, lr=workload.inner_rate)
    if workload.inner_optimizer == "adam":
        inner = torch.optim.Adam(parameters, lr=workload.inner_rate, betas=(0.0, 0.999))

    def one(task: Any) -> None:
        support_x, support_y, query_x, query_y = task
        with higher.innerloop_ctx(
            net, inner, copy_initial_weights=False, track_higher_grads=second_order
        ) as (learner, optimizer):
            for _ in range(workload.inner_steps):
                optimizer.step(prepared.criterion(learner(support_x), support_y))
            adapted = list(learner.parameters())
            if workload.algorithm == "reptile":
                moves = [p.data - q.data for p, q in zip(parameters, adapted, strict=True)]
                return common.add_gradients(net, moves, scale=scale)
            loss = prepared.criterion(learner(query_x), query_y)
            wanted = parameters if second_order else adapted
            common.add_gradients(net, torch.autograd.grad(loss, wanted), scale=scale)
            loss.item()

    def accumulate() -> None:
        for task in prepared.tasks:
            one(task)

    return common.system(prepared, accumulate)

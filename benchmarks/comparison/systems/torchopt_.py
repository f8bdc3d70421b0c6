"""TorchOpt: a differentiable optimizer on the module itself, which is reset after each task."""

from typing import Any

from comparison.system import System
from comparison.systems import common
from comparison.workloads import Workload


def build(workload: Workload) -> System:
    """`torchopt.MetaSGD` with `extract_state_dict` and `recover_state_dict`, as in its example.

    Each task's loss is differentiated at once, which needs less memory than the example's sum over
    all tasks. For first order, the graph is cut after each step; the optimizer still builds it.
    """
    import torchopt

    prepared = common.prepare(workload)
    net, second_order = prepared.net, workload.algorithm == "maml"
    if workload.inner_optimizer == "adam":
        inner = torchopt.MetaAdam(net, lr=workload.inner_rate, betas=(0.0, 0.999))
    else:
        inner = torchopt.MetaSGD(net, lr=workload.inner_rate)
    originals = list(net.parameters())
    start = torchopt.extract_state_dict(net, by="reference", detach_buffers=True)
    optimizer_start = torchopt.extract_state_dict(inner, by="reference")

    def one(task: Any) -> list[Any]:
        """The gradient of one task."""
        import torch

        support_x, support_y, query_x, query_y = task
        for _ in range(workload.inner_steps):
            inner.step(prepared.criterion(net(support_x), support_y))
            if not second_order:
                torchopt.stop_gradient(net)
                torchopt.stop_gradient(inner)
        adapted = list(net.parameters())
        if workload.algorithm == "reptile":
            return [p.data - q.data for p, q in zip(originals, adapted, strict=True)]
        loss = prepared.criterion(net(query_x), query_y)
        return list(torch.autograd.grad(loss, originals if second_order else adapted))

    def accumulate() -> None:
        for task in prepared.tasks:
            gradients = one(task)
            torchopt.recover_state_dict(net, start)
            torchopt.recover_state_dict(inner, optimizer_start)
            common.add_gradients(net, gradients, scale=1 / workload.tasks)

    return common.system(prepared, accumulate)

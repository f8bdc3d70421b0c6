"""torch.func: the module as a function, `grad` for both loops, `vmap` over the tasks.

Normalisation is written in plain operations, because under vmap the second derivative of torch's
own batch normalisation is wrong by several per cent (torch 2.13, in float64, too).
"""

from collections.abc import Callable
from typing import Any

from comparison.system import System
from comparison.systems import common
from comparison.systems.common import Prepared
from comparison.systems.networks import plain_norm
from comparison.workloads import Workload


def build(workload: Workload) -> System:
    """All tasks in one vmapped call."""
    import torch

    prepared = common.prepare(workload, norm=plain_norm)
    params = dict(prepared.net.named_parameters())
    stacked = tuple(torch.stack(leaves) for leaves in zip(*prepared.tasks, strict=True))
    in_dims = (None, 0, 0, 0, 0)
    per_task = torch.func.vmap(task_function(prepared), in_dims=in_dims, randomness="error")

    def mean_loss(params: Any) -> Any:
        return per_task(params, *stacked).mean()

    def accumulate() -> None:
        values = {name: value.detach() for name, value in params.items()}
        if workload.algorithm == "reptile":
            found = {name: leaf.mean(0) for name, leaf in per_task(values, *stacked).items()}
        else:
            found, _ = torch.func.grad_and_value(mean_loss)(values)
        common.add_gradients(prepared.net, found.values(), scale=1.0)

    return common.system(prepared, accumulate)


def task_function(prepared: Prepared) -> Callable[..., Any]:
    """`f(params, support x, support y, query x, query y)`: a task's loss, or Reptile's θ − φ."""
    import torch

    workload = prepared.workload

    def apply(params: Any, x: Any) -> Any:
        return torch.func.functional_call(prepared.net, params, (x,))

    def loss(params: Any, x: Any, y: Any) -> Any:
        return prepared.criterion(apply(params, x), y)

    def one(params: Any, support_x: Any, support_y: Any, query_x: Any, query_y: Any) -> Any:
        if workload.algorithm == "protonet":
            task = (support_x, support_y, query_x, query_y)
            return common.prototype_loss(lambda x: apply(params, x), workload, task)
        start, squares = params, None
        for step in range(1, workload.inner_steps + 1):
            gradients = torch.func.grad(loss)(params, support_x, support_y)
            if workload.algorithm != "maml":
                gradients = {name: leaf.detach() for name, leaf in gradients.items()}
            if workload.inner_optimizer == "adam":
                gradients, squares = _adam(gradients, squares, step)
            rate = workload.inner_rate
            params = {name: leaf - rate * gradients[name] for name, leaf in params.items()}
        if workload.algorithm == "reptile":
            return {name: leaf - params[name] for name, leaf in start.items()}
        return loss(params, query_x, query_y)

    return one


def _adam(gradients: Any, squares: Any, step: int) -> tuple[Any, Any]:
    """Adam's directions with β₁ = 0, and its running mean of squares."""
    kept = 0.999
    if squares is None:
        squares = {name: 0.0 for name in gradients}
    squares = {n: kept * squares[n] + (1 - kept) * g * g for n, g in gradients.items()}
    scale = 1 - kept**step
    moves = {n: g / ((squares[n] / scale).sqrt() + 1e-8) for n, g in gradients.items()}
    return moves, squares

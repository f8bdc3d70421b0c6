"""torch.compile of the loop over tasks.

A compiled function cannot be differentiated twice, so PyTorch refuses to compile the module of the
plain loop for second order. It does compile the whole meta-gradient of one task, in which
torch.func takes both derivatives.
"""

from comparison.system import System
from comparison.systems import common
from comparison.systems.func import task_function
from comparison.workloads import Workload


def build(workload: Workload) -> System:
    """The compiled meta-gradient of one task, in a Python loop over the tasks."""
    import torch

    prepared = common.prepare(workload)
    params = dict(prepared.net.named_parameters())
    one = task_function(prepared)
    gradient = torch.compile(one if workload.algorithm == "reptile" else torch.func.grad(one))

    def accumulate() -> None:
        values = {name: value.detach() for name, value in params.items()}
        for task in prepared.tasks:
            found = gradient(values, *task)
            common.add_gradients(prepared.net, found.values(), scale=1 / workload.tasks)

    return common.system(prepared, accumulate)

"""torch.compile of the loop over tasks.

A compiled function cannot be differentiated twice, so that compiling the module in the plain loop
is refused for second order. What does compile is one task's whole meta-gradient, in which
torch.func takes both derivatives.
"""

from jmeta.bench.system import System
from jmeta.bench.systems import common
from jmeta.bench.systems.func import task_function
from jmeta.bench.workloads import Workload


def build(workload: Workload) -> System:
    """The meta-gradient of one task compiled, a Python loop over the tasks."""
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

"""learn2learn itself."""

from typing import Any

from comparison.system import System
from comparison.systems import common, loop
from comparison.workloads import Workload


def build(workload: Workload) -> System:
    """`learn2learn.algorithms.MAML`, cloned and adapted for each task.

    It has neither Reptile nor prototypical networks: its examples write plain loops for them, and
    so does this file.
    """
    import learn2learn

    if workload.algorithm in ("reptile", "protonet"):
        return loop.build(workload)
    prepared = common.prepare(workload)
    first_order = workload.algorithm == "fomaml"
    maml = learn2learn.algorithms.MAML(
        prepared.net, lr=workload.inner_rate, first_order=first_order
    )

    def one(task: Any) -> None:
        support_x, support_y, query_x, query_y = task
        learner = maml.clone()
        for _ in range(workload.inner_steps):
            learner.adapt(prepared.criterion(learner(support_x), support_y))
        loss = prepared.criterion(learner(query_x), query_y)
        loss.backward()
        loss.item()

    def accumulate() -> None:
        for task in prepared.tasks:
            one(task)
        loop.divide(prepared)

    return common.system(prepared, accumulate)

"""The workloads: one table, and the same arithmetic for every system."""

import math
from typing import Literal, NamedTuple

import numpy as np


class Workload(NamedTuple):
    """One meta-training step, fully specified."""

    name: str  # as in `benchmarks/peers.py --workload NAME`
    title: str
    algorithm: str = "maml"  # maml (second order), fomaml, reptile, protonet
    ways: int = 5
    shots: int = 1  # support examples a class (sinusoid: points)
    queries: int = 1  # query examples a class (sinusoid: points)
    image: tuple[int, int, int] | None = (28, 28, 1)  # H, W, C; None: points of a function
    network: str = "conv4"  # conv4 (max-pool form), resnet12, mlp
    filters: int = 64  # first block of resnet12 likewise; units of the two layers of mlp
    tasks: int = 32  # tasks an outer update
    inner_steps: int = 1
    inner_optimizer: str = "sgd"  # sgd, adam (β₁ = 0, as Reptile's)
    inner_rate: float = 0.4
    outer_rate: float = 1e-3  # Adam
    chunk: int | None = None  # tasks that jmeta differentiates at once; None: its own choice


_TABLE = (
    Workload("A", "MAML, 28x28, 5-way 1-shot, 1 query, 1 step"),
    Workload("B", "A with 15 queries", queries=15),
    Workload(
        "C",
        "MAML, 84x84, 5-way 5-shot, 15 queries, 5 steps",
        shots=5,
        queries=15,
        image=(84, 84, 3),
        filters=32,
        tasks=4,
        inner_steps=5,
        inner_rate=0.01,
    ),
    Workload(
        "D",
        "MAML, 28x28, 20-way 1-shot, 1 query, 5 steps",
        ways=20,
        tasks=16,
        inner_steps=5,
        inner_rate=0.1,
    ),
    Workload("E", "A to first order", algorithm="fomaml"),
    Workload(
        "E-reptile",
        "Reptile, 28x28, 5-way 1-shot, 10 Adam steps",
        algorithm="reptile",
        inner_steps=10,
        inner_optimizer="adam",
        inner_rate=1e-3,
    ),
    Workload(
        "F",
        "Prototypical, 28x28, 60-way 1-shot, 5 queries",
        algorithm="protonet",
        ways=60,
        queries=5,
        tasks=1,
        inner_steps=0,
    ),
    Workload(
        "F-84",
        "Prototypical, 84x84, 20-way 5-shot, 15 queries",
        algorithm="protonet",
        ways=20,
        shots=5,
        queries=15,
        image=(84, 84, 3),
        tasks=1,
        inner_steps=0,
    ),
    Workload(
        "G",
        "ResNet-12, 84x84, first order, 5-way 1-shot, 3 steps",
        algorithm="fomaml",
        image=(84, 84, 3),
        network="resnet12",
        tasks=2,
        inner_steps=3,
        inner_rate=0.01,
    ),
    Workload(
        "S",
        "MAML, sinusoid, 10 points, batch 25",
        ways=1,
        shots=10,
        queries=10,
        image=None,
        network="mlp",
        filters=40,
        tasks=25,
        inner_rate=0.01,
    ),
)
WORKLOADS: dict[str, Workload] = {workload.name: workload for workload in _TABLE}
SAMPLER = Workload(
    "sampler",
    "Episodes alone, 28x28, 5-way 1-shot, 15 queries",
    algorithm="sampler",
    queries=15,
    inner_steps=0,
)


def chosen(names: list[str]) -> list[Workload]:
    """The workloads of some names, each once; "E" means "E" and "E-reptile", "F" likewise.

    Args:
        names: of workloads, "sampler", or "all" for everything.

    Raises:
        ValueError: a name that no workload has.

    >>> [workload.name for workload in chosen(["A", "F"])]
    ['A', 'F', 'F-84']
    """
    found: list[Workload] = []
    table = {**WORKLOADS, SAMPLER.name: SAMPLER}
    for name in names:
        matches = [w for key, w in table.items() if name in (key, key.partition("-")[0])]
        matches = list(table.values()) if name == "all" else matches
        if not matches:
            raise ValueError(
                f"unknown workload {name!r}: choose some of {', '.join(table)}, or all"
            )
        found += [match for match in matches if match not in found]
    return found


def shareable(workload: Workload) -> tuple[int, Literal["tasks", "examples"]]:
    """What jmeta's devices share, as in `jmeta train`, and a number that they must divide.

    >>> shareable(WORKLOADS["A"]), shareable(WORKLOADS["F"])
    ((32, 'tasks'), (60, 'examples'))
    """
    if workload.tasks > 1 or workload.algorithm != "protonet":
        return workload.tasks, "tasks"
    return workload.ways * math.gcd(workload.shots, workload.queries), "examples"


class Arrays(NamedTuple):
    """A batch of tasks as NumPy arrays, the same for every system."""

    support_x: np.ndarray  # [T, S, H, W, C] or [T, S, 1], float32
    support_y: np.ndarray  # [T, S] int32, or [T, S, 1] float32
    query_x: np.ndarray  # [T, Q, ...]
    query_y: np.ndarray  # [T, Q, ...]


def tasks(workload: Workload, *, count: int | None = None, seed: int = 0) -> Arrays:
    """Random tasks with the shapes of a workload; their values make no difference to its speed.

    Args:
        workload: a row of the table, or one like it.
        count: the number of tasks T; None takes that of the workload.
        seed: of the random numbers.

    >>> tasks(WORKLOADS["A"]).support_x.shape
    (32, 5, 28, 28, 1)
    """
    random = np.random.default_rng(seed)
    count = workload.tasks if count is None else count
    sides = [_side(workload, count, n, random) for n in (workload.shots, workload.queries)]
    return Arrays(*sides[0], *sides[1])


def _side(
    workload: Workload, count: int, each: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    if workload.image is None:
        x = random.uniform(-5, 5, (count, each, 1)).astype(np.float32)
        phase = random.uniform(0, np.pi, (count, 1, 1))
        return x, (2 * np.sin(x - phase)).astype(np.float32)
    y = labels(workload, each)
    x = random.random((count, len(y), *workload.image), np.float32)
    return x, np.broadcast_to(y, (count, len(y))).copy()


def labels(workload: Workload, each: int) -> np.ndarray:
    """The labels of any support or query set with so many examples a class, which are in order.

    >>> labels(WORKLOADS["A"], 1).tolist()
    [0, 1, 2, 3, 4]
    """
    return np.repeat(np.arange(workload.ways, dtype=np.int32), each)

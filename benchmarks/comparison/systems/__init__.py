"""The systems that are timed: one file each, imported in a process of its own."""

import importlib
from typing import NamedTuple

from comparison.system import System
from comparison.workloads import Workload

GRADIENT_BASED = ("maml", "fomaml", "reptile")
ALL = (*GRADIENT_BASED, "protonet")


class Entry(NamedTuple):
    """A system, and what it can do."""

    module: str  # of this package
    title: str
    needs: tuple[str, ...]  # packages, as they are imported
    algorithms: tuple[str, ...]
    start_seconds: float = 600  # the longest time to its first update


SYSTEMS: dict[str, Entry] = {
    "jmeta": Entry("systems.public", "jmeta's public functions under jit", ("jax",), ALL),
    "flax-vmap": Entry("systems.flax_vmap", "plain Flax layers under jax.vmap", ("jax",), ALL),
    "learn2learn": Entry("systems.real", "learn2learn itself", ("torch", "learn2learn"), ALL),
    "torch-loop": Entry("systems.loop", "a learn2learn-style loop over tasks", ("torch",), ALL),
    "higher": Entry("systems.higher_", "higher", ("torch", "higher"), GRADIENT_BASED),
    "torchopt": Entry("systems.torchopt_", "TorchOpt", ("torch", "torchopt"), GRADIENT_BASED),
    "torch-func": Entry("systems.func", "torch.func with vmap over tasks", ("torch",), ALL),
    "parallel-metalearn": Entry(
        "systems.parallel_metalearn",
        "parallel-metalearn, torch.func with vmap over tasks",
        ("torch", "metalearn"),
        ("maml", "fomaml", "protonet"),  # its inner Adam, which Reptile needs, does not run
    ),
    "torch-compile": Entry("systems.compiled", "torch.compile of the loop", ("torch",), ALL, 300),
}
SAMPLERS: dict[str, Entry] = {
    "jmeta": Entry("samplers", "sample_episode under jit", ("jax",), ("sampler",)),
    "learn2learn-style": Entry("samplers", "task transforms", ("torch",), ("sampler",)),
    "torchmeta-style": Entry("samplers", "datasets of classes", ("torch",), ("sampler",)),
    "meta-dataset-style": Entry("samplers", "one reader a class", (), ("sampler",)),
}


def entries(workload: Workload) -> dict[str, Entry]:
    """The systems that can do a workload.

    >>> from comparison.workloads import WORKLOADS
    >>> "higher" in entries(WORKLOADS["F"]), "higher" in entries(WORKLOADS["A"])
    (False, True)
    """
    table = SAMPLERS if workload.algorithm == "sampler" else SYSTEMS
    return {name: entry for name, entry in table.items() if workload.algorithm in entry.algorithms}


def names() -> list[str]:
    """The names of all systems, with those that only sample."""
    return list(SYSTEMS | SAMPLERS)


def build(name: str, workload: Workload) -> System:
    """Prepare a system: its data and weights are on the device, and nothing is compiled yet.

    Raises:
        ImportError: a package that the system needs is not installed.
    """
    entry = entries(workload)[name]
    module = importlib.import_module(f"comparison.{entry.module}")
    if entry.module == "samplers":
        return module.SAMPLERS[name](workload)
    return module.build(workload)

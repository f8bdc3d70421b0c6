"""Tasks per second of jmeta and of its peers, on the same workloads and in turns.

The command is `python benchmarks/peers.py`. Every system runs in a process of its own (`worker`),
and the process that times them (`runner`) needs neither JAX nor PyTorch.
"""

from comparison.runner import Protocol, compare, run
from comparison.table import show

__all__ = ["Protocol", "compare", "run", "show"]

"""The examples that a network is called with, shared among devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jmeta.core._types import Net, Outputs, Params, PyTree

EXAMPLES = "jmeta_examples"  # the mesh axis over which `jmeta.nn.Norm` takes batch moments
_MESH: ContextVar[Mesh | None] = ContextVar("mesh", default=None)


@contextmanager
def examples_over(mesh: Mesh) -> Iterator[None]:
    """Share the examples of every `call` that is traced inside among the devices of a mesh.

    Args:
        mesh: its one axis is EXAMPLES.
    """
    token = _MESH.set(mesh)
    try:
        yield
    finally:
        _MESH.reset(token)


def is_by_example(net: Any) -> bool:
    """Whether each output of a network depends on one example, or on others by moments alone.

    These are the moments of `jmeta.nn.Norm`, which are taken over the examples of all devices.

    >>> from jmeta.nn import Conv4, FullContext
    >>> is_by_example(Conv4(None)), is_by_example(FullContext(4))
    (True, False)
    """
    return bool(getattr(net, "by_example", False))


def call(net: Net, params: Params, x: PyTree, *keys: jax.Array, **options: Any) -> Outputs:
    """The outputs of a network, with its examples shared among devices inside `examples_over`.

    They are not shared, and every device computes all of them, if the network is not `by_example`
    or draws random numbers, or if the devices do not divide the number of examples.

    Args:
        net: a network.
        params: its parameters, which all devices have.
        x: inputs [N, ...].
        *keys: the key of a network that draws random numbers.
        **options: arrays [N, ...] that the network takes by name, such as `real`.

    >>> from jmeta.nn import MLP
    >>> params = MLP().init(jax.random.key(0), jax.numpy.ones((4, 3)))
    >>> call(MLP(), params, jax.numpy.ones((4, 3))).shape
    (4, 1)
    """
    mesh = _MESH.get()
    if mesh is None or keys or not is_by_example(net) or not _divides(mesh.size, x):
        return net.apply(params, x, *keys, **options)

    def some(params: Params, x: PyTree, options: dict[str, Any]) -> Outputs:
        # With this cast a gradient is summed over the devices once, and not wherever it arises.
        return net.apply(lax.pcast(params, EXAMPLES, to="varying"), x, **options)

    spread = P(EXAMPLES)
    shared = jax.shard_map(some, mesh=mesh, in_specs=(P(), spread, spread), out_specs=spread)
    return lax.with_sharding_constraint(shared(params, x, options), NamedSharding(mesh, P()))


def _divides(devices: int, x: PyTree) -> bool:
    """Whether all arrays have the same number of examples, a multiple of the devices."""
    shapes = [getattr(leaf, "shape", ()) for leaf in jax.tree.leaves(x)]
    counts = {shape[0] if shape else 0 for shape in shapes}
    return len(counts) == 1 and min(counts) > 0 and min(counts) % devices == 0

"""Batches whose examples are shared among devices: sums and means over all of them.

Inside a `jax.shard_map`, an array that varies over the mesh axis "jmeta_examples" was computed from
the examples of one device. `jmeta.core` shares the examples of a network by this name.
"""

import jax
from jax import lax

from jmeta.nn._linear import varying

_AXIS = "jmeta_examples"


def total(x: jax.Array) -> jax.Array:
    """The sum over devices of what each computed from its own examples.

    >>> float(total(jax.numpy.float32(2)))  # one device
    2.0
    """
    return lax.psum(x, _AXIS) if _AXIS in varying(x) else x


def mean(x: jax.Array) -> jax.Array:
    """The mean over devices, which have equally many examples.

    >>> float(mean(jax.numpy.float32(2)))  # one device
    2.0
    """
    return lax.pmean(x, _AXIS) if _AXIS in varying(x) else x

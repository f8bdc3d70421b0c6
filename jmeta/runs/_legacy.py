"""States as earlier versions wrote them.

In runs of schema 1 the parameters of MAML++ carried the number of the inner step beside them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core import Params, PyTree
from jmeta.learners import Meta


class Stepped(NamedTuple):
    """Parameters of MAML++, and the counter that they no longer have."""

    model: Params
    step: jax.Array  # []


def older(state: PyTree) -> PyTree:
    """A state of today in the structure of earlier versions; values do not matter.

    >>> older(Meta({"w": 1}, 2)).params.model
    {'w': 1}
    """

    def node(found: PyTree) -> PyTree:
        if not isinstance(found, Meta):
            return found
        return found._replace(params=Stepped(found.params, jnp.zeros(())))

    return jax.tree.map(node, state, is_leaf=lambda found: isinstance(found, Meta))


def renewed(state: PyTree) -> PyTree:
    """A state of an earlier version in today's structure.

    >>> renewed(older(Meta({"w": 1}, 2)))
    Meta(params={'w': 1}, hyper=2)
    """

    def node(found: PyTree) -> PyTree:
        stepped = isinstance(found, Meta) and isinstance(found.params, Stepped)
        return found._replace(params=found.params.model) if stepped else found

    return jax.tree.map(node, state, is_leaf=lambda found: isinstance(found, Meta))

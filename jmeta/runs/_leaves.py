"""The leaves of parameters by name, as files of arrays have them."""

from typing import Any

import jax
import numpy as np

from jmeta.core import PyTree
from jmeta.core._networks import is_key

FILE = "model.safetensors"


def named(tree: PyTree) -> dict[str, np.ndarray]:
    """The leaves of a tree by their paths; PRNG keys as their data.

    >>> named({"a": {"b": np.ones(2)}})
    {'a/b': array([1., 1.])}
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    found = {path_name(path): leaf for path, leaf in leaves}
    assert len(found) == len(leaves), "paths differ"
    data = {n: jax.random.key_data(x) if is_key(x) else x for n, x in found.items()}
    return {name: np.array(leaf, order="C") for name, leaf in data.items()}


def path_name(path: Any) -> str:
    """The name of a leaf, its path with slashes."""
    return jax.tree_util.keystr(path, simple=True, separator="/") or "value"

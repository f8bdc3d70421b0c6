"""PyTorch's tensors as the variables of a Flax module, by a table of names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jmeta.nn._weights import Tensors

Names = Callable[[str], str]  # path of a variable, such as "params/head/bias" -> name of a tensor
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}


def shapes_of(module: nn.Module, side: int = 64) -> dict[str, jax.ShapeDtypeStruct]:
    """The variables of a module for images, by their paths, without making any.

    Args:
        module: takes RGB images.
        side: of the images in pixels.

    Raises:
        ValueError: options of the module do not fit together.
    """
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return flat(jax.eval_shape(module.init, jax.random.key(0), image))


def flat(tree: Any) -> dict[str, Any]:
    """The leaves of nested dictionaries by their paths.

    >>> flat({"params": {"head": {"bias": 1}}})
    {'params/head/bias': 1}
    """
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found}


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """The nested dictionaries of leaves by their paths.

    >>> nested({"params/head/bias": 1})
    {'params': {'head': {'bias': 1}}}
    """
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *outer, last = path.split("/")
        inner = tree
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = leaf
    return tree


def converted(
    wanted: dict[str, jax.ShapeDtypeStruct], names: Names, tensors: Tensors, *, file: Path
) -> dict[str, Any]:
    """The variables of a module, out of PyTorch's tensors.

    Args:
        wanted: from `shapes_of`.
        names: the name of each variable's tensor.
        tensors: from `read_tensors`; each must be used.
        file: where they come from, for messages.

    Returns:
        The nested variables, in the dtypes of the module.

    Raises:
        ValueError: a tensor is missing, left over, of another shape, not of floating-point numbers
            or not finite.
    """
    origin = {path: names(path) for path in wanted}
    missing, strange = set(origin.values()) - set(tensors), set(tensors) - set(origin.values())
    if missing or strange:
        name, what = (min(missing), "lacks") if missing else (min(strange), "has in addition")
        raise ValueError(
            f"{file} does not hold the weights of this network: it {what} {name[:120]!r}."
        )
    made = {path: _turned(tensors[origin[path]], path, like) for path, like in wanted.items()}
    for path, leaf in made.items():
        if isinstance(leaf, str):
            raise ValueError(f"{file} does not fit: {origin[path]!r} {leaf}.")
    return nested(made)


def _turned(array: np.ndarray, path: str, like: jax.ShapeDtypeStruct) -> np.ndarray | str:
    """One variable, or what is wrong with its tensor."""
    shape = _stored(path, like.shape)
    if _bare(array.shape) != _bare(shape):
        return f"has the shape {list(array.shape)}, expected {list(shape)}"
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return f"holds {array.dtype} and no floating-point numbers"
    array = np.asarray(array, np.float32).reshape(shape)
    if not np.isfinite(array).all():
        return "holds numbers that are not finite"
    if len(shape) == 4:
        array = array.transpose(2, 3, 1, 0)
    elif path.endswith("kernel"):
        array = array.T
    return np.array(array.reshape(like.shape), like.dtype, order="C")


def _stored(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that PyTorch stores a variable in."""
    if path.endswith("/patches/kernel"):  # of a ViT: all colours of all pixels of a patch
        side = round((shape[0] // 3) ** 0.5)
        return shape[1], 3, side, side
    if not path.endswith("kernel"):
        return shape
    if len(shape) == 3:  # a depthwise convolution
        return shape[2], 1, shape[0], shape[1]
    return (shape[3], shape[2], shape[0], shape[1]) if len(shape) == 4 else shape[::-1]


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the axes of length 1 at its front."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape

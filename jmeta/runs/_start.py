"""The parameters that training begins with, read from another run or a file of arrays."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np

from jmeta import nn
from jmeta.core import Params
from jmeta.core._home import expanded
from jmeta.core._text import printable
from jmeta.runs import _leaves as leaves

# where a learner with more parameters keeps those of its network: beside a classifier, beside
# learned hyperparameters, beside low-rank adapters
_WITHIN = ("", "embed/", "params/", "network/")
_SHOWN = 3  # names in a message


def begun(params: Params, path: str, *, without: tuple[str, ...] = ()) -> Params:
    """Fresh parameters, with those leaves in their place that a file has.

    A leaf is found by its name, "params/Conv_0/kernel" for example. Where the file or the
    parameters have a network beside other things, under "embed" for example, and the other has not,
    the networks are matched. What the file does not have, such as a fresh head, stays as it is, and
    what the parameters do not have is left out.

    Args:
        params: as `learner.init` makes them.
        path: the folder of a finished run, a .safetensors or an .npz file.
        without: names; leaves with one of them on their path stay fresh.

    Raises:
        ValueError: it is missing or damaged, no leaf has a name of the parameters, a name of
            `without` is on no path, or leaves have other shapes; they are all named.
    """
    arrays = _read(expanded(path))
    shapes = {name: leaf.shape for name, leaf in leaves.named(params).items()}
    for part in without:
        if not _on_path((part,), shapes):
            raise ValueError(
                f"init_except: no parameter has {part!r} on its path; they are {', '.join(shapes)}."
            )
    names = set(shapes) - _on_path(without, shapes)
    given = max(_views(arrays), key=lambda view: len(names & set(view)))
    if not names & set(given):
        raise ValueError(
            f"{printable(path)} has none of the parameters: it has {_some(arrays)}, and the "
            f"learner has {_some(names)}."
        )
    shared = [name for name in shapes if name in names and name in given]
    if unlike := [name for name in shared if given[name].shape != shapes[name]]:
        told = [
            f"{name} of shape {list(given[name].shape)}, but the learner has {list(shapes[name])}"
            for name in unlike
        ]
        parts = ",".join(dict.fromkeys(name.split("/")[-2:][0] for name in unlike))
        raise ValueError(
            f"{printable(path)} has {'; '.join(told)}. With --init-except {parts} (in Python "
            f"init_except={parts!r}) they begin afresh."
        )

    def leaf(place: tuple, fresh: jax.Array) -> np.ndarray:
        name = leaves.path_name(place)
        if name not in given or name not in names:
            return np.asarray(fresh)
        return given[name].astype(fresh.dtype)

    return jax.tree_util.tree_map_with_path(leaf, params)


def _on_path(parts: tuple[str, ...], names: Iterable[str]) -> set[str]:
    """The names of leaves on whose path one of some parts is."""
    return {name for name in names if set(parts) & set(name.split("/"))}


def _views(arrays: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """The arrays as they are, those of a network inside them, and both inside something else."""
    for there in _WITHIN:
        inner = {n.removeprefix(there): v for n, v in arrays.items() if n.startswith(there)}
        for here in _WITHIN:
            yield {here + name: value for name, value in inner.items()}


def _read(path: Path) -> dict[str, np.ndarray]:
    """Named arrays of a run or a file."""
    file = path / leaves.FILE if path.is_dir() else path
    if not file.exists():
        raise ValueError(
            f"{printable(file)} does not exist; start from the folder of a finished run, a "
            ".safetensors or an .npz file."
        )
    return nn.read_tensors(file)


def _some(names: object) -> str:
    listed = sorted(map(str, names))  # type: ignore[call-overload]
    return ", ".join(listed[:_SHOWN]) + ", ..." * (len(listed) > _SHOWN)

"""What people have, as what networks take: arrays, files of images, Pillow images, tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jmeta.data._columns import features_of
from jmeta.data._images import FITS as FITS
from jmeta.data._images import Fit
from jmeta.data._limits import check_set
from jmeta.data._rows import Rows, from_columns
from jmeta.few._pictures import File, image, images, in_unit, is_picture, misshapen

_BRIGHTEST = 2.0  # of pixels in 0..1, with room for what scaling adds at edges
Facts = Mapping[str, Any]  # see `jmeta.experiments._bare.facts_of`


def examples(x: Any, facts: Facts, *, what: str = "x", fit: Fit = "stretch") -> np.ndarray:
    """Examples as an array [N, ...] of the shape and dtype that the network takes.

    Args:
        x: an array [N, ...]; or paths of image files, their bytes, Pillow images or arrays, in a
            sequence or alone; or a table with names of columns: a pandas frame, a dictionary of
            columns, or `Rows`.
        facts: what examples look like.
        what: what to call them in a message.
        fit: how an image that is not square is fitted, see `jmeta.data.resize_image`.

    Raises:
        ValueError: they are of another shape, are no finite numbers, or cannot be read.
    """
    if facts["features"] is not None:
        return _table(x, facts, what)
    shape, dtype = tuple(facts["example"]["shape"]), facts["example"]["dtype"]
    found = [x] if isinstance(x, File) else _single(x, shape, what)
    if isinstance(found, np.ndarray) and _is_alone(found, shape):
        found = found[None]
    if isinstance(found, np.ndarray) and found.shape[1:] == shape:
        array = found
    elif images(shape) and facts["pixels"]:
        check_set(len(found) * int(np.prod(shape)) * 4, what=f"the {len(found)} images of {what}")
        named = [(each, f"{what}[{place}]") for place, each in enumerate(found)]
        array = np.stack([image(each, shape, facts, name, fit) for each, name in named])
    elif images(shape) and any(isinstance(each, File) or is_picture(each) for each in found):
        raise ValueError(
            f"the run has learned from arrays of numbers and not from pixels, so {what} must be an "
            f"array [N, {', '.join(map(str, shape))}], not pictures."
        )
    else:
        raise misshapen(found, shape, what)
    if not len(array):
        raise ValueError(f"{what} is empty; give at least one example.")
    with np.errstate(over="ignore"):  # what a float32 cannot hold is refused with the infinite
        array = _finite(in_unit(array, facts).astype(dtype), what)
    if facts["pixels"] and array.max() > _BRIGHTEST:
        raise ValueError(
            f"{what} holds pixels up to {array.max():g}, and the network takes numbers from 0 to "
            "1; divide by 255, or give uint8."
        )
    return array


def _single(x: Any, shape: tuple[int, ...], what: str) -> Any:
    """Examples as an array or a list; one picture is a list of one."""
    if hasattr(x, "__array__") and not is_picture(x):
        array = np.asarray(x)
        if array.dtype.kind == "O" and array.ndim == 1:
            return list(array)
        if array.dtype.kind == "U":
            return [str(each) for each in array.ravel()]
        return _numbers(array, what)
    if is_picture(x):
        return [x]
    if not isinstance(x, Sequence):
        raise ValueError(
            f"{what} must be an array of examples {list(shape)}, or a list of them or of images, "
            f"but got {type(x).__name__}."
        )
    if not len(x):
        raise ValueError(f"{what} is empty; give at least one example.")
    if any(isinstance(each, File) or is_picture(each) for each in x):
        return list(x)
    arrays = [_numbers(np.asarray(each), what) for each in x]
    kinds = {(array.shape, array.dtype == np.uint8) for array in arrays}
    return np.stack(arrays) if len(kinds) == 1 and arrays[0].shape == shape else arrays


def _is_alone(array: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether an array is one example and not several: of the shape, or one picture."""
    picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    return array.shape == shape or (images(shape) and array.dtype == np.uint8 and picture)


def _finite(array: np.ndarray, what: str) -> np.ndarray:
    if not (finite := np.isfinite(array)).all():
        place = np.argwhere(~finite)[0][0]
        raise ValueError(f"{what}[{place}] holds a number that is not finite; correct it.")
    return array


def _table(x: Any, facts: Facts, what: str) -> np.ndarray:
    """Rows of a table, standardised by the numbers of the run."""
    scaling = facts["scaling"]
    rows = x if isinstance(x, Rows) else table_rows(x, list(scaling["features"]), what)
    return features_of(rows, scaling)


def table_rows(x: Any, features: Sequence[str], what: str) -> Rows:
    """A table as text, of a frame, a dictionary of columns, or an array in the features' order.

    Raises:
        ValueError: it is none of these, or its columns differ in length.
    """
    if isinstance(x, Mapping) or hasattr(x, "columns"):
        return from_columns({str(name): list(x[name]) for name in _names(x)}, what)
    array = np.asarray(x, dtype=object if isinstance(x, Sequence) else None)
    if array.ndim != 2 or array.shape[1] != len(features):
        raise ValueError(
            f"{what} must be a table with the columns {', '.join(features)}, or an array "
            f"[N, {len(features)}] of them in this order, but got {_shape(array)}."
        )
    return from_columns({name: list(array[:, i]) for i, name in enumerate(features)}, what)


def _shape(array: np.ndarray) -> str:
    return f"an array {list(array.shape)}"


def _names(x: Any) -> list[Any]:
    return list(x) if isinstance(x, Mapping) else list(x.columns)


def _numbers(array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype.kind not in "buif":
        raise ValueError(f"{what} must hold numbers, but its dtype is {array.dtype}.")
    return array

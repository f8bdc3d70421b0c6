"""What people have, as what networks take: arrays, files of images, Pillow images, tables."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jmeta.core._home import expanded
from jmeta.data._columns import features_of
from jmeta.data._files import read_bytes
from jmeta.data._images import FITS as FITS
from jmeta.data._images import Fit, decode_image, resize_image
from jmeta.data._limits import check_set
from jmeta.data._rows import LARGEST, Rows, from_columns

_BRIGHTEST = 2.0  # of pixels in 0..1, with room for what scaling adds at edges
Facts = Mapping[str, Any]  # see `jmeta.experiments._bare.facts_of`
_File = str | os.PathLike | bytes  # the path of an image, or what stands in its file


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
    found = [x] if isinstance(x, _File) else _single(x, shape, what)
    if isinstance(found, np.ndarray) and _is_alone(found, shape):
        found = found[None]
    if isinstance(found, np.ndarray) and found.shape[1:] == shape:
        array = found
    elif images(shape) and facts["pixels"]:
        check_set(len(found) * int(np.prod(shape)) * 4, what=f"the {len(found)} images of {what}")
        named = [(each, f"{what}[{place}]") for place, each in enumerate(found)]
        array = np.stack([_image(each, shape, facts, name, fit) for each, name in named])
    elif images(shape) and any(isinstance(each, _File) or _is_picture(each) for each in found):
        raise ValueError(
            f"the run has learned from arrays of numbers and not from pixels, so {what} must be an "
            f"array [N, {', '.join(map(str, shape))}], not pictures."
        )
    else:
        raise _misshapen(found, shape, what)
    if not len(array):
        raise ValueError(f"{what} is empty; give at least one example.")
    with np.errstate(over="ignore"):  # what a float32 cannot hold is refused with the infinite
        array = _finite(_in_unit(array, facts).astype(dtype), what)
    if facts["pixels"] and array.max() > _BRIGHTEST:
        raise ValueError(
            f"{what} holds pixels up to {array.max():g}, and the network takes numbers from 0 to "
            "1; divide by 255, or give uint8."
        )
    return array


def _in_unit(array: np.ndarray, facts: Facts) -> np.ndarray:
    """Pixels as float32 in 0..1, and inverted as those of a file; other numbers as they are."""
    if array.dtype != np.uint8 or not facts["pixels"]:
        return array
    return (255 - array if facts["inverted"] else array).astype(np.float32) / 255


def images(shape: Sequence[int]) -> bool:
    """Whether examples of a shape can be made of pictures."""
    return len(shape) == 3 and shape[2] in (1, 3)


def _single(x: Any, shape: tuple[int, ...], what: str) -> Any:
    """Examples as an array or a list; one picture is a list of one."""
    if hasattr(x, "__array__") and not _is_picture(x):
        array = np.asarray(x)
        if array.dtype.kind == "O" and array.ndim == 1:
            return list(array)
        if array.dtype.kind == "U":
            return [str(each) for each in array.ravel()]
        return _numbers(array, what)
    if _is_picture(x):
        return [x]
    if not isinstance(x, Sequence):
        raise ValueError(
            f"{what} must be an array of examples {list(shape)}, or a list of them or of images, "
            f"but got {type(x).__name__}."
        )
    if not len(x):
        raise ValueError(f"{what} is empty; give at least one example.")
    if any(isinstance(each, _File) or _is_picture(each) for each in x):
        return list(x)
    arrays = [_numbers(np.asarray(each), what) for each in x]
    kinds = {(array.shape, array.dtype == np.uint8) for array in arrays}
    return np.stack(arrays) if len(kinds) == 1 and arrays[0].shape == shape else arrays


def _is_alone(array: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether an array is one example and not several: of the shape, or one picture."""
    picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    return array.shape == shape or (images(shape) and array.dtype == np.uint8 and picture)


def _is_picture(x: Any) -> bool:
    """Whether something is a Pillow image, without importing Pillow."""
    return hasattr(x, "convert") and hasattr(x, "getbands")


def _numbers(array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype.kind not in "buif":
        raise ValueError(f"{what} must hold numbers, but its dtype is {array.dtype}.")
    return array


def _image(x: Any, shape: tuple[int, ...], facts: Facts, what: str, fit: Fit) -> np.ndarray:
    """One picture as [H, W, C], in 0..1 as the network sees it.

    The pixels of a file, of a Pillow image or of a uint8 array are of dark ink on light paper; they
    are inverted for a network that sees ink as 1. Other arrays are taken as they are.
    """
    high, wide, channels = shape
    if isinstance(x, str | os.PathLike):
        path = expanded(x)
        content, called = read_bytes(path, expected="an image"), str(path)
    elif isinstance(x, bytes):
        content, called = x, what
    else:
        if not _is_picture(x):
            array = np.asarray(x)
            if array.shape == shape and array.dtype != np.uint8:
                return array.astype(np.float32)
            x = _as_picture(array, shape, what)
        content, called = _bytes(x, what), what
    pixels = decode_image(content, name=called, mode=_mode(channels))
    pixels = pixels.reshape(*pixels.shape[:2], channels)
    return _in_unit(_resized(pixels, high, wide, fit), facts)


def _as_picture(x: np.ndarray, shape: tuple[int, ...], what: str) -> Any:
    """A uint8 array [H, W] or [H, W, 1, 3 or 4] as a Pillow image."""
    from PIL import Image

    flat = x[..., 0] if x.ndim == 3 and x.shape[2] == 1 else x
    plain = flat.ndim == 2 or (flat.ndim == 3 and flat.shape[2] in (3, 4))
    if x.dtype != np.uint8 or not plain or 0 in x.shape:
        raise _misshapen(x[None], shape, what)
    return Image.fromarray(flat)


def _mode(channels: int) -> Any:
    return "L" if channels == 1 else "RGB"


def _bytes(image: Any, what: str) -> bytes:
    """A Pillow image as the bytes of a file, so that all pictures are decoded alike."""
    import io

    stream = io.BytesIO()
    try:
        image.save(stream, "PNG")
    except (OSError, ValueError) as error:
        raise ValueError(f"{what} is an image of mode {image.mode}, which has no PNG.") from error
    return stream.getvalue()


def _resized(pixels: np.ndarray, high: int, wide: int, fit: Fit) -> np.ndarray:
    """uint8 pixels scaled to a size."""
    if pixels.shape[:2] == (high, wide):
        return pixels
    if high != wide:
        raise ValueError(
            f"an image is {pixels.shape[1]}x{pixels.shape[0]} pixels, and this model takes "
            f"{wide}x{high}; scale it first."
        )
    return resize_image(pixels, high, fit=fit)


def _misshapen(found: Any, shape: tuple[int, ...], what: str) -> ValueError:
    shapes = {str(list(np.shape(each))) for each in found}
    got = list(found.shape) if isinstance(found, np.ndarray) else " and ".join(sorted(shapes))
    return ValueError(
        f"{what} must hold examples of shape {list(shape)}, an array [N, "
        f"{', '.join(map(str, shape))}], but got {str(got)[:80]}."
    )


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


def targets(y: Any, facts: Facts, count: int) -> np.ndarray:
    """Numbers to learn, [N, D], in the deviations of the run where it has scaled them.

    Args:
        y: [N], or [N, D] for several.
        facts: what examples look like.
        count: N.

    Raises:
        ValueError: another number of them, or what is no finite number.
    """
    width = facts["outputs"]
    try:
        array = np.asarray(y, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("y must hold numbers, since the run has learned numbers.") from error
    array = array[:, None] if array.ndim == 1 else array
    if array.shape != (count, width):
        raise ValueError(
            f"y must hold {width} number{'s' * (width > 1)} for each of the {count} examples, but "
            f"got an array {list(array.shape)}."
        )
    if not (np.abs(array) < LARGEST).all():
        raise ValueError("y holds a number that is not finite; correct it.")
    if facts["target"] is not None:
        array = (array - facts["target"]["mean"]) / facts["target"]["deviation"]
    return array.astype(np.float32)


def labelled(y: Any, count: int) -> tuple[list[Any], np.ndarray]:
    """The classes in order, and the place of each label among them.

    Args:
        y: labels [S].
        count: S.

    Raises:
        ValueError: another number of labels, labels that are missing or cannot be put in order, or
            fewer than two classes.

    >>> labelled(["owl", "cat", "owl"], 3)
    (['cat', 'owl'], array([1, 0, 1], dtype=int32))
    """
    if isinstance(y, np.ma.MaskedArray):
        raise ValueError("y is a masked array; leave out the examples whose label is masked.")
    array = np.asarray(y)
    if array.shape != (count,):
        raise ValueError(
            f"y must hold a label for each of the {count} examples, but its shape is "
            f"{list(array.shape)}."
        )
    listed = array.tolist() if hasattr(y, "__array__") else list(y)
    if any(each is None or each != each for each in listed):
        raise ValueError("y holds a label that is missing or NaN; every example needs a label.")
    if len({isinstance(each, str) for each in listed}) > 1:
        raise ValueError("y holds labels of several types; use text alone, or numbers.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError("y holds a label that is not finite; every example needs a label.")
    try:
        classes, labels = np.unique(array, return_inverse=True)
    except TypeError as error:
        raise ValueError("y holds labels of several types; use text alone, or numbers.") from error
    if len(classes) < 2:
        raise ValueError(
            f"y has the one class {classes.tolist()[0]!r}; give examples of at least two classes."
        )
    return classes.tolist(), labels.astype(np.int32)

"""Your own arrays: an .npz with examples x and labels y."""

import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jmeta.core._text import printable
from jmeta.data._dataset import dataset_from_classes
from jmeta.data._digests import file_digest
from jmeta.data._division import PARTS, Split, check_parts, choose_large
from jmeta.data._files import check_regular
from jmeta.data._labels import labels_of
from jmeta.data._limits import check_packed, check_set
from jmeta.data._pool import Dataset

_FILE = "an .npz with x and y"


class _Header(NamedTuple):
    """What the first bytes of an array in an .npz say about it."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def bytes(self) -> int:
        """How much memory the array takes."""
        return int(np.prod([int(n) for n in self.shape], dtype=object)) * self.dtype.itemsize


def load_npz(
    path: str | os.PathLike[str],
    *,
    split: Split = None,
    seed: int = 0,
    least: int = 1,
) -> Dataset:
    """Make a data set of an .npz with x [E, ...], numbers, and y [E], integers or strings.

    Args:
        path: the file. uint8 images [E, H, W] get a channel axis; other arrays stay as they are.
            Where it also has the arrays train, test and perhaps val, of the names of classes, that
            is its own division.
        split: fractions of the classes for train, val, test; or numbers of classes; or a folder
            with the class names in train.txt, val.txt and test.txt. None: the file's own division,
            or else (0.64, 0.16, 0.20).
        seed: of the shuffle that precedes a division by fractions.
        least: classes of fewer examples are left out before the set is divided; a warning names
            them.

    Raises:
        ValueError: the file is missing, damaged, too large when unpacked, or holds pickled
            objects; x and y differ in length; x has no features, a NaN, an infinity, or a number
            that JAX cannot hold; or a label is missing, infinite or -1, which marks padding in
            episodes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "points.npz")
    ...     np.savez(path, x=np.zeros((6, 2)), y=np.arange(6) % 3)
    ...     load_npz(path).info["classes"]
    {'train': ['0'], 'val': ['2'], 'test': ['1']}
    """
    path = Path(path)
    _check_headers(path)
    x, y = read_array(path, "x"), labels_of(path, read_array(path, "y"))
    check_examples(path, x)
    x = x.reshape(len(x), *_example_shape(x.shape, x.dtype))
    names, which, counts = np.unique(y, return_inverse=True, return_counts=True)
    x = x[np.argsort(which, kind="stable")]  # one copy; the classes are views of it
    pieces = np.split(x, np.cumsum(counts)[:-1])
    classes = {str(name): piece for name, piece in zip(names, pieces, strict=True)}
    sizes = {name: len(piece) for name, piece in classes.items()}
    split = npz_division(path) if split is None else split
    parts, facts = choose_large(sizes, split=split, seed=seed, least=least, source=path)
    facts |= {"source": str(path), "digest": file_digest(path)}
    return dataset_from_classes(classes, name=f"arrays:{path.stem}", parts=parts, info=facts)


def npz_counts(path: str | os.PathLike[str]) -> dict[str, int]:
    """Count the examples of every class of an .npz, reading only the labels.

    Args:
        path: the file.

    Raises:
        ValueError: the file or its labels are refused by `load_npz`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "points.npz")
    ...     np.savez(path, x=np.zeros((6, 2)), y=np.arange(6) % 3)
    ...     npz_counts(path)
    {'0': 2, '1': 2, '2': 2}
    """
    path = Path(path)
    _check_headers(path)
    names, counts = np.unique(labels_of(path, read_array(path, "y")), return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def npz_division(path: str | os.PathLike[str]) -> dict[str, list[str]] | None:
    """The file's own division: the names of the classes of each part; None where it has none.

    Args:
        path: the file.

    Raises:
        ValueError: train and test are not both there and text, or a class is in two parts.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "points.npz")
    ...     np.savez(path, x=np.zeros((6, 2)), y=np.arange(6) % 2, train=["0"], test=["1"])
    ...     npz_division(path)
    {'train': ['0'], 'val': [], 'test': ['1']}
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            held = [part for part in PARTS if f"{part}.npy" in archive.namelist()]
            headers = {part: header_of(archive, part) for part in held}
    except Exception as error:
        raise damaged(path, error) from error
    if not held:
        return None
    if not {"train", "test"} <= set(held) or any(
        len(header.shape) != 1 or (header.dtype.kind != "U" and header.shape[0])
        for header in headers.values()
    ):
        raise ValueError(
            f"{printable(path)} has {', '.join(held)} beside x and y; its own division would be "
            "train, test and perhaps val, each an array [C] of names of classes: correct that, or "
            "give a split."
        )
    size = sum(header.bytes for header in headers.values())
    check_packed(size, path.stat().st_size, what=f"{printable(path)} unpacks its division to")
    parts = {part: read_array(path, part).tolist() if part in held else [] for part in PARTS}
    check_parts(parts, source=str(path))
    return parts


def npz_example_shape(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Return the shape that one example of `load_npz` has, reading only the arrays' headers.

    Args:
        path: the file.

    Raises:
        ValueError: the file is missing, damaged or holds pickled objects, or x and y differ in
            length.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "images.npz")
    ...     np.savez(path, x=np.zeros((6, 8, 9), np.uint8), y=np.arange(6))
    ...     npz_example_shape(path)
    (8, 9, 1)
    """
    x, _ = _check_headers(Path(path))
    return _example_shape(x.shape, x.dtype)


def _check_headers(path: Path) -> tuple[_Header, _Header]:
    """The headers of x and y, where the arrays fit together and into memory."""
    check_regular(path, expected=_FILE)
    try:
        with zipfile.ZipFile(path) as archive:
            x, y = (header_of(archive, name) for name in ("x", "y"))
    except Exception as error:  # a damaged file fails in many ways
        raise damaged(path, error) from error
    what = f"{printable(path)} unpacks x {list(x.shape)} and y {list(y.shape)} to"
    check_packed(x.bytes + y.bytes, path.stat().st_size, what=what)
    check_set(x.bytes + y.bytes, what=what)
    _check_shapes(path, x.shape, y.shape)
    return x, y


def read_array(path: Path, name: str) -> np.ndarray:
    """One array of an .npz whose headers have been checked."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[f"{name}.npy"]  # a member that is only called x has not been checked
    except Exception as error:
        raise damaged(path, error) from error


def header_of(archive: zipfile.ZipFile, name: str) -> _Header:
    """Shape and dtype of an array of an .npz, which may be in no proper form."""
    layout = np.lib.format
    with archive.open(f"{name}.npy") as stream:
        first = layout.read_magic(stream) == (1, 0)
        read = layout.read_array_header_1_0 if first else layout.read_array_header_2_0
        shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(f"{name} has dtype object")
    return _Header(shape, dtype)


def _example_shape(shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, ...]:
    """The shape of one example of x; grey images [E, H, W] get a channel axis."""
    return (*shape[1:], 1) if dtype == np.uint8 and len(shape) == 3 else shape[1:]


def check_examples(path: Path, x: np.ndarray) -> None:
    """Reject what is no real number, and what is none any more when JAX holds it."""
    if x.dtype.kind not in "biuf" or x.dtype.itemsize > 8:
        raise ValueError(
            f"{printable(path)} has x of dtype {x.dtype}, expected real numbers of at most 64 "
            "bits; convert it, text for example to the integers of its tokens."
        )
    held = jax.dtypes.canonicalize_dtype(x.dtype)
    if x.dtype.kind == "f":
        _refuse_places(path, x, ~np.isfinite(x), "finite numbers")
    if held.itemsize < x.dtype.itemsize:
        ends = np.finfo(held) if x.dtype.kind == "f" else np.iinfo(held)
        outside = (x < ends.min) | (x > ends.max)
        _refuse_places(path, x, outside, f"numbers that {held} can hold, as JAX has them")


def _refuse_places(path: Path, x: np.ndarray, bad: np.ndarray, expected: str) -> None:
    if bad.any():
        place = [int(index) for index in np.unravel_index(int(bad.argmax()), bad.shape)]
        raise ValueError(
            f"{printable(path)} has {x[tuple(place)]} at x{place}, expected {expected}; correct "
            "the value, rescale x, or leave its example out."
        )


def damaged(path: Path, error: Exception) -> ValueError:
    """What to raise for a file that cannot be read; it may fail in many ways."""
    return ValueError(
        f"{printable(path)} cannot be read as {_FILE} and no pickled objects "
        f"({printable(error)}); write it with numpy.savez(path, x=x, y=y)."
    )


def _check_shapes(path: Path, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    if len(y) != 1 or len(x) < 1 or x[0] != y[0] or y[0] == 0:
        raise ValueError(
            f"{printable(path)} has x of shape {list(x)} and y of shape {list(y)}; expected x "
            "[E, ...] and y [E] with one label per example; give at least one of each."
        )
    if 0 in x:
        raise ValueError(
            f"{printable(path)} has x of shape {list(x)}, expected examples of at least one "
            "number; give each some features."
        )

"""Your own arrays: an .npz with examples x and labels y."""

import os
import zipfile
from pathlib import Path

import numpy as np

from jmeta.data._digests import file_digest
from jmeta.data._division import Split, choose_parts, dataset_from_classes
from jmeta.data._pool import Dataset


def load_npz(
    path: str | os.PathLike[str],
    *,
    split: Split = None,
    seed: int = 0,
) -> Dataset:
    """Make a data set of an .npz with x [E, ...], numbers, and y [E], integers or strings.

    Args:
        path: the file. uint8 images [E, H, W] get a channel axis; other arrays stay as they are.
        split: fractions of the classes for train, val, test, by default (0.64, 0.16, 0.20); or a
            folder with the class names in train.txt, val.txt and test.txt.
        seed: of the shuffle that precedes a division by fractions.

    Raises:
        ValueError: the file is missing, damaged or holds pickled objects; x and y differ in length;
            x has a NaN or an infinity; or a label is NaN or -1, which marks padding in episodes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "points.npz")
    ...     np.savez(path, x=np.zeros((6, 2)), y=np.arange(6) % 3)
    ...     load_npz(path).info["classes"]
    {'train': ['0'], 'val': ['2'], 'test': ['1']}
    """
    path = Path(path)
    x, y = _read(path)
    _check_examples(path, x)
    y = _labels(path, y)
    x = x.reshape(len(x), *_example_shape(x.shape, x.dtype))
    classes = {str(label): x[y == label] for label in np.unique(y)}
    parts, called = choose_parts(list(classes), split=split, seed=seed)
    facts = {"split": called, "source": str(path), "digest": file_digest(path)}
    return dataset_from_classes(classes, name=f"arrays:{path.stem}", parts=parts, info=facts)


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
    path = Path(path)
    _check_present(path)
    try:
        with zipfile.ZipFile(path) as archive:
            (x, dtype), (y, _) = (_header(archive, name) for name in ("x", "y"))
    except Exception as error:
        raise _damaged(path, error) from error
    _check_shapes(path, x, y)
    return _example_shape(x, dtype)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    _check_present(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except Exception as error:
        raise _damaged(path, error) from error
    _check_shapes(path, x.shape, y.shape)
    return x, y


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and dtype of an array in an .npz."""
    layout = np.lib.format
    with archive.open(f"{name}.npy") as stream:
        first = layout.read_magic(stream) == (1, 0)
        read = layout.read_array_header_1_0 if first else layout.read_array_header_2_0
        shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(f"{name} has dtype object")
    return shape, dtype


def _example_shape(shape: tuple[int, ...], dtype: np.dtype) -> tuple[int, ...]:
    """The shape of one example of x; grey images [E, H, W] get a channel axis."""
    return (*shape[1:], 1) if dtype == np.uint8 and len(shape) == 3 else shape[1:]


def _labels(path: Path, y: np.ndarray) -> np.ndarray:
    """Labels as classes: bytes become text, and what cannot name a class is rejected."""
    if y.dtype.kind == "S":
        try:
            return np.char.decode(y, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} has labels y of bytes that are not UTF-8 ({error}); store them as text "
                "or integers."
            ) from error
    if y.dtype.kind == "f" and np.isnan(y).any():
        raise ValueError(
            f"{path} has the label NaN at y[{int(np.argmax(np.isnan(y)))}], expected a class for "
            "every example; remove the examples without one."
        )
    if y.dtype.kind in "if" and (y == -1).any():
        raise ValueError(
            f"{path} has the label -1 at y[{int(np.argmax(y == -1))}], which marks padding and is "
            "no class; remove these examples, or give the class another number."
        )
    return y


def _check_examples(path: Path, x: np.ndarray) -> None:
    if x.dtype.kind not in "biufc":
        raise ValueError(
            f"{path} has x of dtype {x.dtype}, expected numbers; convert it, text for example to "
            "the integers of its tokens."
        )
    if x.dtype.kind in "fc" and not (finite := np.isfinite(x)).all():
        place = [int(index) for index in np.argwhere(~finite)[0]]
        raise ValueError(
            f"{path} has {x[tuple(place)]} at x{place}, expected finite numbers; correct the "
            "value or leave its example out."
        )


def _check_present(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"there is no file {path}; give the path of an .npz with x and y.")


def _damaged(path: Path, error: Exception) -> ValueError:
    """What to raise for a file that cannot be read; it may fail in many ways."""
    return ValueError(
        f"{path} cannot be read as an .npz with x and y and no pickled objects ({error}); "
        "write it with numpy.savez(path, x=x, y=y)."
    )


def _check_shapes(path: Path, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    if len(y) != 1 or len(x) < 1 or x[0] != y[0] or y[0] == 0:
        raise ValueError(
            f"{path} has x of shape {list(x)} and y of shape {list(y)}; expected x [E, ...] and "
            "y [E] with one label per example."
        )

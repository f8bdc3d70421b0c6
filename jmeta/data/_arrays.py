"""Your own arrays: an .npz with examples x and labels y."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jmeta.data._archives import file_digest
from jmeta.data._division import DEFAULT_FRACTIONS, choose_parts, dataset_from_classes
from jmeta.data._pool import Dataset


def load_npz(
    path: str | os.PathLike[str],
    *,
    split: Sequence[float] | str | os.PathLike[str] = DEFAULT_FRACTIONS,
    seed: int = 0,
) -> Dataset:
    """Make a data set of an .npz with x `[E, ...]` and y `[E]`, integers or strings.

    Args:
        path: the file. uint8 images `[E, H, W]` get a channel axis; all else stays as it is.
        split: fractions of the classes for train, val, test; or a folder with the class names in
            train.txt, val.txt and test.txt.
        seed: of the shuffle behind the fractions.

    Raises:
        ValueError: the file is missing or damaged, holds pickled objects, or x and y disagree.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "points.npz")
    ...     np.savez(path, x=np.zeros((6, 2)), y=np.arange(6) % 3)
    ...     load_npz(path).info["classes"]
    {'train': ['0'], 'val': ['2'], 'test': ['1']}
    """
    path = Path(path)
    x, y = _read(path)
    x = x[..., None] if x.dtype == np.uint8 and x.ndim == 3 else x
    classes = {str(label): x[y == label] for label in np.unique(y)}
    parts, called = choose_parts(list(classes), split=split, seed=seed)
    facts = {"split": called, "source": str(path), "digest": file_digest(path)}
    return dataset_from_classes(classes, name=f"arrays:{path.stem}", parts=parts, info=facts)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise ValueError(f"there is no file {path}; give the path of an .npz with x and y")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except Exception as error:  # a damaged file fails in many ways, none of them the user's code
        raise ValueError(
            f"{path} cannot be read as an .npz with x and y and no pickled objects ({error}); "
            "write it with numpy.savez(path, x=x, y=y)"
        ) from error
    if y.ndim != 1 or x.ndim < 1 or len(x) != len(y) or len(y) == 0:
        raise ValueError(
            f"{path} has x of shape {list(x.shape)} and y of shape {list(y.shape)}; expected "
            "x [E, ...] and y [E] with one label per example"
        )
    return x, y

"""Labels of arrays as the names of classes."""

from pathlib import Path

import numpy as np

from jmeta.core._text import printable

_MISSING = "expected a class for every example; remove the examples without one"


def labels_of(path: Path, y: np.ndarray) -> np.ndarray:
    """Return labels as classes: bytes become text, and what cannot name a class is rejected.

    Args:
        path: the file that the labels are from, for messages.
        y: [E] integers, numbers, text, bytes, dates or booleans.

    Raises:
        ValueError: a label is of another kind, NaN, infinite, a fraction, no date, empty, bytes
            that are no UTF-8, or -1, which marks padding in episodes.

    >>> labels_of(Path("a.npz"), np.array([b"cat", b"owl"])).tolist()
    ['cat', 'owl']
    """
    called = printable(path)
    if y.dtype.kind not in "biufUSMm":
        raise ValueError(
            f"{called} has labels y of dtype {y.dtype}, expected integers or text; convert them."
        )
    if y.dtype.kind == "S":
        y = _decoded(called, y)
    if y.dtype.kind == "f" and (bad := ~np.isfinite(y)).any():
        said = "NaN" if np.isnan(y[bad.argmax()]) else str(y[bad.argmax()])
        raise ValueError(f"{called} has the label {said} at y[{int(bad.argmax())}], {_MISSING}.")
    if y.dtype.kind == "f" and (bad := y != np.rint(y)).any():
        raise ValueError(
            f"{called} has the label {y[bad.argmax()]} at y[{int(bad.argmax())}], a fraction, "
            "which names no class; store classes as integers or text, and targets in a table."
        )
    if y.dtype.kind in "Mm" and (bad := np.isnat(y)).any():
        raise ValueError(f"{called} has the label NaT at y[{int(bad.argmax())}], {_MISSING}.")
    if y.dtype.kind == "U" and (bad := np.char.strip(y) == "").any():
        raise ValueError(f"{called} has an empty label at y[{int(bad.argmax())}], {_MISSING}.")
    if y.dtype.kind in "if" and (y == -1).any():
        raise ValueError(
            f"{called} has the label -1 at y[{int(np.argmax(y == -1))}], which marks padding and "
            "is no class; remove these examples, or give the class another number."
        )
    return y


def _decoded(called: str, y: np.ndarray) -> np.ndarray:
    try:
        return np.char.decode(y, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{called} has labels y of bytes that are not UTF-8 ({error}); store them as text or "
            "integers."
        ) from error

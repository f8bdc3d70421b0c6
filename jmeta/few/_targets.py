"""What people want to have learned: labels of any kind, and numbers in their own units."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jmeta.data._rows import LARGEST

Facts = Mapping[str, Any]  # see `jmeta.experiments._bare.facts_of`


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
    # 2^53 + 1 beside a fraction is another number in NumPy, "a\0" is "a", and a date a number.
    if array.dtype.kind in "mM" or set(classes.tolist()) != set(listed):
        raise ValueError("y holds labels that NumPy changes; name the classes by text or numbers.")
    if len(classes) < 2:
        raise ValueError(
            f"y has the one class {classes.tolist()[0]!r}; give examples of at least two classes."
        )
    return classes.tolist(), labels.astype(np.int32)

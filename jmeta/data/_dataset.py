"""Making a data set of classes that have been divided."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jmeta.core._text import printable
from jmeta.data._division import PARTS
from jmeta.data._pool import Dataset, pool_from_classes, split_hash


def dataset_from_classes(
    classes: Mapping[str, np.ndarray],
    *,
    name: str,
    parts: Mapping[str, Sequence[str]],
    info: Mapping[str, Any],
) -> Dataset:
    """Make a data set: a training pool, a validation pool (None when empty) and a test pool.

    Args:
        classes: class name -> its examples [n, ...].
        name: the data set's name.
        parts: "train", "val", "test" -> class names, in the pools' order.
        info: facts that JSON can hold ("split", "source", "licence"). The others that
            `Dataset.info` has are added.

    Raises:
        ValueError: a part lists a class that is not there, or train or test is empty.

    >>> data = {"cat": np.zeros((3, 2, 2, 1), np.uint8), "owl": np.ones((2, 2, 2, 1), np.uint8)}
    >>> parts = {"train": ["cat"], "val": [], "test": ["owl"]}
    >>> made = dataset_from_classes(data, name="pets", parts=parts, info={"split": "mine"})
    >>> made.train.largest, made.val, made.info["shape"]
    (3, None, [2, 2, 1])
    """
    _check_listed(classes, name, parts)
    pools = {
        part: pool_from_classes([classes[label] for label in parts[part]])
        for part in PARTS
        if parts[part]
    }
    kept = {part: list(parts[part]) for part in PARTS}
    facts = {
        "split": "own",
        "hash": split_hash(kept),
        "classes": kept,
        "source": "",
        "licence": "see the source",
        "shape": [int(n) for n in pools["train"].examples.shape[1:]],
        **info,
    }
    return Dataset(name, pools["train"], pools.get("val"), pools["test"], facts)


def _check_listed(
    classes: Mapping[str, np.ndarray], name: str, parts: Mapping[str, Sequence[str]]
) -> None:
    """Reject a split with no training or test class, or with classes that are not there."""
    if not parts["train"] or not parts["test"]:
        raise ValueError(
            f"the split of {printable(name)} has {len(parts['train'])} classes to train and "
            f"{len(parts['test'])} to test, expected at least one of each; add classes, or give "
            "fractions as the split to divide all classes anew."
        )
    listed = [label for part in PARTS for label in parts[part]]
    if missing := [label for label in listed if label not in classes]:
        raise ValueError(
            f"the split of {printable(name)} lists {len(missing)} classes that it does "
            f"not have, the first is {missing[0]!r}; correct the lists or bring those classes."
        )

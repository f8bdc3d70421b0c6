"""From classes by name to a data set: which classes train, validate and test."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jmeta.data._pool import Dataset, pool_from_classes, split_hash

Fractions = tuple[float, float, float]

PARTS = ("train", "val", "test")
DEFAULT_FRACTIONS: Fractions = (0.64, 0.16, 0.20)


def divide_classes(
    names: Sequence[str], *, split: Sequence[float] = DEFAULT_FRACTIONS, seed: int = 0
) -> dict[str, list[str]]:
    """Divide class names into train, val and test by a seeded shuffle.

    The order of the shuffle is that of sha256(seed/name): the same on every machine and version.
    A part with a fraction above 0 gets at least one class; train gets what rounding leaves.

    Args:
        names: the class names, in any order.
        split: fractions of the classes for train, val, test; they sum to 1 and val may be 0.
        seed: another seed, another division.

    Raises:
        ValueError: the fractions do not sum to 1, or there are fewer classes than parts.

    >>> parts = divide_classes([str(i) for i in range(10)])
    >>> {part: len(classes) for part, classes in parts.items()}
    {'train': 6, 'val': 2, 'test': 2}
    """
    train, val, test = _check_fractions(split)
    needed = sum(fraction > 0 for fraction in (train, val, test))
    if len(names) < needed:
        raise ValueError(
            f"got {len(names)} classes for {needed} parts (train, val, test = {tuple(split)}); "
            "bring more classes or set the fraction of val to 0"
        )
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    tests = max(1, round(test * len(order)))
    vals = max(1, round(val * len(order))) if val > 0 else 0
    cuts = len(order) - tests - vals, len(order) - tests
    if cuts[0] < 1:
        raise ValueError(
            f"{len(names)} classes divided as {tuple(split)} leave none to train on; "
            "bring more classes or a larger first fraction"
        )
    pieces = order[: cuts[0]], order[cuts[0] : cuts[1]], order[cuts[1] :]
    return {part: sorted(piece) for part, piece in zip(PARTS, pieces, strict=True)}


def read_split_lists(folder: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read train.txt, val.txt (optional) and test.txt: one class name a line.

    Args:
        folder: where the lists are.

    Raises:
        ValueError: train.txt or test.txt is missing or empty, or a class is listed twice.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part, text in (("train", "cat\\ndog\\n"), ("test", "owl\\n")):
    ...         _ = Path(folder, f"{part}.txt").write_text(text)
    ...     read_split_lists(folder)
    {'train': ['cat', 'dog'], 'val': [], 'test': ['owl']}
    """
    parts = {}
    for part in PARTS:
        path = Path(folder) / f"{part}.txt"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        parts[part] = [line.strip() for line in lines if line.strip()]
        if not parts[part] and part != "val":
            raise ValueError(
                f"{path} is missing or empty; write the {part} classes there, one name a line"
            )
    check_parts(parts, source=str(folder))
    return parts


def choose_parts(
    names: Sequence[str], *, split: Sequence[float] | str | os.PathLike[str], seed: int
) -> tuple[dict[str, list[str]], str]:
    """Class names by part and what to call that split, from fractions or a folder of lists.

    Args:
        names: the class names that there are.
        split: fractions for `divide_classes`, or a folder for `read_split_lists`.
        seed: of the shuffle behind the fractions.

    Raises:
        ValueError: as those two functions.

    >>> choose_parts(["cat", "dog"], split=(0.5, 0, 0.5), seed=0)[1]
    'random 0.5/0/0.5 seed 0'
    """
    if isinstance(split, str | os.PathLike):
        return read_split_lists(split), f"lists {Path(split).name}"
    parts = divide_classes(names, split=split, seed=seed)
    return parts, f"random {'/'.join(f'{fraction:g}' for fraction in split)} seed {seed}"


def check_parts(parts: Mapping[str, Sequence[str]], *, source: str) -> None:
    """Refuse a split in which a class stands twice.

    Args:
        parts: "train", "val", "test" -> class names.
        source: where the split came from, for the message.

    Raises:
        ValueError: a class is in two parts, or twice in one.

    >>> check_parts({"train": ["cat"], "test": ["owl"]}, source="pets")
    """
    seen: dict[str, str] = {}
    for part, names in parts.items():
        for name in names:
            if name in seen:
                raise ValueError(
                    f"{source} has the class {name!r} in both {seen[name]} and {part}; few-shot "
                    "parts share no class, so keep it in one (or drop the parts and let the "
                    "classes be divided)"
                )
            seen[name] = part


def dataset_from_classes(
    classes: Mapping[str, np.ndarray],
    *,
    name: str,
    parts: Mapping[str, Sequence[str]],
    info: Mapping[str, Any],
) -> Dataset:
    """Put classes into a training, a validation (None when empty) and a test pool.

    Args:
        classes: class name -> its examples `[n, ...]`.
        name: the data set's name.
        parts: "train", "val", "test" -> class names, in pool order.
        info: JSON-able facts ("split", "source", "licence"); the rest is added here.

    Raises:
        ValueError: a part names a class that is not there.

    >>> data = {"cat": np.zeros((3, 2, 2, 1), np.uint8), "owl": np.ones((2, 2, 2, 1), np.uint8)}
    >>> parts = {"train": ["cat"], "val": [], "test": ["owl"]}
    >>> made = dataset_from_classes(data, name="pets", parts=parts, info={"split": "mine"})
    >>> made.train.largest, made.val, made.info["image"]
    (3, None, [2, 2, 1])
    """
    listed = [label for part in PARTS for label in parts[part]]
    if missing := [label for label in listed if label not in classes]:
        raise ValueError(
            f"the split of {name} lists {len(missing)} classes that it does not have, the first "
            f"is {missing[0]!r}; correct the lists or bring those classes"
        )
    pools = {
        part: pool_from_classes([classes[label] for label in parts[part]]) if parts[part] else None
        for part in PARTS
    }
    if pools["train"] is None or pools["test"] is None:
        raise ValueError(f"the split of {name} needs at least one class to train and one to test")
    kept = {part: list(parts[part]) for part in PARTS}
    facts = {
        "split": "own",
        "hash": split_hash(kept),
        "classes": kept,
        "source": "",
        "licence": "see the source",
        "image": [int(n) for n in pools["train"].examples.shape[1:]],
        **info,
    }
    return Dataset(name, pools["train"], pools["val"], pools["test"], facts)


def _check_fractions(split: Sequence[float]) -> Fractions:
    values = tuple(float(fraction) for fraction in split)
    good = len(values) == 3 and values[0] > 0 and values[1] >= 0 and values[2] > 0
    if not good or abs(sum(values) - 1) > 1e-6:
        raise ValueError(
            f"got the split {tuple(split)}; expected three fractions for train, val and test that "
            "sum to 1, such as (0.64, 0.16, 0.20)"
        )
    return values[0], values[1], values[2]

"""Dividing a set's classes into those that train, validate and test."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jmeta.data._pool import Dataset, pool_from_classes, split_hash

Fractions = tuple[float, float, float]
# Fractions of the classes for train, val and test; or a folder with their names in train.txt,
# val.txt and test.txt; or None for the source's own division, or else the default fractions.
Split = Sequence[float] | str | os.PathLike[str] | None

PARTS = ("train", "val", "test")
DEFAULT_FRACTIONS: Fractions = (0.64, 0.16, 0.20)


def divide_classes(
    names: Sequence[str], *, split: Sequence[float] = DEFAULT_FRACTIONS, seed: int = 0
) -> dict[str, list[str]]:
    """Divide class names into train, val and test by a seeded shuffle.

    Names are ordered by sha256(seed/name), which is the same on every machine and in every
    version. A part with a fraction above 0 gets at least one class; train gets what rounding
    leaves.

    Args:
        names: the class names, in any order.
        split: fractions of the classes for train, val, test; they sum to 1 and val may be 0.
        seed: of the shuffle.

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
            "bring more classes or set the fraction of val to 0."
        )
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    tests = max(1, round(test * len(order)))
    vals = max(1, round(val * len(order))) if val > 0 else 0
    cuts = len(order) - tests - vals, len(order) - tests
    if cuts[0] < 1:
        raise ValueError(
            f"{len(names)} classes divided as {tuple(split)} leave none to train on; "
            "bring more classes or raise the first fraction."
        )
    pieces = order[: cuts[0]], order[cuts[0] : cuts[1]], order[cuts[1] :]
    return {part: sorted(piece) for part, piece in zip(PARTS, pieces, strict=True)}


def read_split_lists(folder: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read the class names in train.txt, val.txt (optional) and test.txt, one name a line.

    Args:
        folder: where the lists are: UTF-8, with or without a byte order mark.

    Raises:
        ValueError: the folder, train.txt or test.txt is missing, a list is empty or no UTF-8, or a
            class is listed twice.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part, text in (("train", "cat\\ndog\\n"), ("test", "owl\\n")):
    ...         _ = Path(folder, f"{part}.txt").write_text(text)
    ...     read_split_lists(folder)
    {'train': ['cat', 'dog'], 'val': [], 'test': ['owl']}
    """
    if not Path(folder).is_dir():
        raise ValueError(
            f"got the split {str(folder)!r}; expected three fractions such as 0.64,0.16,0.20, or "
            "an existing folder with train.txt, val.txt and test.txt."
        )
    parts = {}
    for part in PARTS:
        path = Path(folder) / f"{part}.txt"
        parts[part] = _read_list(path)
        if not parts[part] and part != "val":
            raise ValueError(
                f"{path} is missing or empty; write the {part} classes there, one name a line."
            )
    check_parts(parts, source=str(folder))
    return parts


def choose_parts(
    names: Sequence[str], *, split: Split, seed: int
) -> tuple[dict[str, list[str]], str]:
    """Return the class names of each part, and a description of that split.

    Args:
        names: all class names.
        split: fractions for `divide_classes`, a folder for `read_split_lists`, or None for
            `DEFAULT_FRACTIONS`.
        seed: of the shuffle that precedes a division by fractions.

    Raises:
        ValueError: as those two functions.

    >>> choose_parts(["cat", "dog"], split=(0.5, 0, 0.5), seed=0)[1]
    'random 0.5/0/0.5 seed 0'
    """
    if isinstance(split, str | os.PathLike):
        return read_split_lists(split), f"lists {Path(split).name}"
    split = DEFAULT_FRACTIONS if split is None else split
    parts = divide_classes(names, split=split, seed=seed)
    return parts, f"random {'/'.join(f'{fraction:g}' for fraction in split)} seed {seed}"


def check_parts(parts: Mapping[str, Sequence[str]], *, source: str) -> None:
    """Reject a split in which a class occurs twice.

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
                where = (
                    f"twice in {part}" if seen[name] == part else f"in both {seen[name]} and {part}"
                )
                raise ValueError(
                    f"{source} has the class {name!r} {where}; the parts of a split share no "
                    "class, so keep it in one of them, or give fractions as the split to divide "
                    "all classes anew."
                )
            seen[name] = part


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
            f"the split of {name} has {len(parts['train'])} classes to train and "
            f"{len(parts['test'])} to test, expected at least one of each; add classes, or give "
            "fractions as the split to divide all classes anew."
        )
    listed = [label for part in PARTS for label in parts[part]]
    if missing := [label for label in listed if label not in classes]:
        raise ValueError(
            f"the split of {name} lists {len(missing)} classes that it does not have, the first "
            f"is {missing[0]!r}; correct the lists or bring those classes."
        )


def _read_list(path: Path) -> list[str]:
    """The lines of a list that are not blank; none where there is no file."""
    try:
        text = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as UTF-8 text ({error}); save it again, one class name a line."
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _check_fractions(split: Sequence[float]) -> Fractions:
    values = tuple(float(fraction) for fraction in split)
    good = len(values) == 3 and values[0] > 0 and values[1] >= 0 and values[2] > 0
    if not good or abs(sum(values) - 1) > 1e-6:
        raise ValueError(
            f"got the split {tuple(split)}; expected three fractions for train, val and test that "
            "sum to 1, such as (0.64, 0.16, 0.20)."
        )
    return values[0], values[1], values[2]

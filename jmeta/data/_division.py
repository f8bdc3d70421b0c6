"""Dividing a set's classes into those that train, validate and test."""

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jmeta.core._text import printable
from jmeta.data._files import read_bytes

Fractions = tuple[float, float, float]
# Fractions of the classes for train, val and test, or numbers of classes; or a folder with their
# names in train.txt, val.txt and test.txt; or these names themselves; or None for the source's own
# division, or else the default fractions.
Split = Sequence[float] | Mapping[str, Sequence[str]] | str | os.PathLike[str] | None

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
        split: fractions of the classes for train, val, test, which sum to 1, or whole numbers of
            classes, which sum to the number of names; val may be 0.
        seed: of the shuffle.

    Raises:
        ValueError: the fractions do not sum to 1, or there are fewer classes than parts.

    >>> parts = divide_classes([str(i) for i in range(10)])
    >>> {part: len(classes) for part, classes in parts.items()}
    {'train': 6, 'val': 2, 'test': 2}
    """
    numbers = part_sizes(len(names), split)
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    cuts = numbers[0], numbers[0] + numbers[1]
    pieces = order[: cuts[0]], order[cuts[0] : cuts[1]], order[cuts[1] :]
    return {part: sorted(piece) for part, piece in zip(PARTS, pieces, strict=True)}


def part_sizes(total: int, split: Sequence[float] = DEFAULT_FRACTIONS) -> tuple[int, int, int]:
    """Return how many classes each part of a division gets.

    Args:
        total: all classes.
        split: as for `divide_classes`.

    Raises:
        ValueError: as `divide_classes`.

    >>> part_sizes(12), part_sizes(12, (7, 0, 5))
    ((8, 2, 2), (7, 0, 5))
    """
    train, val, test = _check_split(split, total)
    if train + val + test > 1.5:
        return int(train), int(val), int(test)
    needed = sum(fraction > 0 for fraction in (train, val, test))
    if total < needed:
        raise ValueError(
            f"got {total} classes for {needed} parts (train, val, test = {tuple(split)}); "
            "bring more classes or set the fraction of val to 0."
        )
    tests = max(1, round(test * total))
    vals = max(1, round(val * total)) if val > 0 else 0
    if total - tests - vals < 1:
        raise ValueError(
            f"{total} classes divided as {tuple(split)} leave none to train on; "
            "bring more classes or raise the first fraction."
        )
    return total - tests - vals, vals, tests


def drop_small(counts: Mapping[str, int], least: int, *, source: Any) -> list[str]:
    """Return the classes that have enough examples, and warn of those that are left out.

    Args:
        counts: class name -> its examples.
        least: the fewest examples of a class that is kept.
        source: where the classes come from, for the message.

    Raises:
        ValueError: `least` is below 1, or no class has so many examples.

    >>> drop_small({"cat": 20, "owl": 30}, 20, source="pets")
    ['cat', 'owl']
    """
    if least < 1:
        raise ValueError(f"got least={least}, expected at least 1 example a class; raise it.")
    kept = [name for name, count in counts.items() if count >= least]
    small = [f"{name!r} ({count})" for name, count in counts.items() if count < least]
    if small:
        shown = ", ".join(small[:20] + ["..."] * (len(small) > 20))
        said = f"{printable(source)}: {len(small)} of {len(counts)} classes have fewer than {least}"
        if not kept:
            raise ValueError(f"{said} examples, so none is left: {shown}; ask for fewer.")
        warnings.warn(f"{said} examples and are left out: {shown}.", stacklevel=4)
    return kept


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
            f"got the split {str(folder)!r}; expected three fractions such as 0.64,0.16,0.20, "
            "three numbers of classes, or an existing folder with train.txt, val.txt and test.txt."
        )
    parts = {}
    for part in PARTS:
        path = Path(folder) / f"{part}.txt"
        parts[part] = _read_list(path)
        if not parts[part] and part != "val":
            raise ValueError(
                f"{printable(path)} is missing or empty; write the {part} classes "
                "there, one name a line."
            )
    check_parts(parts, source=str(folder))
    return parts


def choose_parts(
    names: Sequence[str], *, split: Split, seed: int
) -> tuple[dict[str, list[str]], str]:
    """Return the class names of each part, and a description of that split.

    Args:
        names: all class names.
        split: fractions for `divide_classes`, a folder for `read_split_lists`, the names of each
            part, or None for `DEFAULT_FRACTIONS`.
        seed: of the shuffle that precedes a division by fractions.

    Raises:
        ValueError: as those two functions.

    >>> choose_parts(["cat", "dog"], split=(0.5, 0, 0.5), seed=0)[1]
    'random 0.5/0/0.5 seed 0'
    """
    if isinstance(split, str | os.PathLike):
        return read_split_lists(split), f"lists {Path(split).name}"
    if isinstance(split, Mapping):
        return {part: list(split.get(part, ())) for part in PARTS}, "its own"
    split = DEFAULT_FRACTIONS if split is None else split
    parts = divide_classes(names, split=split, seed=seed)
    return parts, f"random {'/'.join(f'{fraction:g}' for fraction in split)} seed {seed}"


def choose_large(
    counts: Mapping[str, int], *, split: Split, seed: int, least: int, source: Any
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Divide the classes that have enough examples, and return also the facts about that.

    Args:
        counts: class name -> its examples.
        split, seed: as for `choose_parts`.
        least: the fewest examples of a class that is kept; a list may still name the others.
        source: where the classes come from, for messages.

    Raises:
        ValueError: as `choose_parts` and `drop_small`.

    >>> choose_large({"a": 9, "b": 9, "c": 9}, split=None, seed=0, least=5, source="x")[1]
    {'split': 'random 0.64/0.16/0.2 seed 0'}
    """
    kept = drop_small(counts, least, source=source)
    parts, called = choose_parts(kept, split=split, seed=seed)
    small = {name: count for name, count in counts.items() if name not in set(kept)}
    parts = {part: [name for name in names if name not in small] for part, names in parts.items()}
    return parts, {"split": called, **({"left_out": small} if small else {})}


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
                    f"{printable(source)} has the class {name!r} {where}; the parts of a split "
                    "share no class, so keep it in one of them, or give fractions as the split to "
                    "divide all classes anew."
                )
            seen[name] = part


def _read_list(path: Path) -> list[str]:
    """The lines of a list that are not blank; none where there is no file."""
    if not path.exists():
        return []
    try:
        text = read_bytes(path, expected="a list of classes").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{printable(path)} cannot be read as UTF-8 text ({error}); save it again, one class "
            "name a line."
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _check_split(split: Sequence[float], total: int) -> Fractions:
    """Three fractions that sum to 1, or three whole numbers that sum to the number of classes."""
    values = tuple(float(fraction) for fraction in split)
    good = len(values) == 3 and values[0] > 0 and values[1] >= 0 and values[2] > 0
    whole = good and all(value.is_integer() for value in values)
    if not good or (abs(sum(values) - 1) > 1e-6 and not (whole and sum(values) == total)):
        raise ValueError(
            f"got the split {tuple(split)} of {total} classes; expected three fractions for train, "
            "val and test that sum to 1, such as (0.64, 0.16, 0.20), or three numbers of classes "
            "that sum to all of them."
        )
    return values[0], values[1], values[2]

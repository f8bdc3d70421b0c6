"""Divisions of few classes that leave enough of them to each part."""

import warnings

from jmeta.core._text import printable
from jmeta.data._division import part_sizes
from jmeta.data._registry import Root, class_counts

Sizes = tuple[int, int, int]  # classes to train, to validate and to test


def default_split(name: str, *, ways: tuple[int, int], root: Root = None, least: int = 1) -> str:
    """Choose how to divide a set whose division nobody gave, so that episodes find their classes.

    Args:
        name: as for `load`.
        ways: the classes that an episode takes in training, and in validation and testing.
        root: the folder under which sets are looked for; `$JMETA_DATA` by default.
        least: the fewest examples of a class that is kept.

    Returns:
        What `load` takes as the split: "default" where the default division has enough classes in
        each part, where no other has, or where the set has a division of its own; else numbers of
        classes such as "7,0,5", of which a warning tells.

    Raises:
        ValueError: the set is absent or damaged.

    >>> default_split("glyphs", ways=(5, 5))
    'default'
    """
    counts = class_counts(name, root)
    total = sum(count >= least for count in (counts or {}).values())
    usual, found = _usual_sizes(total), fitting_sizes(total, *ways)
    if counts is None or found is None or found == usual:
        return "default"
    made = ",".join(map(str, found))
    before = "/".join(map(str, usual)) if usual else "no way"
    warnings.warn(
        f"{printable(name)}: its {total} classes would be divided {before} by default, too few for "
        f"episodes of {ways[0]} ways in training and {ways[1]} in testing; they are divided "
        f"{made.replace(',', '/')} into train, val and test instead. Give a split to choose.",
        stacklevel=2,
    )
    return made


def fitting_sizes(total: int, training: int, testing: int) -> Sizes | None:
    """Return how many classes each part may get, as near to the default division as possible.

    Args:
        total: all classes.
        training: classes that a training episode takes.
        testing: classes that a validation or test episode takes.

    Returns:
        Classes to train, to validate and to test. None are for validation where there are not
        enough for all three; None instead of the three numbers where two parts have too few.

    >>> fitting_sizes(12, 5, 5), fitting_sizes(20, 5, 5), fitting_sizes(9, 5, 5)
    ((7, 0, 5), (10, 5, 5), None)
    """
    usual = _usual_sizes(total)
    if usual and usual[0] >= training and min(usual[1:]) >= testing:
        return usual
    _, vals, tests = usual or (0, 0, 0)
    if total >= training + 2 * testing:
        tests = max(testing, min(tests, total - training - testing))
        vals = max(testing, min(vals, total - training - tests))
        return total - vals - tests, vals, tests
    if total >= training + testing:
        tests = max(testing, min(tests, total - training))
        return total - tests, 0, tests
    return None


def _usual_sizes(total: int) -> Sizes | None:
    """The sizes of the default division, where there is one."""
    try:
        return part_sizes(total)
    except ValueError:
        return None

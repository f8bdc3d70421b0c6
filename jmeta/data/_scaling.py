"""The scaling of a table: what its columns are standardised by, kept for other tables."""

import math
from collections.abc import Mapping
from typing import Any

from jmeta.data._rows import Rows, shown


def check_scaling(scaling: Any) -> None:
    """Refuse what is not the scaling of a table, `info["scaling"]` of `load_table`.

    Raises:
        ValueError: an entry is missing or of another type.

    >>> check_scaling({"features": {}, "target": {"column": "y", "mean": 0.0, "deviation": 1.0}})
    >>> check_scaling({"features": {}})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: the scaling of a table has no usable target; take ...
    """
    given = scaling if isinstance(scaling, Mapping) else {}
    features, target = given.get("features"), given.get("target")
    entries = dict(features) if isinstance(features, Mapping) else {"features": None}
    named = isinstance(target, Mapping) and isinstance(target.get("column"), str)
    usable = {name: _usable(entry) or _texts(entry) for name, entry in entries.items()}
    usable["target"] = usable.get("target", True) and named and _usable(target)
    if bad := [name for name, good in usable.items() if not good]:
        raise ValueError(
            f'the scaling of a table has no usable {bad[0]}; take info["scaling"] of its data set.'
        )


def _usable(entry: Any) -> bool:
    """Whether an entry has a mean and a deviation to divide by."""
    if not isinstance(entry, Mapping):
        return False
    mean, deviation = entry.get("mean"), entry.get("deviation")
    if not all(type(value) in (int, float) for value in (mean, deviation)):
        return False
    return math.isfinite(mean) and math.isfinite(deviation) and deviation > 0  # type: ignore[arg-type, operator]


def _texts(entry: Any) -> bool:
    """Whether an entry lists the values of a column of text."""
    values = entry.get("values") if isinstance(entry, Mapping) else None
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def in_order(rows: Rows, aimed: int, used: list[int], scaling: Mapping[str, Any]) -> list[int]:
    """The columns of the features in the order of a scaling.

    Raises:
        ValueError: the table has other columns than the scaling.
    """
    wanted, aim = list(scaling["features"]), scaling["target"]["column"]
    found = [rows.columns[column] for column in used]
    if sorted(wanted) != sorted(found) or rows.columns[aimed] != aim:
        raise ValueError(
            f"{rows.path} has the features {shown(found)} and the target {rows.columns[aimed]!r}, "
            f"but the scaling is one of {shown(wanted)} and {aim!r}; name the columns alike, and "
            "leave others out with drop=."
        )
    return [rows.columns.index(name) for name in wanted]

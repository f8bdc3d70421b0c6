"""Columns of a table as numbers: standardised, or an indicator for each text."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from jmeta.data._rows import LARGEST, Rows, is_number, number_of, refusal, shown, text_of

MOST_KINDS = 20  # values that a column of text may have


def values_of(
    rows: Rows,
    used: list[int],
    aimed: int,
    training: np.ndarray,
    scaling: Mapping[str, Any] | None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Standardised features and target [R, D + 1], and the facts about these columns."""
    columns, names, features = [], [], dict[str, Any]()
    for column in used:
        called = rows.columns[column]
        stored = None if scaling is None else scaling["features"][called]
        if _of_numbers(rows, column) if stored is None else "mean" in stored:
            values, features[called] = _standard(rows, column, training, stored)
            columns.append(values)
            names.append(called)
        else:
            found = _indicators(rows, column, training, stored)
            features[called] = {"values": list(found)}
            columns += found.values()
            names += [f"{called}={kind}" for kind in found]
    y, aim = _standard(rows, aimed, training, None if scaling is None else scaling["target"])
    if scaling is None and np.ptp(y[training]) == 0:
        raise ValueError(
            f"{rows.called}: the target {rows.columns[aimed]!r} is {aim['mean']:g} in every row of "
            "the training tasks; choose another target."
        )
    goal = {"column": rows.columns[aimed], **aim}
    facts = {"features": names, "target": goal, "scaling": {"features": features, "target": goal}}
    return np.stack([*columns, y], axis=1).astype(np.float32), facts


def features_of(rows: Rows, scaling: Mapping[str, Any]) -> np.ndarray:
    """The features of a table [R, D], as the scaling of another one has them; no target is needed.

    Args:
        rows: which have the columns of the features, in any order; others are left out.
        scaling: `info["scaling"]` of the other table.

    Raises:
        ValueError: a column is missing, or a cell cannot be used.
    """
    wanted = scaling["features"]
    if missing := [name for name in wanted if name not in rows.columns]:
        raise ValueError(
            f"{rows.called} lacks the columns {shown(missing)}; the run has the features "
            f"{shown(wanted)}."
        )
    nobody, columns = np.zeros(len(rows.cells), bool), []
    for name, stored in wanted.items():
        column = rows.columns.index(name)
        if "mean" in stored:
            columns.append(_standard(rows, column, nobody, stored)[0])
        else:
            columns += _indicators(rows, column, nobody, stored).values()
    return np.stack(columns, axis=1).astype(np.float32)


def _of_numbers(rows: Rows, column: int) -> bool:
    return any(is_number(row[column]) for row in rows.cells)


def _standard(
    rows: Rows, column: int, training: np.ndarray, stored: Mapping[str, Any] | None
) -> tuple[np.ndarray, dict[str, float]]:
    """A standardised column [R], and its mean and deviation (1 if all values are equal).

    They are those of the training rows, or the stored ones.
    """
    values = np.array([number_of(rows, row, column) for row in range(len(rows.cells))])
    if stored is None:
        constant = np.ptp(values[training]) == 0
        mean = float(values[training][0] if constant else values[training].mean())
        deviation = 1.0 if constant else float(values[training].std())
    else:
        mean, deviation = float(stored["mean"]), float(stored["deviation"])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        scaled = (values - mean) / deviation
    if len(bad := np.flatnonzero(~(np.abs(scaled) < LARGEST))):
        what = f"is {LARGEST:g} deviations from the mean or more; correct it or leave the row out."
        raise refusal(rows, int(bad[0]), column, what)
    return scaled, {"mean": mean, "deviation": deviation}


def _indicators(
    rows: Rows, column: int, training: np.ndarray, stored: Mapping[str, Any] | None
) -> dict[str, np.ndarray]:
    """Text -> a column [R], 1 where that text is and 0 elsewhere.

    The texts are all in the training rows, or the stored ones.

    Raises:
        ValueError: there are too many texts, or the column has none of the stored ones.
    """
    texts = [text_of(rows, row, column) for row in range(len(rows.cells))]
    kinds = sorted({text for text, used in zip(texts, training, strict=True) if used})
    if stored is not None:
        kinds = list(stored["values"])
        _check_known(rows, column, set(texts), kinds)
    if len(kinds) > MOST_KINDS:
        raise ValueError(
            f"{rows.called}: the column {rows.columns[column]!r} is text with {len(kinds)} values "
            f"in the training tasks, expected numbers or at most {MOST_KINDS} values; "
            "leave it out with drop= or write numbers."
        )
    return {kind: np.array([text == kind for text in texts], np.float64) for kind in kinds}


def _check_known(rows: Rows, column: int, texts: set[str], kinds: list[str]) -> None:
    """Refuse a column with none of the texts that a run was trained on; tell of single others."""
    known, others = shown(kinds, 5), shown(sorted(texts.difference(kinds)), 5)
    called = f"{rows.called}: the column {rows.columns[column]!r}"
    if texts.isdisjoint(kinds):
        raise ValueError(
            f"{called} has the values {others}, and none of those that the run was trained on: "
            f"{known}; write them as the run knows them."
        )
    if others:
        warnings.warn(
            f"{called} has values that the run was not trained on, {others}; they are given to it "
            f"as none of {known}.",
            stacklevel=2,
        )

"""A CSV as text, every cell with its line and column, so that messages can name the place."""

import csv
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jmeta.core._text import printable
from jmeta.data._files import check_regular
from jmeta.data._limits import check_file

LARGEST = 1e30  # numbers from here on are rejected; a float32 ends at 3.4e38


class Rows(NamedTuple):
    """A file as text, with one cell per row and column."""

    path: Path
    columns: list[str]
    lines: list[int]  # [R] where each row ends in the file, from 1
    cells: list[list[str]]  # [R][columns]

    @property
    def called(self) -> str:
        """The path for messages."""
        return printable(self.path)


def read_rows(path: Path) -> Rows:
    """Read a UTF-8 CSV whose first line names the columns. Blank lines are left out.

    Raises:
        ValueError: the file is missing, is no CSV in UTF-8 or has no rows; columns have no name or
            the same name; or a row has more or fewer cells than there are columns.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.csv")
    ...     _ = path.write_text("task,y\\na,1\\n")
    ...     read_rows(path).cells
    [['a', '1']]
    """
    check_regular(path, expected="a CSV")
    check_file(path.stat().st_size, what=f"{printable(path)} has")
    lines, cells = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if any(cell.strip() for cell in row):
                    lines.append(reader.line_num)
                    cells.append([cell.strip() for cell in row])
    except (csv.Error, UnicodeDecodeError) as error:
        near = lines[-1] + 1 if lines else 1
        raise ValueError(
            f"{printable(path)} cannot be read as CSV in UTF-8 near line {near} ({error}); save "
            "it again as comma-separated UTF-8."
        ) from error
    if len(cells) < 2:
        raise ValueError(
            f"{printable(path)} has {len(cells)} rows; expected a first line with the names of the "
            "columns and one row per example."
        )
    _check_shape(path, cells, lines)
    return Rows(path, cells[0], lines[1:], cells[1:])


def from_columns(columns: Mapping[str, Sequence[Any]], called: str) -> Rows:
    """Make a table of columns in memory; row n is line n in messages, from 1.

    Args:
        columns: name -> its cells.
        called: what to call the table in messages.

    Raises:
        ValueError: there are no columns or no rows, or columns differ in length.

    >>> from_columns({"hours": [1, 2.5], "kind": ["a", "b"]}, "x").cells
    [['1', 'a'], ['2.5', 'b']]
    """
    lengths = {name: len(cells) for name, cells in columns.items()}
    if not lengths or 0 in lengths.values() or len(set(lengths.values())) > 1:
        raise ValueError(
            f"{called} has columns of {sorted(set(lengths.values()))} rows; give all as many, and "
            "at least one."
        )
    cells = [[_as_text(cell) for cell in row] for row in zip(*columns.values(), strict=True)]
    return Rows(Path(called), list(columns), [*range(1, len(cells) + 1)], cells)


def _as_text(cell: Any) -> str:
    """A cell as a CSV would hold it; numbers keep all their digits, and None is missing."""
    if cell is None:
        return ""
    return repr(float(cell)) if isinstance(cell, np.floating) else str(cell).strip()


def shown(names: Iterable[str], most: int = 20) -> str:
    """Quote names for a message, at most so many of them.

    >>> shown("abc", 2)
    "'a', 'b', ..."
    """
    listed = [repr(name[:40]) for name in names]
    return ", ".join(listed[:most] + ["..."] * (len(listed) > most))


def text_of(rows: Rows, row: int, column: int) -> str:
    """Return the text of a cell.

    Raises:
        ValueError: the cell is empty or "nan".

    >>> text_of(Rows(Path("a.csv"), ["y"], [2], [["a"]]), 0, 0)
    'a'
    """
    text = rows.cells[row][column]
    if is_missing(text):
        raise refusal(
            *(rows, row, column),
            "is a missing value; fill it in, or leave the row out (jmeta train: --drop-missing).",
        )
    return text


def is_missing(text: str) -> bool:
    """Tell whether a cell says nothing.

    >>> [is_missing(text) for text in ("", "NaN", "none")]
    [True, True, False]
    """
    return text.casefold() in ("", "nan")


def without_missing(rows: Rows, columns: Sequence[int]) -> Rows:
    """Leave out the rows with a missing value in one of some columns; a warning counts them.

    Raises:
        ValueError: every row has one.

    >>> rows = Rows(Path("a.csv"), ["y", "note"], [2, 3], [["1", ""], ["2", "a"]])
    >>> without_missing(rows, [0]).lines
    [2, 3]
    """
    kept = [
        row
        for row, cells in enumerate(rows.cells)
        if not any(is_missing(cells[c]) for c in columns)
    ]
    if not kept:
        raise ValueError(
            f"every row of {rows.called} has a missing value; drop= the columns that are empty."
        )
    if left := len(rows.cells) - len(kept):
        warnings.warn(
            f"{left} of {len(rows.cells)} rows of {rows.called} have a missing value and are left "
            "out",
            stacklevel=3,
        )
    return Rows(
        rows.path, rows.columns, [rows.lines[r] for r in kept], [rows.cells[r] for r in kept]
    )


def number_of(rows: Rows, row: int, column: int) -> float:
    """Return the number in a cell.

    Raises:
        ValueError: the cell is empty, no finite number below `LARGEST`, or a whole number of more
            digits than float64 keeps, such as an identifier.

    >>> number_of(Rows(Path("a.csv"), ["y"], [2], [["1e3"]]), 0, 0)
    1000.0
    """
    text = text_of(rows, row, column)
    if not is_number(text):
        raise refusal(rows, row, column, "is no number; correct it or leave the row out.")
    if not abs(float(text)) < LARGEST:
        raise refusal(
            rows, row, column, f"is {LARGEST:g} or more; correct it or rescale the column."
        )
    if text.lstrip("+-").isdecimal() and int(text) != float(text):
        raise refusal(
            rows, row, column, "has more digits than a number keeps; drop= the column or round it."
        )
    return float(text)


def is_number(text: str) -> bool:
    """Tell whether a text is a finite number.

    >>> [is_number(text) for text in ("-1.5", "inf", "1_000", "one")]
    [True, False, False, False]
    """
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def refusal(rows: Rows, row: int, column: int, what: str) -> ValueError:
    """Make an error that says where a cell is, what it holds, and `what` is wrong with it.

    >>> refusal(Rows(Path("a.csv"), ["y"], [2], [["one"]]), 0, 0, "is no number.")
    ValueError("a.csv, line 2, column 'y': 'one' is no number.")
    """
    place = f"{rows.called}, line {rows.lines[row]}, column {rows.columns[column]!r}"
    return ValueError(f"{place}: {shown([rows.cells[row][column]])} {what}")


def _check_shape(path: Path, cells: list[list[str]], lines: list[int]) -> None:
    columns = cells[0]
    if len(set(columns)) < len(columns) or "" in columns:
        raise ValueError(
            f"{printable(path)}, line {lines[0]}: the columns are {shown(columns)}; "
            "give each a name of its own."
        )
    for row, line in zip(cells, lines, strict=True):
        if len(row) != len(columns):
            raise ValueError(
                f"{printable(path)}, line {line}: {len(row)} cells, expected {len(columns)}, one "
                "per column; correct that line (text with a comma belongs in quotes)."
            )

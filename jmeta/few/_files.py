"""Support sets and queries in files: folders of images, and tables."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jmeta.core._text import printable
from jmeta.data._images import SUFFIXES
from jmeta.data._layout import entries_of, find_classes
from jmeta.data._rows import Rows, is_missing, number_of, read_rows, shown, text_of

FILE_COLUMN, LABEL_COLUMN = "file", "label"  # of a table of images
Facts = Any  # see `jmeta.experiments._bare.facts_of`


class Labelled(NamedTuple):
    """Examples from files."""

    names: list[Any]  # [N] what to call each in an answer: its file, or its line of a table
    x: Any  # as `FewShot.adapt` takes them
    y: list[Any] | None  # labels or targets [N]; None where they are not known
    unit: str = FILE_COLUMN  # what the names are


def support_of(path: Path, facts: Facts) -> Labelled:
    """A support set: a folder of `<class>/<image>`, or a CSV.

    Args:
        path: the folder; or a CSV with the features and, last or under its own name, the target; or
            one of images, with the columns file and label.
        facts: what examples look like.

    Raises:
        ValueError: there is no such folder or file, or it has no labels or targets.
    """
    found = _table(path, facts) if _is_table(path) else _folder(path, facts)
    if found.y is None:
        missing = "column of labels" if _is_table(path) else "folders of classes"
        if facts["features"] is not None:
            missing = f"column {facts['target']['column']!r} of targets"
        raise ValueError(
            f"the support set {printable(path)} has no {missing}; expected "
            f"{_expected(facts)}, with what each example is."
        )
    return found


def queries_of(paths: Sequence[Path], facts: Facts) -> Labelled:
    """Queries: a folder of images or of `<class>/<image>`, image files, or a CSV.

    Args:
        paths: one folder or CSV, or image files.
        facts: what examples look like.

    Raises:
        ValueError: something is missing or cannot be read.
    """
    if len(paths) == 1 and _is_table(paths[0]):
        return _table(paths[0], facts)
    if len(paths) == 1 and (paths[0].is_dir() or not _is_image(paths[0])):
        return _folder(paths[0], facts)
    if strange := [path for path in paths if not _is_image(path)]:
        raise ValueError(
            f"{printable(strange[0])} is no image file ({', '.join(SUFFIXES)}); give image files, "
            "or one folder or CSV."
        )
    _require_images(facts, paths[0])
    return Labelled([printable(path) for path in paths], list(paths), None)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _is_image(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def _expected(facts: Facts) -> str:
    """The files that a run can read, in words."""
    if facts["features"] is not None:
        return f"a CSV with the columns {shown(facts['scaling']['features'])}"
    if len(facts["example"]["shape"]) == 3:
        return "a folder of <class>/<image> or a CSV with the columns file and label"
    return "a CSV of numbers"


def _require_images(facts: Facts, path: Path) -> None:
    shape = facts["example"]["shape"]
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise ValueError(
            f"{printable(path)} holds images, but the run takes examples of shape {shape}; give "
            f"{_expected(facts)}."
        )


def _folder(path: Path, facts: Facts) -> Labelled:
    """A folder: its class folders, or the images that lie in it."""
    if path.suffix.lower() != ".zip" and not path.is_dir():
        raise ValueError(f"there is no folder or CSV {printable(path)}; give {_expected(facts)}.")
    if not path.is_dir():
        raise ValueError(f"{printable(path)} is an archive; unpack it and give the folder.")
    _require_images(facts, path)
    flat = [name for name in entries_of(path) if "/" not in name and _is_image(Path(name))]
    if flat:
        return Labelled(
            [printable(n) for n in sorted(flat)], [path / name for name in sorted(flat)], None
        )
    files = find_classes(path).files
    pairs = [(name, label) for label, names in files.items() for name in names]
    names = [name for name, _ in pairs]
    found = [path / name for name in names]
    return Labelled([printable(n) for n in names], found, [label for _, label in pairs])


def _table(path: Path, facts: Facts) -> Labelled:
    """A CSV: of a table's columns, of images, or of numbers."""
    rows = read_rows(path)
    if facts["features"] is not None:
        return _features(rows, facts)
    if len(facts["example"]["shape"]) == 3:
        return _listed_images(rows, facts)
    return _numbers(rows, facts)


def _features(rows: Rows, facts: Facts) -> Labelled:
    """Rows with the features of the run, and the target where the file has it."""
    target = facts["target"]["column"]
    y = None
    column = rows.columns.index(target) if target in rows.columns else None
    if column is not None and not all(is_missing(row[column]) for row in rows.cells):
        y = [number_of(rows, row, column) for row in range(len(rows.cells))]
    return Labelled(rows.lines, rows, y, "line")


def _listed_images(rows: Rows, facts: Facts) -> Labelled:
    """Image files beside the CSV that names them."""
    _require_images(facts, rows.path)
    if FILE_COLUMN not in rows.columns:
        raise ValueError(
            f"{rows.called} has the columns {shown(rows.columns)}; expected file and label."
        )
    column = rows.columns.index(FILE_COLUMN)
    names = [text_of(rows, row, column) for row in range(len(rows.cells))]
    y = None
    if LABEL_COLUMN in rows.columns:
        column = rows.columns.index(LABEL_COLUMN)
        y = [text_of(rows, row, column) for row in range(len(rows.cells))]
    return Labelled(names, [rows.path.parent / name for name in names], y)


def _numbers(rows: Rows, facts: Facts) -> Labelled:
    """Columns of numbers, in order, and perhaps a last one of labels or targets."""
    shape = facts["example"]["shape"]
    width = shape[0] if len(shape) == 1 else None
    if width is None or len(rows.columns) not in (width, width + 1):
        raise ValueError(
            f"{rows.called} has {len(rows.columns)} columns; expected {width} numbers of an "
            "example, and one more for what it is."
            if width
            else f"{rows.called}: examples of shape {shape} cannot be read from a CSV."
        )
    count = range(len(rows.cells))
    x = [[number_of(rows, row, column) for column in range(width)] for row in count]
    if len(rows.columns) == width:
        return Labelled(rows.lines, x, None, "line")
    read: Any = text_of if facts["kind"] == "classes" else number_of
    return Labelled(rows.lines, x, [read(rows, row, width) for row in count], "line")


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as CSV.

    >>> as_csv(["file", "label"], [["a.png", "owl"]])
    'file,label\\r\\na.png,owl\\r\\n'
    """
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()

"""Which images of a folder or zip make up which class."""

import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jmeta.core._text import printable
from jmeta.data._division import PARTS
from jmeta.data._files import check_regular
from jmeta.data._images import SUFFIXES
from jmeta.data._walk import visible, walk

_PART_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_LAYOUT = "expected <class>/<image> or train|val|test/<class>/<image>"


class Layout(NamedTuple):
    """Which image files make up which class, as found in a folder or zip."""

    files: dict[str, list[str]]  # class name -> paths of its images, sorted
    parts: dict[str, list[str]] | None  # the source's own train, val and test; None without them
    left_out: dict[str, int]  # suffix -> how many files in class folders are no images by it


def find_classes(path: Path, archive: zipfile.ZipFile | None = None) -> Layout:
    """Find the class folders of a folder or an open zip.

    Args:
        path: the folder or zip.
        archive: the zip, opened by `open_zip`; None for a folder.

    Returns:
        The images of every class. Those of equally named folders in train, val and test are
        together.

    Raises:
        ValueError: the folder is missing, no class folder holds an image, one of several holds
            none, or what is named as an image is no file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "cat").mkdir()
    ...     Path(folder, "cat", "1.png").touch()
    ...     find_classes(Path(folder)).files
    {'cat': ['cat/1.png']}
    """
    entries = entries_of(path, archive)
    images = sorted(n for n in entries if not n.endswith("/") and n.lower().endswith(SUFFIXES))
    if not images:
        raise ValueError(f"{printable(path)} holds no image{_suffixes(entries)}; {_LAYOUT}.")
    top = _depth_of_classes(images)
    own = all(_PART_NAMES.get(p[top]) and len(p) > top + 2 for p in _split_names(images))
    files: dict[str, list[str]] = {}
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for name, pieces in zip(images, _split_names(images), strict=True):
        if len(pieces) != top + own + 2:
            raise ValueError(
                f"{printable(path)} has the image {name!r} in an unexpected place; {_LAYOUT}."
            )
        files.setdefault(pieces[-2], []).append(name)
        parts[_PART_NAMES[pieces[top]] if own else "train"].append(pieces[-2])
    _refuse_empty(entries, set(files), top + own, path)
    parts = {part: sorted(set(labels)) for part, labels in parts.items()}
    others = [n for n in entries if len(PurePosixPath(n).parts) >= top + own + 2]
    return Layout(files, parts if own else None, _other_suffixes(others))


def entries_of(path: Path, archive: zipfile.ZipFile | None = None) -> list[str]:
    """List the paths of what is in a folder or an open zip, without what is hidden.

    Args:
        path, archive: as for `find_classes`.

    Raises:
        ValueError: the folder is missing or cannot be read, or an image in it is no file.
    """
    if archive is not None:
        return [name for name in archive.namelist() if visible(name)]
    entries = walk(path)
    for name in entries:
        if name.lower().endswith(SUFFIXES):
            check_regular(path / name, expected="an image")
    return entries


def _split_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    return [PurePosixPath(name).parts for name in names]


def _depth_of_classes(images: Sequence[str]) -> int:
    """How many nested folders enclose everything, as the top folder of many archives does."""
    pieces = _split_names(images)
    shallowest = min(len(p) for p in pieces)
    depth = 0
    while shallowest - depth > 2 and len({p[depth] for p in pieces}) == 1:
        depth += 1
    return depth


def _refuse_empty(entries: Sequence[str], classes: set[str], depth: int, path: Path) -> None:
    """Reject a class folder without an image, and say what it has in its place."""
    for entry in entries:
        pieces = PurePosixPath(entry).parts
        inside = len(pieces) > depth + 1 or (len(pieces) == depth + 1 and entry.endswith("/"))
        if inside and pieces[depth] not in classes:
            mine = [
                n
                for n in entries
                if PurePosixPath(n).parts[depth : depth + 1] == pieces[depth:][:1]
            ]
            raise ValueError(
                f"the class folder {pieces[depth]!r} in {printable(path)} has no "
                f"image{_suffixes(mine)}; add some or remove the folder."
            )


def _other_suffixes(entries: Iterable[str]) -> dict[str, int]:
    """How many files there are of each suffix that is no image's, the most frequent first."""
    files = (n for n in entries if not n.endswith("/") and not n.lower().endswith(SUFFIXES))
    return dict(Counter(PurePosixPath(name).suffix.lower() for name in files).most_common())


def counted(suffixes: dict[str, int]) -> str:
    """Say how many files there are of each suffix.

    >>> counted({".heic": 10, "": 1})
    '10 .heic, 1 without a suffix'
    """
    named = [
        f"{count} {printable(suffix[:20]) or 'without a suffix'}"
        for suffix, count in suffixes.items()
    ]
    return ", ".join(named[:8] + ["..."] * (len(named) > 8))


def _suffixes(entries: Sequence[str]) -> str:
    """The suffixes that are read, and those that are there in their place."""
    others = _other_suffixes(entries)
    there = f" but {counted(others)}" if others else ""
    return f" ({', '.join(SUFFIXES)}){there}"

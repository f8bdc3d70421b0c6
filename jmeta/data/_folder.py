"""Your own images: folders (or a zip) of `<class>/<file>`, with or without train/val/test."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from jmeta.data._archives import Mode, decode_image, file_digest, open_zip, read_member
from jmeta.data._division import (
    DEFAULT_FRACTIONS,
    PARTS,
    check_parts,
    choose_parts,
    dataset_from_classes,
)
from jmeta.data._pool import Dataset

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_PART_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_LAYOUT = "expected <class>/<image> or train|val|test/<class>/<image>"


class Layout(NamedTuple):
    """Which image files make up which class, as found in a folder or zip."""

    files: dict[str, list[str]]  # class name -> paths of its images, sorted
    parts: dict[str, list[str]] | None  # the source's own train/val/test, None without one


def load_folder(
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    split: Sequence[float] | str | os.PathLike[str] = DEFAULT_FRACTIONS,
    seed: int = 0,
    channels: int | None = None,
) -> Dataset:
    """Make a data set of a folder, or a zip, of images in class folders.

    Subfolders train, val and test that hold class folders are taken as your own split.

    Args:
        path: the folder or `.zip`; png, jpg, jpeg, bmp, gif and webp files are read.
        size: side in pixels that every image is scaled to (Lanczos); None keeps the images' own.
        split: fractions of the classes for train, val, test; or a folder with the class names in
            train.txt, val.txt and test.txt.
        seed: of the shuffle behind the fractions.
        channels: 1 (grey) or 3 (RGB); None takes 3 when any image has colour.

    Raises:
        ValueError: the folder is missing, a class folder has no image, an image cannot be
            decoded, or sizes differ and `size` is None.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "dog", "owl"):
    ...         Path(folder, name).mkdir()
    ...         Image.new("L", (9, 7), 128).save(Path(folder, name, "1.png"))
    ...     load_folder(folder, size=4).train.examples.shape
    (1, 4, 4, 1)
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"got channels={channels}; expected 1 (grey), 3 (RGB) or None")
    path = Path(path)
    with ExitStack() as stack:
        archive = stack.enter_context(open_zip(path)) if _is_zip(path) else None
        layout = find_classes(path, archive)
        if layout.parts is not None and not isinstance(split, str | os.PathLike):
            parts, label = layout.parts, "own folders"
        else:
            parts, label = choose_parts(list(layout.files), split=split, seed=seed)
        wanted = sorted(name for names in parts.values() for name in names)
        known = {name: layout.files[name] for name in wanted if name in layout.files}
        classes = _decode_classes(known, _reader(path, archive), size, channels)
    facts = {"split": label, "source": str(path)}
    return dataset_from_classes(classes, name=f"folder:{path.stem}", parts=parts, info=facts)


def find_classes(path: Path, archive: zipfile.ZipFile | None = None) -> Layout:
    """Find the class folders of a folder or an open zip.

    Args:
        path: the folder or zip.
        archive: the zip, opened by `open_zip`; None for a folder.

    Raises:
        ValueError: the folder is missing, holds no image in class folders, or a class folder has
            none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "cat").mkdir()
    ...     Path(folder, "cat", "1.png").touch()
    ...     find_classes(Path(folder)).files
    {'cat': ['cat/1.png']}
    """
    names = _walk(path) if archive is None else archive.namelist()
    entries = [name for name in names if _visible(name)]
    images = sorted(n for n in entries if not n.endswith("/") and n.lower().endswith(SUFFIXES))
    if not images:
        raise ValueError(f"{path} holds no image ({', '.join(SUFFIXES)}); {_LAYOUT}")
    top = _depth_of_classes(images)
    own = all(_PART_NAMES.get(p[top]) and len(p) > top + 2 for p in _split_names(images))
    files: dict[str, list[str]] = {}
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for name, pieces in zip(images, _split_names(images), strict=True):
        if len(pieces) != top + own + 2:
            raise ValueError(f"{path} has the image {name!r} in an unexpected place; {_LAYOUT}")
        files.setdefault(pieces[-2], []).append(name)
        parts[_PART_NAMES[pieces[top]] if own else "train"].append(pieces[-2])
    _refuse_empty(entries, set(files), top + own, path)
    if not own:
        return Layout(files, None)
    parts = {part: sorted(set(labels)) for part, labels in parts.items()}
    check_parts(parts, source=str(path))
    return Layout(files, parts)


def folder_digest(path: str | os.PathLike[str]) -> str:
    """Digest of what a folder or zip of images holds, to name a prepared copy after.

    A zip is digested by its bytes; a folder by its images' paths, sizes and times of change.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(folder_digest(folder))
    64
    """
    path = Path(path)
    if _is_zip(path):
        return file_digest(path)
    digest = hashlib.sha256()
    for name in sorted(_walk(path)):
        facts = (path / name).stat()
        digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _walk(path: Path) -> list[str]:
    """Relative paths of all files and folders (these end in "/"), at most five levels down."""
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}; give an existing folder or .zip of images")
    found = []
    for folder, below, files in os.walk(path, followlinks=True):
        place = Path(folder).relative_to(path)
        found += [(place / name).as_posix() for name in files]
        found += [(place / name).as_posix() + "/" for name in below]
        if len(place.parts) >= 4:
            below.clear()
    return found


def _visible(name: str) -> bool:
    return not any(p.startswith(".") or p == "__MACOSX" for p in PurePosixPath(name).parts)


def _split_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    return [PurePosixPath(name).parts for name in names]


def _depth_of_classes(images: Sequence[str]) -> int:
    """How many folders enclose everything: the top folders that archives often have."""
    pieces = _split_names(images)
    shallowest = min(len(p) for p in pieces)
    depth = 0
    while shallowest - depth > 2 and len({p[depth] for p in pieces}) == 1:
        depth += 1
    return depth


def _refuse_empty(entries: Sequence[str], classes: set[str], depth: int, path: Path) -> None:
    for entry in entries:
        pieces = PurePosixPath(entry).parts
        inside = len(pieces) > depth + 1 or (len(pieces) == depth + 1 and entry.endswith("/"))
        if inside and pieces[depth] not in classes:
            raise ValueError(
                f"the class folder {pieces[depth]!r} in {path} has no image "
                f"({', '.join(SUFFIXES)}); add some or remove the folder"
            )


def _reader(path: Path, archive: zipfile.ZipFile | None) -> Callable[[str], bytes]:
    if archive is None:
        return lambda name: (path / name).read_bytes()
    return lambda name: read_member(archive, name)


def _decode_classes(
    files: dict[str, list[str]],
    read: Callable[[str], bytes],
    size: int | None,
    channels: int | None,
) -> dict[str, np.ndarray]:
    """Decode every image in threads: class name -> uint8 `[n, H, W, C]`."""
    mode: Mode | None = {1: "L", 3: "RGB"}.get(channels or 0)  # type: ignore[assignment]
    names = [name for group in files.values() for name in group]
    images: list[np.ndarray] = []
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        decoded = threads.map(lambda n: decode_image(read(n), name=n, mode=mode, size=size), names)
        for name, image in zip(names, decoded, strict=True):
            if images and image.shape[:2] != images[0].shape[:2]:
                raise ValueError(
                    f"{names[0]} is {images[0].shape[:2]} pixels high and wide but {name} is "
                    f"{image.shape[:2]}; give `size` to scale all images to one"
                )
            images.append(image)
    colours = any(image.ndim == 3 for image in images)
    ready = [_with_channels(image, colours) for image in images]
    ends = np.cumsum([len(group) for group in files.values()])[:-1]
    return dict(zip(files, np.split(np.stack(ready), ends), strict=True)) if ready else {}


def _with_channels(image: np.ndarray, colours: bool) -> np.ndarray:
    if image.ndim == 3:
        return image
    return np.repeat(image[..., None], 3 if colours else 1, axis=-1)

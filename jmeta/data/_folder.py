"""Your own images: a folder or a zip of `<class>/<image>`, with or without train, val and test."""

import os
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from jmeta.data._archives import Mode, decode_image, open_zip, read_member
from jmeta.data._digests import file_digest, listing_digest
from jmeta.data._division import PARTS, Split, check_parts, choose_parts, dataset_from_classes
from jmeta.data._pool import Dataset

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_PART_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_LAYOUT = "expected <class>/<image> or train|val|test/<class>/<image>"


class Layout(NamedTuple):
    """Which image files make up which class, as found in a folder or zip."""

    files: dict[str, list[str]]  # class name -> paths of its images, sorted
    parts: dict[str, list[str]] | None  # the source's own train, val and test; None without them


def load_folder(
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    split: Split = None,
    seed: int = 0,
    channels: int | None = None,
) -> Dataset:
    """Make a data set of a folder, or a zip, of images in class folders.

    Hidden files and dead links are passed over.

    Args:
        path: the folder or `.zip`. It is searched for png, jpg, jpeg, jfif, bmp, gif, webp, tif
            and tiff files.
        size: height and width in pixels that every image is scaled to (Lanczos); None keeps the
            images' own.
        split: fractions of the classes for train, val, test; or a folder with the class names in
            train.txt, val.txt and test.txt. None takes the division into subfolders train, val and
            test where there are such, and else (0.64, 0.16, 0.20). If a split is given, such
            subfolders are merged: classes of the same name become one.
        seed: of the shuffle that precedes a division by fractions.
        channels: 1 (grey) or 3 (RGB). None takes 3 when any image has colour.

    Raises:
        ValueError: the folder is missing, a class folder has no image, an image cannot be decoded,
            sizes differ and `size` is None, or a class is in two of the subfolders train, val and
            test and `split` is None.

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
        raise ValueError(
            f"got channels={channels}, expected 1 (grey), 3 (RGB) or None; pass one of them."
        )
    path = Path(path)
    with ExitStack() as stack:
        archive = stack.enter_context(open_zip(path)) if _is_zip(path) else None
        layout = find_classes(path, archive)
        parts, label = _divide(layout, path, split, seed)
        wanted = sorted(name for names in parts.values() for name in names)
        known = {name: layout.files[name] for name in wanted if name in layout.files}
        classes = _decode_classes(known, path, archive, size, channels)
    facts = {"split": label, "source": str(path)}
    return dataset_from_classes(classes, name=f"folder:{path.stem}", parts=parts, info=facts)


def find_classes(path: Path, archive: zipfile.ZipFile | None = None) -> Layout:
    """Find the class folders of a folder or an open zip.

    Args:
        path: the folder or zip.
        archive: the zip, opened by `open_zip`; None for a folder.

    Returns:
        The images of every class. Those of equally named folders in train, val and test are
        together.

    Raises:
        ValueError: the folder is missing, no class folder holds an image, or one of several holds
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
        raise ValueError(f"{path} holds no image ({', '.join(SUFFIXES)}); {_LAYOUT}.")
    top = _depth_of_classes(images)
    own = all(_PART_NAMES.get(p[top]) and len(p) > top + 2 for p in _split_names(images))
    files: dict[str, list[str]] = {}
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for name, pieces in zip(images, _split_names(images), strict=True):
        if len(pieces) != top + own + 2:
            raise ValueError(f"{path} has the image {name!r} in an unexpected place; {_LAYOUT}.")
        files.setdefault(pieces[-2], []).append(name)
        parts[_PART_NAMES[pieces[top]] if own else "train"].append(pieces[-2])
    _refuse_empty(entries, set(files), top + own, path)
    parts = {part: sorted(set(labels)) for part, labels in parts.items()}
    return Layout(files, parts if own else None)


def folder_digest(path: str | os.PathLike[str]) -> str:
    """Return a digest of a folder or zip of images, to name a prepared copy after.

    A zip is digested by its bytes; a folder by its files' paths, sizes and modification times.

    Raises:
        ValueError: the folder or zip is missing, or the zip is damaged.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(folder_digest(folder))
    64
    """
    path = Path(path)
    if not _is_zip(path):
        return listing_digest(path, _walk(path))
    open_zip(path).close()  # raises if there is no such zip
    return file_digest(path)


def _divide(
    layout: Layout, path: Path, split: Split, seed: int
) -> tuple[dict[str, list[str]], str]:
    """The class names of each part, and what to call that split."""
    if split is not None or layout.parts is None:
        return choose_parts(list(layout.files), split=split, seed=seed)
    check_parts(layout.parts, source=str(path))
    return layout.parts, "own folders"


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _walk(path: Path) -> list[str]:
    """Relative paths of all files and folders (these end in "/"), at most five levels down.

    Hidden ones and dead links are left out.
    """
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}; give an existing folder or .zip of images.")
    found = []
    for folder, below, files in os.walk(path, followlinks=True):
        place = Path(folder).relative_to(path)
        below[:] = filter(_visible, below)
        alive = (name for name in filter(_visible, files) if Path(folder, name).exists())
        found += [(place / name).as_posix() for name in alive]
        found += [(place / name).as_posix() + "/" for name in below]
        if len(place.parts) >= 4:
            below.clear()
    return found


def _visible(name: str) -> bool:
    return not any(p.startswith(".") or p == "__MACOSX" for p in PurePosixPath(name).parts)


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
    for entry in entries:
        pieces = PurePosixPath(entry).parts
        inside = len(pieces) > depth + 1 or (len(pieces) == depth + 1 and entry.endswith("/"))
        if inside and pieces[depth] not in classes:
            raise ValueError(
                f"the class folder {pieces[depth]!r} in {path} has no image "
                f"({', '.join(SUFFIXES)}); add some or remove the folder."
            )


def _read(path: Path, archive: zipfile.ZipFile | None, name: str) -> bytes:
    """The bytes of a file in the folder or zip."""
    if archive is not None:
        return read_member(archive, name)
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path / name} cannot be read ({error.strerror}); permit it or remove the file."
        ) from error


def _decode_classes(
    files: dict[str, list[str]],
    path: Path,
    archive: zipfile.ZipFile | None,
    size: int | None,
    channels: int | None,
) -> dict[str, np.ndarray]:
    """Decode every image, in threads: class name -> uint8 [n, H, W, C]."""
    mode: Mode | None = {1: "L", 3: "RGB"}.get(channels or 0)  # type: ignore[assignment]
    names = [name for group in files.values() for name in group]

    def decode(name: str) -> np.ndarray:
        data = _read(path, archive, name)
        return decode_image(data, name=f"{path / name}", mode=mode, size=size)

    images: list[np.ndarray] = []
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        for name, image in zip(names, threads.map(decode, names), strict=True):
            if images and image.shape[:2] != images[0].shape[:2]:
                raise ValueError(
                    f"in {path}, {names[0]} is {images[0].shape[:2]} pixels high and wide but "
                    f"{name} is {image.shape[:2]}; give `size` to scale all images to one."
                )
            images.append(image)
    return _grouped(images, files)


def _grouped(images: list[np.ndarray], files: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Stack the images of each class, all with as many channels as one of them needs."""
    if not images:
        return {}
    colours = any(image.ndim == 3 for image in images)
    ready = np.stack([_with_channels(image, colours) for image in images])
    ends = np.cumsum([len(group) for group in files.values()])[:-1]
    return dict(zip(files, np.split(ready, ends), strict=True))


def _with_channels(image: np.ndarray, colours: bool) -> np.ndarray:
    if image.ndim == 3:
        return image
    return np.repeat(image[..., None], 3 if colours else 1, axis=-1)

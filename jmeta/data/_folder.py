"""Your own images: a folder or a zip of `<class>/<image>`, with or without train, val and test."""

import os
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jmeta.core._text import printable
from jmeta.data._archives import open_zip, read_member
from jmeta.data._dataset import dataset_from_classes
from jmeta.data._digests import file_digest, listing_digest
from jmeta.data._division import Split, check_parts, choose_large, drop_small
from jmeta.data._files import read_bytes
from jmeta.data._images import Fit, Mode, check_fit, decode_image, scale_all
from jmeta.data._layout import Layout, counted, entries_of, find_classes
from jmeta.data._limits import check_set
from jmeta.data._pool import Dataset


def load_folder(
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    split: Split = None,
    seed: int = 0,
    channels: int | None = None,
    fit: Fit = "stretch",
    least: int = 1,
) -> Dataset:
    """Make a data set of a folder, or a zip, of images in class folders.

    Hidden files and dead links are passed over. Other files in class folders are left out, and a
    warning says how many of which suffix. Transparent places show white.

    Args:
        path: the folder or `.zip`. It is searched for files that end as in
            `jmeta.data.IMAGE_SUFFIXES`: png, jpeg, bmp, gif, webp, tiff and ppm.
        size: height and width in pixels that every image is scaled to (Lanczos); None keeps the
            images' own.
        split: fractions of the classes for train, val, test; or numbers of classes; or a folder
            with the class names in train.txt, val.txt and test.txt. None takes the division into
            subfolders train, val and test where there are such, and else (0.64, 0.16, 0.20). If a
            split is given, such subfolders are merged: classes of the same name become one.
        seed: of the shuffle that precedes a division by fractions.
        channels: 1 (grey) or 3 (RGB). None takes 3 when any image has colour.
        fit: how an image that is not square is fitted to `size`: "stretch" changes its aspect
            ratio, "crop" takes its middle, "pad" repeats the pixels at its edges.
        least: classes of fewer images are left out before the set is divided; a warning names
            them.

    Raises:
        ValueError: the folder is missing, a class folder has no image, an image cannot be decoded,
            sizes differ and `size` is None, all images are too large for memory, or a class is in
            two of the subfolders train, val and test and `split` is None.

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
    check_fit(fit, size)
    path = Path(path)
    with ExitStack() as stack:
        archive = stack.enter_context(open_zip(path)) if _is_zip(path) else None
        layout = find_classes(path, archive)
        _warn_of_others(layout, path)
        parts, facts = _divide(layout, path, split, seed, least)
        wanted = sorted(name for names in parts.values() for name in names)
        known = {name: layout.files[name] for name in wanted if name in layout.files}
        decode = partial(_decode, path, archive, channels, size, fit)
        classes = _decode_classes(known, path, decode)
    facts["source"] = str(path)
    return dataset_from_classes(classes, name=f"folder:{path.stem}", parts=parts, info=facts)


def folder_counts(path: str | os.PathLike[str]) -> dict[str, int] | None:
    """Count the images of every class, without decoding them.

    Args:
        path: the folder or zip.

    Returns:
        Class name -> images; None for a source with a division of its own into train, val and
        test.

    Raises:
        ValueError: as `load_folder`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "cat").mkdir()
    ...     Path(folder, "cat", "1.png").touch()
    ...     folder_counts(folder)
    {'cat': 1}
    """
    path = Path(path)
    with ExitStack() as stack:
        archive = stack.enter_context(open_zip(path)) if _is_zip(path) else None
        layout = find_classes(path, archive)
    own = layout.parts is not None
    return None if own else {name: len(images) for name, images in layout.files.items()}


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
        return listing_digest(path, entries_of(path))
    open_zip(path).close()  # raises if there is no such zip
    return file_digest(path)


def _divide(
    layout: Layout, path: Path, split: Split, seed: int, least: int
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """The class names of each part, and the facts about that split."""
    counts = {name: len(images) for name, images in layout.files.items()}
    if split is not None or layout.parts is None:
        return choose_large(counts, split=split, seed=seed, least=least, source=path)
    check_parts(layout.parts, source=str(path))
    kept = set(drop_small(counts, least, source=path))
    own = {part: [n for n in names if n in kept] for part, names in layout.parts.items()}
    small = {name: count for name, count in counts.items() if name not in kept}
    return own, {"split": "own folders", **({"left_out": small} if small else {})}


def _warn_of_others(layout: Layout, path: Path) -> None:
    """Say which files in class folders are not read."""
    if layout.left_out:
        warnings.warn(
            f"{printable(path)}: left out {counted(layout.left_out)}, which are no images that "
            "jmeta reads.",
            stacklevel=3,
        )


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _decode(
    path: Path,
    archive: zipfile.ZipFile | None,
    channels: int | None,
    size: int | None,
    fit: Fit,
    name: str,
) -> np.ndarray:
    """Decode one image: uint8 [H, W] or [H, W, 3]."""
    mode: Mode | None = {1: "L", 3: "RGB"}.get(channels or 0)  # type: ignore[assignment]
    if archive is None:
        data = read_bytes(path / name, expected="an image")
    else:
        data = read_member(archive, name)
    return decode_image(data, name=f"{path / name}", mode=mode, size=size, fit=fit)


def _decode_classes(
    files: dict[str, list[str]], path: Path, decode: Callable[[str], np.ndarray]
) -> dict[str, np.ndarray]:
    """Decode every image, in threads: class name -> uint8 [n, H, W, C]."""
    names = [name for group in files.values() for name in group]
    images: list[np.ndarray] = []
    total = 0
    threads = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        for name, image in zip(names, threads.map(decode, names), strict=True):
            if images and image.shape[:2] != images[0].shape[:2]:
                raise ValueError(
                    f"in {printable(path)}, {printable(names[0])} is {images[0].shape[:2]} pixels "
                    f"high and wide but {printable(name)} is {image.shape[:2]}; "
                    f"{scale_all(images[0].shape, image.shape)}"
                )
            total = max(total, image.nbytes * len(names))
            check_set(total, what=f"the {len(names)} images of {printable(path)} decode to")
            images.append(image)
    finally:
        threads.shutdown(cancel_futures=True)
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

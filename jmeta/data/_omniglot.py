"""Omniglot: 1623 handwritten characters of 50 alphabets, 20 drawings each, in three named splits.

Human-level concept learning through probabilistic program induction (Brenden M. Lake, Ruslan
Salakhutdinov, Joshua B. Tenenbaum, Science 350, 2015, 1332-1338).
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jmeta.data._archives import open_zip, read_member
from jmeta.data._files import read_bytes
from jmeta.data._images import decode_image
from jmeta.data._omniglot_files import drawings_in, omniglot_folder, part_paths, source_digest
from jmeta.data._paths import data_root, load_arrays, prepared_name, save_arrays
from jmeta.data._pool import Dataset, Pool, pool_from_classes, split_hash

SPLITS = ("vinyals", "lake", "random")
LAKE_VALIDATION = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
_DRAWING = re.compile(r"(?:^|/)([^/]+/character\d\d)/([^/.][^/]*\.png)$")


class _Row(NamedTuple):
    """One line of splits/omniglot.txt: some characters of one alphabet."""

    alphabet: str
    characters: list[str]  # "Alphabet/characterNN"
    lake: str  # background or evaluation
    vinyals: str  # train, val or test


def load_omniglot(
    root: str | os.PathLike[str] | None = None,
    *,
    split: str = "vinyals",
    seed: int = 0,
    size: int = 28,
) -> Dataset:
    """Load Omniglot. It is decoded once; the result is kept in the cache.

    Args:
        root: the folder that holds `omniglot/`, or that folder itself; `$JMETA_DATA` by default.
        split, seed: see `omniglot_dataset`.
        size: height and width of the images in pixels; the originals have 105.

    Returns:
        Pools of uint8 images [E, size, size, 1], ink 255 on 0. The groups are alphabets.

    Raises:
        ValueError: the files are absent, damaged or not Omniglot.

    >>> load_omniglot("/nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
      ...
    ValueError: found no Omniglot in /nowhere/omniglot: ...
    """
    check_split(split)
    source = omniglot_folder(data_root(root))
    name = prepared_name("omniglot", {"source": source_digest(source), "size": size})
    images = _unpack(load_arrays(name))
    if images is None:
        images = omniglot_images(source, size=size)
        save_arrays(name, _pack(images))
    return omniglot_dataset(images, split=split, seed=seed)


def omniglot_images(source: str | os.PathLike[str], *, size: int = 28) -> dict[str, np.ndarray]:
    """Decode all drawings: class name -> uint8 [drawings, size, size], ink 255 on 0.

    Args:
        source: the folder with `images_background` and `images_evaluation`, each a .zip, which is
            read in memory, or a folder.
        size: height and width in pixels, reached by Lanczos resampling of the grey image.

    Raises:
        ValueError: a part is missing, or an archive or image is damaged.

    >>> omniglot_images("/nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
      ...
    ValueError: found no Omniglot in /nowhere: ...
    """
    if size < 1:
        raise ValueError(f"got size={size}, expected at least 1 pixel; the usual size is 28.")
    drawings: dict[str, dict[str, np.ndarray]] = {}
    for path in part_paths(Path(source)):
        for member, read in _members(path):
            if found := _DRAWING.search(member):
                name = f"{path}:{member}"
                image = decode_image(read(), name=name, mode="L", size=size)
                drawings.setdefault(found[1], {})[found[2]] = 255 - image
    return {c: np.stack([d[k] for k in sorted(d)]) for c, d in sorted(drawings.items())}


def omniglot_dataset(
    images: Mapping[str, np.ndarray], *, split: str = "vinyals", seed: int = 0
) -> Dataset:
    """Divide Omniglot's characters into training, validation and test pools.

    Results on different splits are not comparable. The classes of a pool are sorted by name, so
    that each alphabet is one group.

    Args:
        images: class name "Alphabet/characterNN" -> uint8 [drawings, H, W], for all 1623
            characters.
        split: one of
            "vinyals": 1028/172/423 characters, the lists of Vinyals et al. 2016, arXiv:1606.04080;
            "lake": the 964 characters of the 30 background alphabets, 5 of which
            (`LAKE_VALIDATION`) are for validation (828/136), and the 659 of the 20 evaluation
            alphabets;
            "random": 1100/100/423 characters regardless of alphabet, ordered by sha256 of
            "seed/name". The proportions are those of Finn et al. 2017, arXiv:1703.03400.
        seed: of the split "random". The other splits have none.

    Raises:
        ValueError: the split is unknown, or the names are not Omniglot's.

    >>> omniglot_dataset({}, split="miniature")
    Traceback (most recent call last):
      ...
    ValueError: got split='miniature', expected one of vinyals, lake, random; pick one of them.
    """
    check_split(split)
    rows = _rows()
    known = {c for row in rows for c in row.characters}
    if known != set(images):
        lacking, strange = sorted(known - set(images)), sorted(set(images) - known)
        raise ValueError(
            f"got {len(images)} characters, expected Omniglot's {len(known)}: {len(lacking)} are "
            f"missing {lacking[:2]} and {len(strange)} are unknown {strange[:2]}; download all of "
            "images_background and images_evaluation again."
        )
    parts = _split_parts(rows, split, seed)
    pools = {part: _pool(images, names) for part, names in parts.items()}
    info = {
        "split": split,
        "seed": seed if split == "random" else None,
        "hash": split_hash(parts),
        "classes": parts,
        "source": "Omniglot, Lake, Salakhutdinov, Tenenbaum, Science 350 (2015) 1332-1338",
        "licence": "MIT, (c) 2015 Brenden Lake",
        "shape": list(pools["train"].examples.shape[1:]),
    }
    return Dataset("omniglot", pools["train"], pools["val"], pools["test"], info)


def check_split(split: Any) -> None:
    """Reject anything but the name of one of Omniglot's splits.

    Raises:
        ValueError: it is something else.

    >>> check_split("lake")
    """
    if not isinstance(split, str) or split not in SPLITS:
        raise ValueError(
            f"got split={split!r}, expected one of {', '.join(SPLITS)}; pick one of them."
        )


def _split_parts(rows: list[_Row], split: str, seed: int) -> dict[str, list[str]]:
    """The sorted class names of each part."""
    parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    if split == "random":
        names = [c for row in rows for c in row.characters]
        names.sort(key=lambda c: hashlib.sha256(f"{seed}/{c}".encode()).digest())
        parts = {"train": names[:1100], "val": names[1100:1200], "test": names[1200:]}
    for row in rows if split != "random" else ():
        background = "val" if row.alphabet in LAKE_VALIDATION else "train"
        lake = background if row.lake == "background" else "test"
        parts[row.vinyals if split == "vinyals" else lake] += row.characters
    return {part: sorted(names) for part, names in parts.items()}


def _rows() -> list[_Row]:
    text = resources.files("jmeta.data").joinpath("splits", "omniglot.txt").read_text("utf-8")
    rows = []
    for line in text.splitlines():
        if not line.startswith("#"):
            alphabet, first, last, lake, vinyals = line.split()
            numbers = range(int(first), int(last) + 1)
            characters = [f"{alphabet}/character{n:02d}" for n in numbers]
            rows.append(_Row(alphabet, characters, lake, vinyals))
    return rows


def _pool(images: Mapping[str, np.ndarray], names: list[str]) -> Pool:
    arrays = [images[name][..., None] for name in names]
    return pool_from_classes(arrays, [name.split("/")[0] for name in names])


def _members(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """(name, reader) of every file in a zip or folder, sorted; call a reader before the next."""
    if path.is_dir():
        for name in drawings_in(path):
            yield name, partial(read_bytes, path / name, expected="a drawing")
        return
    with open_zip(path) as archive:
        for name in sorted(archive.namelist()):
            yield name, lambda name=name: read_member(archive, name)  # type: ignore[misc]


def _pack(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        "names": np.array(list(images)),
        "counts": np.array([len(drawings) for drawings in images.values()]),
        "images": np.concatenate(list(images.values())),
    }


def _unpack(arrays: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray] | None:
    if arrays is None or set(arrays) != {"names", "counts", "images"}:
        return None
    pieces = np.split(arrays["images"], np.cumsum(arrays["counts"])[:-1])
    return dict(zip(arrays["names"].tolist(), pieces, strict=True))

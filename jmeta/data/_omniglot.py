"""Omniglot: 1623 handwritten characters of 50 alphabets, 20 drawings each, in three named splits.

Brenden M. Lake, Ruslan Salakhutdinov, Joshua B. Tenenbaum. "Human-level concept learning through
probabilistic program induction", Science 350 (2015) 1332-1338.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jmeta.data._archives import decode_image, open_zip, read_member
from jmeta.data._paths import data_root, file_digest, load_arrays, prepared_name, save_arrays
from jmeta.data._pool import Dataset, Pool, pool_from_classes, split_hash

SPLITS = ("vinyals", "lake", "random")
LAKE_VALIDATION = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
_PARTS = ("images_background", "images_evaluation")
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
    """Load Omniglot from `<root>/omniglot`, decoding it once and keeping the result in the cache.

    Args:
      root: folder that holds `omniglot/`, or that folder itself; `$JMETA_DATA` without it.
      split, seed: see `omniglot_dataset`.
      size: side of the images in pixels; the originals have 105.

    Returns:
      Pools of uint8 images [E, size, size, 1], ink 255 on 0; groups are alphabets.

    Raises:
      ValueError: when the files are absent, damaged or not Omniglot.

    >>> load_omniglot("/nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
      ...
    ValueError: found no Omniglot in /nowhere/omniglot: ...
    """
    _check_split(split)
    source = _find_source(data_root(root))
    name = prepared_name("omniglot", {"source": _source_digest(source), "size": size})
    images = _unpack(load_arrays(name))
    if images is None:
        images = omniglot_images(source, size=size)
        save_arrays(name, _pack(images))
    return omniglot_dataset(images, split=split, seed=seed)


def omniglot_images(source: str | os.PathLike[str], *, size: int = 28) -> dict[str, np.ndarray]:
    """Decode all drawings under a folder: class name -> uint8 [drawings, size, size], ink 255.

    Args:
      source: folder with `images_background` and `images_evaluation`, each a .zip (read in
        memory, never unpacked) or a folder.
      size: side in pixels, reached by Lanczos resampling of the grey image.

    Raises:
      ValueError: when a part is missing, or an archive or image is damaged.

    >>> omniglot_images("/nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
      ...
    ValueError: found no Omniglot in /nowhere: ...
    """
    if size < 1:
        raise ValueError(f"got size={size}, expected at least 1 pixel; the usual one is 28.")
    drawings: dict[str, dict[str, np.ndarray]] = {}
    for path in _part_paths(Path(source)):
        for member, read in _members(path):
            if found := _DRAWING.search(member):
                name = f"{path}:{member}"
                image = decode_image(read(), name=name, mode="L", size=size)
                drawings.setdefault(found[1], {})[found[2]] = 255 - image
    return {c: np.stack([d[k] for k in sorted(d)]) for c, d in sorted(drawings.items())}


def omniglot_dataset(
    images: Mapping[str, np.ndarray], *, split: str = "vinyals", seed: int = 0
) -> Dataset:
    """Sort Omniglot's characters into train, validation and test pools.

    Numbers of different splits do not compare. Within a pool classes are sorted by name, so that
    each alphabet is one group.

    Args:
      images: class name "Alphabet/characterNN" -> uint8 [drawings, H, W], all 1623 characters.
      split: "vinyals", 1028/172/423 characters (Vinyals et al. 2016, arXiv:1606.04080);
        "lake", the 964 characters of the 30 background alphabets (5 of them, LAKE_VALIDATION,
        being validation: 828/136) and the 659 of the 20 evaluation alphabets;
        "random", 1100/100/423 characters whatever their alphabet (the proportions of Finn et al.
        2017, arXiv:1703.03400), ordered by sha256 of "seed/name".
      seed: for "random" only.

    Raises:
      ValueError: for an unknown split, or when the names are not Omniglot's.

    >>> omniglot_dataset({}, split="miniature")
    Traceback (most recent call last):
      ...
    ValueError: got split='miniature', expected one of vinyals, lake, random; pick one of them.
    """
    _check_split(split)
    rows = _rows()
    known = {c for row in rows for c in row.characters}
    if known != set(images):
        lacking, strange = sorted(known - set(images)), sorted(set(images) - known)
        raise ValueError(
            f"got {len(images)} characters, expected Omniglot's {len(known)}: {len(lacking)} are "
            f"missing {lacking[:2]} and {len(strange)} are unknown {strange[:2]}; get both "
            "images_background and images_evaluation again, complete."
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
        "image": list(pools["train"].examples.shape[1:]),
    }
    return Dataset("omniglot", pools["train"], pools["val"], pools["test"], info)


def _split_parts(rows: list[_Row], split: str, seed: int) -> dict[str, list[str]]:
    """Class names of each part, sorted."""
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


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(
            f"got split={split!r}, expected one of {', '.join(SPLITS)}; pick one of them."
        )


def _find_source(root: Path) -> Path:
    """The folder that holds the two parts: `root` itself or `root/omniglot`."""
    here = any((root / f"{p}{end}").exists() for p in _PARTS for end in (".zip", ""))
    return root if here else root / "omniglot"


def _part_paths(source: Path) -> list[Path]:
    """The zip or folder of each part."""
    found = []
    for part in _PARTS:
        choices = [source / f"{part}.zip", source / part]
        found += [path for path in choices if path.exists()][:1]
    if len(found) < len(_PARTS):
        what = f"only {found[0].name}" if found else "no Omniglot"
        raise ValueError(
            f"found {what} in {source}: put images_background.zip and images_evaluation.zip there "
            "(github.com/brendenlake/omniglot, folder python) and set JMETA_DATA to the folder "
            "above, or run `jmeta data prepare omniglot --source PATH`."
        )
    return found


def _members(path: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Sorted (name, reader) of every file in a zip or folder; a reader is good for one turn."""
    if path.is_dir():
        for file in sorted(path.rglob("*.png")):
            yield file.relative_to(path).as_posix(), file.read_bytes
        return
    with open_zip(path) as archive:
        for name in sorted(archive.namelist()):
            yield name, lambda name=name: read_member(archive, name)  # type: ignore[misc]


def _source_digest(source: Path) -> str:
    """Digest of the zips' bytes, or of a folder's file names, sizes and times."""
    digest = hashlib.sha256()
    for path in _part_paths(source):
        if path.is_dir():
            for file in sorted(path.rglob("*.png")):
                stat = file.stat()
                entry = f"{file.relative_to(path)}|{stat.st_size}|{stat.st_mtime_ns}\n"
                digest.update(entry.encode())
        else:
            digest.update(file_digest(path).encode())
    return digest.hexdigest()


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

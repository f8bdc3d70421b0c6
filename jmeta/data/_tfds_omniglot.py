"""Omniglot through TFDS: prepared from its two zips, and read back as the drawings in the zips."""

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np

from jmeta.data._archives import open_zip, read_member
from jmeta.data._images import decode_image
from jmeta.data._omniglot_files import OMNIGLOT_PARTS

SPLITS = ("train", "test")  # what TFDS calls the two parts
_MEMBER = re.compile(r"[^/]+/([^/]+)/character(\d+)/((\d+)_\d+\.png)")
_DRAWINGS = 20  # of every character


class Drawing(NamedTuple):
    """One image file of an Omniglot zip."""

    member: str  # its path in the zip
    alphabet: str
    character: int  # from 0, within the alphabet
    label: int  # from 0, over all alphabets
    file: str  # "0965_01.png"


def omniglot_builder(tfds: Any, *, source: Path, data_dir: Path) -> Any:
    """Return TFDS's own Omniglot builder, which reads local zips instead of a download.

    Splits, features, keys and label names are those of TFDS. Only the splits small1 and small2,
    which repeat drawings of train, are left out. Neither a network nor TensorFlow is needed.

    Args:
        tfds: the module `tensorflow_datasets`.
        source: the folder with images_background.zip and images_evaluation.zip.
        data_dir: where TFDS keeps sets.

    Raises:
        ValueError: a zip is missing or damaged.
    """
    zips = {
        split: source / f"{part}.zip" for split, part in zip(SPLITS, OMNIGLOT_PARTS, strict=True)
    }
    listed = {}
    for split, path in zips.items():
        with open_zip(path) as archive:
            listed[split] = list_drawings(archive)
    stock = tfds.builder_cls("omniglot")

    class Omniglot(stock, skip_registration=True):  # type: ignore
        code_path = None  # nothing is downloaded, so TFDS need not look for checksums

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict]]]:
            del dl_manager
            every = sorted((d for part in listed.values() for d in part), key=lambda d: d.label)
            names = dict.fromkeys(f"{d.alphabet}_{d.character}" for d in every)
            self.info.features["alphabet"].names = sorted({d.alphabet for d in every})
            self.info.features["label"].names = list(names)
            return {split: _examples(zips[split], listed[split]) for split in zips}

    return Omniglot(data_dir=str(data_dir), file_format="array_record")


def list_drawings(archive: ZipFile) -> list[Drawing]:
    """List the drawings of one Omniglot zip, sorted by path.

    Args:
        archive: as opened by `jmeta.data._archives.open_zip`.

    Raises:
        ValueError: the zip has no `<folder>/<Alphabet>/characterNN/<id>_<drawing>.png`.

    >>> with ZipFile(io.BytesIO(), "w") as archive:
    ...     archive.writestr("images/Greek/character03/0396_01.png", b"")
    ...     list_drawings(archive)[0][1:]
    ('Greek', 2, 395, '0396_01.png')
    """
    matches = [m for name in sorted(archive.namelist()) if (m := _MEMBER.fullmatch(name))]
    if not matches:
        raise ValueError(
            f"{archive.filename} has no <Alphabet>/characterNN/<id>_<drawing>.png inside; expected "
            "Omniglot's images_background.zip or images_evaluation.zip."
        )
    return [Drawing(m[0], m[1], int(m[2]) - 1, int(m[4]) - 1, m[3]) for m in matches]


def recover_drawings(
    examples: Sequence[Any], info: Any, *, part: str, size: int
) -> dict[str, np.ndarray]:
    """Turn one TFDS split of Omniglot back into "Alphabet/characterNN" -> its 20 drawings.

    TFDS stores examples in the order of md5(split name + key), where the key is
    "<Alphabet>_<character>_<id>_<drawing>.png". The 20 hashes of a character are therefore known,
    and the rank of an example among them tells which drawing it is.

    Args:
        examples: the split, in the order in which it is stored, with undecoded images.
        info: the builder's info, for the names of the alphabets.
        part: the split's name.
        size: height and width of the result in pixels.

    Returns:
        name -> uint8 [20, size, size], ink 255 on 0, ordered by the drawings' numbers.

    Raises:
        ValueError: a character does not have 20 drawings.
    """
    alphabets = info.features["alphabet"].names
    members: dict[tuple[str, int, int], list[np.ndarray]] = {}
    for index in range(len(examples)):
        example = examples[index]
        key = alphabets[example["alphabet"]], int(example["alphabet_char_id"]), example["label"]
        members.setdefault(key, []).append(_ink(example["image"], size))
    images = {}
    for (alphabet, character, label), drawings in sorted(members.items()):
        name = f"{alphabet}/character{character + 1:02d}"
        if len(drawings) != _DRAWINGS:
            raise ValueError(
                f"TFDS's omniglot has {len(drawings)} drawings of {name}, expected {_DRAWINGS}; "
                "delete the prepared set and run `jmeta data prepare tfds:omniglot` again."
            )
        ranks = _stored_order(f"{part}{alphabet}_{character}_{int(label) + 1:04d}")
        images[name] = np.stack([drawings[rank] for rank in ranks])
    return images


def _stored_order(stem: str) -> np.ndarray:
    """The places [20] of drawings 01, 02, ... among the stored examples of their character."""
    keys = [f"{stem}_{number:02d}.png" for number in range(1, _DRAWINGS + 1)]
    hashes = [hashlib.md5(key.encode(), usedforsecurity=False).digest() for key in keys]
    return np.argsort(sorted(range(_DRAWINGS), key=lambda number: hashes[number]))


def _ink(data: bytes, size: int) -> np.ndarray:
    """Decode one drawing to uint8 [size, size], ink 255 on 0. In the files the paper is white."""
    return 255 - decode_image(data, name="a drawing of TFDS's omniglot", mode="L", size=size)


def _examples(path: Path, drawings: Sequence[Drawing]) -> Iterator[tuple[str, dict]]:
    """Keys and records as TFDS's own builder yields them."""
    with open_zip(path) as archive:
        for drawing in drawings:
            yield (
                f"{drawing.alphabet}_{drawing.character}_{drawing.file}",
                {
                    "image": io.BytesIO(read_member(archive, drawing.member)),
                    "alphabet": drawing.alphabet,
                    "alphabet_char_id": drawing.character,
                    "label": drawing.label,
                },
            )

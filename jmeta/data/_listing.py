"""The list of data sets: what there is by name, and what of it is on this disk."""

import os
from pathlib import Path
from typing import NamedTuple

from jmeta.data._families import FAMILIES, FORMULAS
from jmeta.data._omniglot_files import has_omniglot, omniglot_root
from jmeta.data._paths import data_root
from jmeta.data._tfds import FORMAT, tfds_dirs

_TABLE = "rows of many regression tasks; ,task=COLUMN,target=COLUMN may follow"

Root = str | os.PathLike[str] | None


class Entry(NamedTuple):
    """One line of the list of data sets."""

    name: str  # what `load` takes; "tfds:<name>" and the like stand for many
    kind: str  # "built-in", "images", "arrays", "table" or "functions"
    present: bool  # whether it can be loaded now, without a download
    where: str  # the folder it is in or looked for in, or "no download"
    description: str


def available(*, root: Root = None) -> list[Entry]:
    """List the data sets there are, and which of them are on disk.

    Args:
        root: the folder under which sets are looked for; `$JMETA_DATA` by default.

    >>> [entry.name for entry in available(root="/nowhere") if entry.kind == "functions"]
    ['sinusoid', 'harmonic', 'sinusoid-or-line', 'step', 'damped', 'gp']
    """
    place, omniglot = data_root(root), omniglot_root(root)
    found = has_omniglot(omniglot)
    return [
        Entry("glyphs", "built-in", True, "no download", "characters rendered from fonts"),
        Entry("omniglot", "images", found, str(omniglot), "1623 handwritten characters"),
        *(Entry(name, "functions", True, "no download", FORMULAS[name]) for name in FAMILIES),
        *_prepared_tfds(root),
        Entry("tfds:<name>", "images", False, f"{place / 'tfds'}", "any TFDS image classification"),
        Entry("folder:<path>", "images", False, str(place), "class folders of images, or a zip"),
        Entry("arrays:<path.npz>", "arrays", False, str(place), "x and y in one .npz"),
        Entry("table:<path.csv>", "table", False, str(place), _TABLE),
    ]


def _prepared_tfds(root: Root) -> list[Entry]:
    """The TFDS sets on disk, each once."""
    found: dict[str, Entry] = {}
    for folder in tfds_dirs(tfds_dir(root)):
        for path in sorted(folder.glob(f"*/**/*.{FORMAT}*-00000-of-*")):
            name = f"tfds:{path.relative_to(folder).parts[0]}"
            found.setdefault(name, Entry(name, "images", True, str(folder), "prepared by TFDS"))
    return list(found.values())


def tfds_dir(root: Root) -> Path | None:
    """The folder of TensorFlow Datasets under a root; None for its own."""
    return None if root is None else data_root(root) / "tfds"

"""Which data sets there are: listing, describing and preparing them by name."""

from pathlib import Path
from typing import Any, NamedTuple

from jmeta.data._division import Split
from jmeta.data._families import FAMILIES, FORMULAS
from jmeta.data._images import Fit
from jmeta.data._omniglot import load_omniglot
from jmeta.data._omniglot_files import copy_parts, has_omniglot, omniglot_folder, omniglot_root
from jmeta.data._paths import cache_dir, data_root, writable_root
from jmeta.data._registry import Root, Wanted, find, load, prepare_folder, tfds_dir
from jmeta.data._tables import parse_table_name
from jmeta.data._tfds import FORMAT, prepare_tfds, tfds_dirs

_TABLE = "rows of many regression tasks; ,task=COLUMN,target=COLUMN may follow"


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


def describe(
    name: str,
    *,
    root: Root = None,
    split: Split = None,
    size: int | None = None,
    seed: int = 0,
    fit: Fit = "stretch",
    least: int = 1,
    drop_missing: bool = False,
) -> dict[str, Any]:
    """Describe a data set: its counts, shape, split and its hash, licence, and place on disk.

    JSON can hold the result: name, parts, dtype and where, and the entries of `Dataset.info`
    except the names of classes and groups. A table has tasks and rows where others have classes
    and examples; a family of functions has a formula and the name of its sampler.

    Args:
        name, root, split, size, seed, fit, least, drop_missing: as for `load`.

    Raises:
        ValueError: as `load`.
    """
    if name in FAMILIES:
        sampler = f"jmeta.data.{FAMILIES[name].__name__}"
        return {"name": name, "kind": "functions", "formula": FORMULAS[name], "sampler": sampler}
    options: dict[str, Any] = {"split": split, "size": size, "seed": seed, "fit": fit}
    dataset = load(name, root=root, least=least, drop_missing=drop_missing, **options)
    table = name.startswith("table:")
    several, one, each = ("tasks", "task", "rows") if table else ("classes", "class", "examples")
    parts = {}
    for part, pool in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test)):
        if pool is not None:
            parts[part] = {
                several: int(pool.counts.shape[0]),
                "groups": len(pool.group_sizes),
                each: int(pool.examples.shape[0]),
                f"smallest_{one}": pool.smallest,
                f"largest_{one}": pool.largest,
            }
    facts = {key: value for key, value in dataset.info.items() if key not in ("classes", "groups")}
    facts |= {"dtype": str(dataset.train.examples.dtype), "where": _where(name, root)}
    return {"name": name, "parts": parts, **facts}


def prepare(
    name: str,
    *,
    source: Root = None,
    root: Root = None,
    split: Split = None,
    size: int | None = None,
    seed: int = 0,
    fit: Fit = "stretch",
    least: int = 1,
) -> dict[str, Any]:
    """Prepare a data set so that it loads quickly, and describe it.

    omniglot: the two parts in `source` are checked, copied under the root (or the cache, if the
    root is read-only) and decoded into the cache. tfds: the set is downloaded and written as
    array_record; tfds:omniglot is read from `source` if that is given. folder: it is decoded into
    the cache.

    Args:
        name: as for `load`.
        source: for Omniglot only, the folder with images_background.zip and images_evaluation.zip.
        root, split, size, seed, fit, least: as for `load`.

    Raises:
        ValueError: as `load`; or the set takes no source, or a download fails.
    """
    kind, _, rest = name.partition(":")
    wanted = Wanted(root, None if split == "default" else split, size, seed, fit, least)
    if source is not None and name not in ("omniglot", "tfds:omniglot"):
        raise ValueError(
            f"got source={str(source)!r} for {name!r}; only omniglot and tfds:omniglot take one, "
            "so leave it out (for your own images the name is folder:<path>)."
        )
    if name == "omniglot" and source is not None:
        load_omniglot(source, size=28 if size is None else size)  # raises if it is damaged
        root = writable_root(root)
        copy_parts(Path(source), root / "omniglot")
    elif kind == "tfds" and rest:
        prepare_tfds(rest, source=source, data_dir=tfds_dir(root))
    elif kind == "folder" and rest:
        prepare_folder(rest, wanted)
    return describe(name, root=root, split=split, size=size, seed=seed, fit=fit, least=least)


def _prepared_tfds(root: Root) -> list[Entry]:
    """The TFDS sets on disk, each once."""
    found: dict[str, Entry] = {}
    for folder in tfds_dirs(tfds_dir(root)):
        for path in sorted(folder.glob(f"*/**/*.{FORMAT}*-00000-of-*")):
            name = f"tfds:{path.relative_to(folder).parts[0]}"
            found.setdefault(name, Entry(name, "images", True, str(folder), "prepared by TFDS"))
    return list(found.values())


def _where(name: str, root: Root) -> str:
    kind, _, rest = name.partition(":")
    if kind == "tfds":
        folders = tfds_dirs(tfds_dir(root))
        return str(next((f / rest for f in folders if (f / rest).exists()), folders[0] / rest))
    if kind in ("folder", "arrays", "table"):
        return str(find(parse_table_name(rest).path if kind == "table" else rest, root))
    if name == "omniglot":
        return str(omniglot_folder(omniglot_root(root)))
    return str(cache_dir() / "prepared")

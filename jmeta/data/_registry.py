"""Data sets by name: what there is, what is on disk, loading and preparing one."""

import difflib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jmeta.data._arrays import load_npz
from jmeta.data._division import DEFAULT_FRACTIONS, read_split_lists
from jmeta.data._families import FAMILIES, FORMULAS
from jmeta.data._folder import folder_digest, load_folder
from jmeta.data._omniglot import load_omniglot
from jmeta.data._paths import cache_dir, data_root, load_prepared, prepared_name, save_prepared
from jmeta.data._pool import Dataset
from jmeta.data._tables import load_table, parse_table_name
from jmeta.data._tfds import FORMAT, load_tfds, prepare_tfds, tfds_dirs, writable_root

NAMES = (
    *("glyphs", "omniglot", "tfds:<name>", "folder:<path>", "arrays:<path.npz>"),
    *("table:<path.csv>", *FAMILIES),
)
_TABLE = "rows of many regression tasks; ,task=COLUMN,target=COLUMN may follow"
_OMNIGLOT = ("images_background", "images_evaluation")

Split = str | os.PathLike[str] | Sequence[float] | None
Root = str | os.PathLike[str] | None


class Entry(NamedTuple):
    """One line of the list of data sets."""

    name: str  # what `load` takes; "tfds:<name>" and the like stand for many
    kind: str  # "built-in", "images", "arrays", "table" or "functions"
    present: bool  # whether it can be loaded now, without a download
    where: str  # folder, or what to do
    description: str


def load(
    name: str, *, root: Root = None, split: Split = None, size: int | None = None, seed: int = 0
) -> Dataset:
    """Load a data set by name.

    Args:
        name: "glyphs" (built in), "omniglot", "tfds:<name>", "folder:<path>" (a folder or .zip of
            class folders) or "arrays:<path.npz>" (x `[E, ...]`, y `[E]`; uint8 images `[E, H, W]`
            get a channel axis), or "table:<path.csv>,task=COLUMN,target=COLUMN" (`load_table`).
            A relative path is also looked for under the root.
        root: folder under which sets are looked for; `$JMETA_DATA` by default.
        split: omniglot: "vinyals" (default), "lake" or "random". Elsewhere:
            fractions of the classes, as numbers or "0.64,0.16,0.20", or a folder with train.txt,
            val.txt and test.txt. glyphs has one split.
        size: side of the images in pixels; None takes 28 for glyphs and omniglot and the images'
            own elsewhere.
        seed: of the random splits.

    Raises:
        ValueError: the name is unknown, or the set is absent or damaged.

    >>> load("omniglott")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: there is no data set 'omniglott'; did you mean 'omniglot'? Known: glyphs, ...
    """
    kind, _, rest = name.partition(":")
    if name == "glyphs":
        return _load_glyphs(split, size)
    if name == "omniglot":
        where = _omniglot_root(root)
        called = "vinyals" if split is None else str(split)
        return load_omniglot(where, split=called, seed=seed, size=28 if size is None else size)
    if kind == "tfds" and rest == "omniglot":
        return load_tfds(rest, size=size, split=split, seed=seed, data_dir=_tfds_dir(root))
    if kind == "tfds" and rest:
        divided = _read_split(split, root)
        return load_tfds(rest, size=size, split=divided, seed=seed, data_dir=_tfds_dir(root))
    if kind == "folder" and rest:
        key = _folder_key(rest, root, split, size, seed)
        return load_prepared(key) or _load_folder(rest, root, split, size, seed)
    if kind == "arrays" and rest:
        return _load_arrays(rest, root, split, size, seed)
    if kind == "table" and rest:
        return _load_table(rest, root, split, size, seed)
    raise _unknown(name)


def available(*, root: Root = None) -> list[Entry]:
    """List the data sets that there are, and which of them are on disk.

    Args:
        root: folder under which sets are looked for; `$JMETA_DATA` by default.

    >>> [entry.name for entry in available(root="/nowhere") if entry.kind == "functions"]
    ['sinusoid', 'harmonic', 'sinusoid-or-line', 'step', 'damped', 'gp']
    """
    place = data_root(root)
    omniglot = _omniglot_root(root)
    found = _has_omniglot(omniglot)
    entries = [
        Entry("glyphs", "built-in", True, "no download", "characters rendered from fonts"),
        Entry("omniglot", "images", found, str(omniglot), "1623 handwritten characters"),
        *(Entry(name, "functions", True, "no download", FORMULAS[name]) for name in FAMILIES),
    ]
    for folder in tfds_dirs(_tfds_dir(root)):
        for path in sorted(folder.glob(f"*/**/*.{FORMAT}*-00000-of-*")):
            name = f"tfds:{path.relative_to(folder).parts[0]}"
            if all(name != entry.name for entry in entries):
                entries.append(Entry(name, "images", True, str(folder), "prepared by TFDS"))
    return [
        *entries,
        Entry("tfds:<name>", "images", False, f"{place / 'tfds'}", "any TFDS image classification"),
        Entry("folder:<path>", "images", False, str(place), "class folders of images, or a zip"),
        Entry("arrays:<path.npz>", "arrays", False, str(place), "x and y in one .npz"),
        Entry("table:<path.csv>", "table", False, str(place), _TABLE),
    ]


def describe(
    name: str, *, root: Root = None, split: Split = None, size: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Describe a data set in JSON-able facts: counts, image shape, hashes, licence, disk path.

    Args: those of `load`.

    Raises:
        ValueError: as `load`; for a family of functions, which has no examples.
    """
    dataset = load(name, root=root, split=split, size=size, seed=seed)
    parts = {}
    for part, pool in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test)):
        if pool is not None:
            parts[part] = {
                "classes": int(pool.counts.shape[0]),
                "groups": len(pool.group_sizes),
                "examples": int(pool.examples.shape[0]),
                "smallest_class": pool.smallest,
                "largest_class": pool.largest,
            }
    facts = {key: value for key, value in dataset.info.items() if key not in ("classes", "groups")}
    dtype = str(dataset.train.examples.dtype)
    return {"name": name, "parts": parts, "dtype": dtype, **facts, "where": _where(name, root)}


def prepare(
    name: str,
    *,
    source: Root = None,
    root: Root = None,
    split: Split = None,
    size: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Make a data set ready to load quickly, and describe it.

    omniglot: the two parts in `source` are checked, copied under the root (or the cache, where the
    root is read-only) and decoded into the cache. tfds: downloaded and written as array_record;
    tfds:omniglot is read from `source` when given. folder: decoded into the cache.

    Args:
        name: as for `load`.
        source: folder with images_background.zip and images_evaluation.zip, for Omniglot.
        root, split, size, seed: those of `load`.

    Raises:
        ValueError: as `load`; or a source for a set that takes none; or a failed download.
    """
    kind, _, rest = name.partition(":")
    if source is not None and name not in ("omniglot", "tfds:omniglot"):
        raise ValueError(
            f"got source={str(source)!r} for {name!r}; only omniglot and tfds:omniglot take one, "
            "so leave it out (for your own images the name is folder:<path>)"
        )
    if name == "omniglot" and source is not None:
        load_omniglot(source, size=28 if size is None else size)  # refuses what is damaged
        root = _copy_omniglot(Path(source), writable_root(root) / "omniglot")
    elif kind == "tfds" and rest:
        prepare_tfds(rest, source=source, data_dir=_tfds_dir(root))
    elif kind == "folder" and rest:
        key = _folder_key(rest, root, split, size, seed)
        if load_prepared(key) is None:
            save_prepared(key, _load_folder(rest, root, split, size, seed))
    return describe(name, root=root, split=split, size=size, seed=seed)


def _unknown(name: str) -> ValueError:
    if name in FAMILIES:
        return ValueError(
            f"{name!r} is a family of functions, not a set of examples; draw its tasks with "
            f"jmeta.data.{FAMILIES[name].__name__}"
        )
    close = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ValueError(f"there is no data set {name!r}; {hint}Known: {', '.join(NAMES)}")


def _load_glyphs(split: Split, size: int | None) -> Dataset:
    from jmeta.data._glyphs import load_glyphs

    if split not in (None, "scripts"):
        raise ValueError(f"got split={split!r} for glyphs; it has one split, so leave it out")
    return load_glyphs(size=28 if size is None else size)


def _read_split(split: Split, root: Root) -> Sequence[float] | Path:
    """Fractions, or the folder of the lists."""
    if split is None:
        return DEFAULT_FRACTIONS
    if not isinstance(split, str | os.PathLike):
        return split
    try:
        return [float(piece) for piece in str(split).split(",")]
    except ValueError:
        return _find(split, root)


def _find(path: str | os.PathLike[str], root: Root) -> Path:
    """A path as given or, where nothing is there, under the root."""
    given = Path(path).expanduser()
    below = data_root(root) / given
    return below if not given.exists() and below.exists() else given


def _load_folder(path: str, root: Root, split: Split, size: int | None, seed: int) -> Dataset:
    return load_folder(_find(path, root), size=size, split=_read_split(split, root), seed=seed)


def _folder_key(path: str, root: Root, split: Split, size: int | None, seed: int) -> str:
    """The name of the prepared copy: of the files, and of every option that shapes the result."""
    place, divided = _find(path, root), _read_split(split, root)
    lists = read_split_lists(divided) if isinstance(divided, Path) else list(divided)
    facts = {"digest": folder_digest(place), "path": str(place), "split": lists}
    return prepared_name("folder", {**facts, "size": size, "seed": seed})


def _load_arrays(path: str, root: Root, split: Split, size: int | None, seed: int) -> Dataset:
    if size is not None:
        raise ValueError(f"got size={size} for {path}; arrays are taken as they are, so drop it")
    return load_npz(_find(path, root), split=_read_split(split, root), seed=seed)


def _load_table(name: str, root: Root, split: Split, size: int | None, seed: int) -> Dataset:
    if size is not None:
        raise ValueError(f"got size={size} for {name}; a table has no images, so drop it")
    path, task, target, drop = parse_table_name(name)
    divided = _read_split(split, root)
    named: dict[str, Any] = {"task": task, "target": target, "drop": drop}
    return load_table(_find(path, root), **named, split=divided, seed=seed)


def _tfds_dir(root: Root) -> Path | None:
    return None if root is None else data_root(root) / "tfds"


def _omniglot_parts(root: Path) -> list[Path]:
    """The zips or folders of Omniglot in `root` or `root/omniglot`."""
    for place in (root, root / "omniglot"):
        found = [[place / f"{part}.zip", place / part] for part in _OMNIGLOT]
        if all(any(path.exists() for path in choices) for choices in found):
            return [next(path for path in choices if path.exists()) for choices in found]
    return []


def _has_omniglot(root: Path) -> bool:
    return bool(_omniglot_parts(root))


def _omniglot_root(root: Root) -> Path:
    """The root or, where it lacks Omniglot and none was given, the cache."""
    place = data_root(root)
    fallback = root is None and not _has_omniglot(place) and _has_omniglot(cache_dir())
    return cache_dir() if fallback else place


def _copy_omniglot(source: Path, target: Path) -> Path:
    """Copy both parts to the target, each appearing whole or not at all."""
    target.mkdir(parents=True, exist_ok=True)
    for path in _omniglot_parts(source):
        final, partial = target / path.name, target / f".{path.name}.{os.getpid()}"
        if final.exists() and final.samefile(path):
            continue
        if path.is_dir():
            shutil.copytree(path, final, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, partial)
            os.replace(partial, final)
    return target.parent


def _where(name: str, root: Root) -> str:
    kind, _, rest = name.partition(":")
    if kind == "tfds":
        folders = tfds_dirs(_tfds_dir(root))
        return str(next((f / rest for f in folders if (f / rest).exists()), folders[0] / rest))
    if kind in ("folder", "arrays", "table"):
        return str(_find(parse_table_name(rest).path if kind == "table" else rest, root))
    if name == "omniglot":
        return str(_omniglot_parts(_omniglot_root(root))[0].parent)
    return str(cache_dir() / "prepared")

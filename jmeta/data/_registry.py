"""Data sets by name: listing, loading, describing and preparing them."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jmeta.data._arrays import load_npz, npz_example_shape
from jmeta.data._division import Split, read_split_lists
from jmeta.data._families import FAMILIES
from jmeta.data._folder import folder_digest, load_folder
from jmeta.data._glyphs import load_glyphs
from jmeta.data._listing import tfds_dir
from jmeta.data._omniglot import load_omniglot
from jmeta.data._omniglot_files import copy_parts, omniglot_folder, omniglot_root
from jmeta.data._paths import (
    cache_dir,
    data_root,
    load_prepared,
    prepared_name,
    save_prepared,
    writable_root,
)
from jmeta.data._pool import Dataset
from jmeta.data._tables import load_table, parse_table_name
from jmeta.data._tfds import load_tfds, prepare_tfds, tfds_dirs

NAMES = (
    *("glyphs", "omniglot", "tfds:<name>", "folder:<path>", "arrays:<path.npz>"),
    *("table:<path.csv>", *FAMILIES),
)

Root = str | os.PathLike[str] | None


def load(
    name: str,
    *,
    root: Root = None,
    split: Split = None,
    size: int | None = None,
    seed: int = 0,
    scaling: Mapping[str, Any] | None = None,
) -> Dataset:
    """Load a data set by name.

    Args:
        name: "glyphs" (built in), "omniglot", "tfds:<name>", "folder:<path>" (a folder or .zip of
            class folders), "arrays:<path.npz>" (`load_npz`) or
            "table:<path.csv>,task=COLUMN,target=COLUMN" (`load_table`). A relative path is also
            looked for under the root.
        root: the folder under which sets are looked for; `$JMETA_DATA` by default.
        split: for omniglot "vinyals" (default), "lake" or "random"; none for glyphs, which have
            one split. For the others fractions of the classes, as numbers or "0.64,0.16,0.20", or
            a folder with train.txt, val.txt and test.txt. By default a folder's own train, val and
            test are used where there are such, and else (0.64, 0.16, 0.20).
        size: height and width of the images in pixels. None takes 28 for glyphs and omniglot, and
            the images' own for the others. Arrays and tables have no size.
        seed: of the random splits. The others do not depend on it.
        scaling: for tables only, see `load_table`.

    Raises:
        ValueError: the name is unknown, the set is absent or damaged, or it has no such option.

    >>> load("omniglott")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: there is no data set 'omniglott'; did you mean 'omniglot'? Known: glyphs, ...
    """
    kind, _, rest = name.partition(":")
    if scaling is not None and kind != "table":
        raise ValueError(f"got a scaling for {name}; only tables are scaled, so leave it out.")
    if name == "glyphs":
        return _load_glyphs(split, size)
    if name == "omniglot":
        named: Any = "vinyals" if split is None else split
        size = 28 if size is None else size
        return load_omniglot(omniglot_root(root), split=named, seed=seed, size=size)
    if kind == "tfds" and rest:
        divided = split if rest == "omniglot" else _read_split(split, root)
        return load_tfds(rest, size=size, split=divided, seed=seed, data_dir=tfds_dir(root))
    if kind == "folder" and rest:
        key = _folder_key(rest, root, split, size, seed)
        return load_prepared(key) or _load_folder(rest, root, split, size, seed)
    if kind == "arrays" and rest:
        return _load_arrays(rest, root, split, size, seed)
    if kind == "table" and rest:
        return _load_table(rest, root, split, size, seed, scaling)
    raise _unknown(name)


def example_shape(name: str, root: Root = None) -> tuple[int, ...] | None:
    """Tell what the examples of a data set look like, without loading them.

    Args:
        name: as for `load`.
        root: the folder under which sets are looked for; `$JMETA_DATA` by default.

    Returns:
        For arrays the shape of one example as `load` gives it, read from the file's header. None
        for sets of images, whose shape their `size` decides, and for tables.

    Raises:
        ValueError: the name is unknown, or a file of arrays is absent or damaged.

    >>> example_shape("glyphs") is None
    True
    """
    kind, _, rest = name.partition(":")
    if kind == "arrays" and rest:
        return npz_example_shape(_find(rest, root))
    if name in ("glyphs", "omniglot") or (kind in ("tfds", "folder", "table") and rest):
        return None
    raise _unknown(name)


def describe(
    name: str, *, root: Root = None, split: Split = None, size: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Describe a data set: its counts, shape, split and its hash, licence, and place on disk.

    JSON can hold the result: name, parts, dtype and where, and the entries of `Dataset.info`
    except the names of classes and groups.

    Args:
        name, root, split, size, seed: as for `load`.

    Raises:
        ValueError: as `load`, also for a family of functions, which has no examples.
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
) -> dict[str, Any]:
    """Prepare a data set so that it loads quickly, and describe it.

    omniglot: the two parts in `source` are checked, copied under the root (or the cache, if the
    root is read-only) and decoded into the cache. tfds: the set is downloaded and written as
    array_record; tfds:omniglot is read from `source` if that is given. folder: it is decoded into
    the cache.

    Args:
        name: as for `load`.
        source: for Omniglot only, the folder with images_background.zip and images_evaluation.zip.
        root, split, size, seed: as for `load`.

    Raises:
        ValueError: as `load`; or the set takes no source, or a download fails.
    """
    kind, _, rest = name.partition(":")
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
        key = _folder_key(rest, root, split, size, seed)
        if load_prepared(key) is None:
            save_prepared(key, _load_folder(rest, root, split, size, seed))
    return describe(name, root=root, split=split, size=size, seed=seed)


def _unknown(name: str) -> ValueError:
    if name in FAMILIES:
        return ValueError(
            f"{name!r} is a family of functions, not a set of examples; draw its tasks with "
            f"jmeta.data.{FAMILIES[name].__name__}."
        )
    close = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ValueError(f"there is no data set {name!r}; {hint}Known: {', '.join(NAMES)}.")


def _load_glyphs(split: Split, size: int | None) -> Dataset:
    if split is not None and str(split) != "scripts":
        raise ValueError(f"got split={split!r} for glyphs; it has one split, so leave it out.")
    return load_glyphs(size=28 if size is None else size)


def _read_split(split: Split, root: Root) -> Sequence[float] | Path | None:
    """The fractions as numbers, the folder of the lists, or None as it is."""
    if not isinstance(split, str | os.PathLike):
        return None if split is None else [float(fraction) for fraction in split]
    try:
        return [float(piece) for piece in str(split).split(",")]
    except ValueError:
        return _find(split, root)


def _find(path: str | os.PathLike[str], root: Root) -> Path:
    """A path as given or, if nothing is there, under the root."""
    given = Path(path).expanduser()
    below = data_root(root) / given
    return below if not given.exists() and below.exists() else given


def _load_folder(path: str, root: Root, split: Split, size: int | None, seed: int) -> Dataset:
    return load_folder(_find(path, root), size=size, split=_read_split(split, root), seed=seed)


def _folder_key(path: str, root: Root, split: Split, size: int | None, seed: int) -> str:
    """The name of the prepared copy, from the files and every option that shapes the result."""
    place, divided = _find(path, root), _read_split(split, root)
    lists = read_split_lists(divided) if isinstance(divided, Path) else divided
    facts = {"digest": folder_digest(place), "path": str(place), "split": lists}
    return prepared_name("folder", {**facts, "size": size, "seed": seed})


def _load_arrays(path: str, root: Root, split: Split, size: int | None, seed: int) -> Dataset:
    if size is not None:
        raise ValueError(f"got size={size} for {path}; arrays are taken as they are, so drop it.")
    return load_npz(_find(path, root), split=_read_split(split, root), seed=seed)


def _load_table(
    name: str,
    root: Root,
    split: Split,
    size: int | None,
    seed: int,
    scaling: Mapping[str, Any] | None,
) -> Dataset:
    if size is not None:
        raise ValueError(f"got size={size} for {name}; a table has no images, so drop it.")
    path, task, target, drop = parse_table_name(name)
    divided = _read_split(split, root)
    named: dict[str, Any] = {"task": task, "target": target, "drop": drop}
    return load_table(_find(path, root), **named, split=divided, seed=seed, scaling=scaling)


def _where(name: str, root: Root) -> str:
    kind, _, rest = name.partition(":")
    if kind == "tfds":
        folders = tfds_dirs(tfds_dir(root))
        return str(next((f / rest for f in folders if (f / rest).exists()), folders[0] / rest))
    if kind in ("folder", "arrays", "table"):
        return str(_find(parse_table_name(rest).path if kind == "table" else rest, root))
    if name == "omniglot":
        return str(omniglot_folder(omniglot_root(root)))
    return str(cache_dir() / "prepared")

"""Data sets by name: finding and loading them."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jmeta.core._home import expanded
from jmeta.core._text import printable
from jmeta.data._arrays import load_npz, npz_counts, npz_division, npz_example_shape
from jmeta.data._division import Split, read_split_lists
from jmeta.data._families import FAMILIES
from jmeta.data._folder import folder_counts, folder_digest, load_folder
from jmeta.data._glyphs import load_glyphs
from jmeta.data._images import Fit, check_fit
from jmeta.data._omniglot import load_omniglot
from jmeta.data._omniglot_files import omniglot_root
from jmeta.data._paths import data_root, load_prepared, prepared_name, save_prepared
from jmeta.data._pool import Dataset
from jmeta.data._tables import load_table, parse_table_name
from jmeta.data._tfds import load_tfds

NAMES = (
    *("glyphs", "omniglot", "tfds:<name>", "folder:<path>", "arrays:<path.npz>"),
    *("table:<path.csv>", *FAMILIES),
)
_DECODER = 2  # part of the name of prepared folders; raise it when images decode differently

Root = str | os.PathLike[str] | None


class Wanted(NamedTuple):
    """What is asked of a set: the options of `load`."""

    root: Root = None
    split: Split = None
    size: int | None = None
    seed: int = 0
    fit: Fit = "stretch"
    least: int = 1


def load(
    name: str,
    *,
    root: Root = None,
    split: Split = None,
    size: int | None = None,
    seed: int = 0,
    fit: Fit = "stretch",
    least: int = 1,
    scaling: Mapping[str, Any] | None = None,
    drop_missing: bool = False,
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
            numbers of classes such as "7,0,5", or a folder with train.txt, val.txt and test.txt.
            None, or "default": a folder's own train, val and test where there are such, and else
            (0.64, 0.16, 0.20).
        size: height and width of the images in pixels. None takes 28 for glyphs and omniglot, and
            the images' own for the others. Arrays and tables have no size.
        seed: of the random splits. The others do not depend on it.
        fit: of images that are scaled to `size`, as for `load_folder`.
        least: classes of fewer examples are left out, as by `load_folder`; not of glyphs, omniglot
            and tables.
        scaling, drop_missing: for tables only, see `load_table`.

    Raises:
        ValueError: the name is unknown, the set is absent or damaged, or it has no such option.

    >>> load("omniglott")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: there is no data set 'omniglott'; did you mean 'omniglot'? Known: glyphs, ...
    """
    wanted = Wanted(root, None if split == "default" else split, size, seed, fit, least)
    kind, _, rest = name.partition(":")
    if scaling is not None and kind != "table":
        raise ValueError(
            f"got a scaling for {printable(name)}; only tables are scaled, so leave it out."
        )
    if drop_missing and kind != "table":
        raise ValueError(
            f"got drop_missing for {printable(name)}; only tables have missing values, so leave it "
            "out."
        )
    if kind == "table" and rest:
        return _table(rest, wanted, {"scaling": scaling, "drop_missing": drop_missing})
    loaders = {"folder": _folder, "arrays": _arrays, "tfds": _tfds}
    if name in ("glyphs", "omniglot"):
        _check_whole(name, wanted)
        return _glyphs(wanted) if name == "glyphs" else _omniglot(wanted)
    if kind not in loaders or not rest:
        raise _unknown(name)
    return loaders[kind](rest, wanted)


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
        return npz_example_shape(find(rest, root))
    if name in ("glyphs", "omniglot") or (kind in ("tfds", "folder", "table") and rest):
        return None
    raise _unknown(name)


def class_counts(name: str, root: Root = None) -> dict[str, int] | None:
    """Count the examples of every class of a data set, without loading the examples.

    Args:
        name: as for `load`.
        root: the folder under which sets are looked for; `$JMETA_DATA` by default.

    Returns:
        Class name -> examples, for arrays and folders that are not divided into train, val and
        test; None for other sets.

    Raises:
        ValueError: the set is absent or damaged.

    >>> class_counts("glyphs") is None
    True
    """
    kind, _, rest = name.partition(":")
    count = {"folder": folder_counts, "arrays": npz_counts}.get(kind)
    if count is None or not rest or (kind == "arrays" and npz_division(find(rest, root))):
        return None
    return count(find(rest, root))


def prepare_folder(path: str, wanted: Wanted) -> None:
    """Decode a folder or zip into the cache, where it is not there yet."""
    key = _folder_key(path, wanted)
    if load_prepared(key) is None:
        save_prepared(key, _load_folder(path, wanted))


def find(path: str | os.PathLike[str], root: Root) -> Path:
    """Return a path as given or, if nothing is there, under the root.

    Raises:
        ValueError: it begins with the home folder of a user that does not exist.

    >>> find("a.npz", "/nowhere").name
    'a.npz'
    """
    given = expanded(path)
    if given.exists():
        return given
    below = data_root(root) / given
    return below if below.exists() else given


def tfds_dir(root: Root) -> Path | None:
    """Return the folder of TFDS under a root; None, the default ones, without a root.

    >>> tfds_dir(None) is None
    True
    """
    return None if root is None else data_root(root) / "tfds"


def _unknown(name: str) -> ValueError:
    if name in FAMILIES:
        return ValueError(
            f"{name!r} is a family of functions, not a set of examples; draw its tasks with "
            f"jmeta.data.{FAMILIES[name].__name__}."
        )
    kinds = {known.partition(":")[0]: known for known in NAMES}
    close = difflib.get_close_matches(name.partition(":")[0], kinds, n=1)
    hint = f"; did you mean {kinds[close[0]]!r}?" if close else "."
    return ValueError(f"there is no data set {name!r}{hint} Known: {', '.join(NAMES)}.")


def _check_whole(name: str, wanted: Wanted) -> None:
    """Reject options that square images in large classes have no use for."""
    if wanted.fit != "stretch" or wanted.least != 1:
        raise ValueError(
            f"got fit={wanted.fit!r} and least={wanted.least} for {name}, whose images are square "
            "and whose classes are of one size; leave both out."
        )


def _glyphs(wanted: Wanted) -> Dataset:
    if wanted.split is not None and str(wanted.split) != "scripts":
        raise ValueError(
            f"got split={wanted.split!r} for glyphs; it has one split, so leave it out."
        )
    return load_glyphs(size=28 if wanted.size is None else wanted.size)


def _omniglot(wanted: Wanted) -> Dataset:
    split: Any = "vinyals" if wanted.split is None else wanted.split
    size = 28 if wanted.size is None else wanted.size
    return load_omniglot(omniglot_root(wanted.root), split=split, seed=wanted.seed, size=size)


def _tfds(name: str, wanted: Wanted) -> Dataset:
    options: dict[str, Any] = wanted._asdict()
    options["data_dir"] = tfds_dir(options.pop("root"))
    if name == "omniglot":
        _check_whole("tfds:omniglot", wanted)
    else:
        options["split"] = _read_split(wanted)
    return load_tfds(name, **options)


def _folder(path: str, wanted: Wanted) -> Dataset:
    check_fit(wanted.fit, wanted.size)
    return load_prepared(_folder_key(path, wanted)) or _load_folder(path, wanted)


def _load_folder(path: str, wanted: Wanted) -> Dataset:
    options: dict[str, Any] = wanted._replace(split=_read_split(wanted))._asdict()
    return load_folder(find(path, options.pop("root")), **options)


def _folder_key(path: str, wanted: Wanted) -> str:
    """The name of the prepared copy, from the files and every option that shapes the result."""
    place, divided = find(path, wanted.root), _read_split(wanted)
    lists = read_split_lists(divided) if isinstance(divided, Path) else divided
    facts = {"digest": folder_digest(place), "path": str(place), "split": lists}
    shape = {"size": wanted.size, "fit": wanted.fit, "least": wanted.least, "decoder": _DECODER}
    return prepared_name("folder", {**facts, **shape, "seed": wanted.seed})


def _arrays(path: str, wanted: Wanted) -> Dataset:
    _check_unscaled(path, wanted, "arrays are taken as they are")
    split, least = _read_split(wanted), wanted.least
    return load_npz(find(path, wanted.root), split=split, seed=wanted.seed, least=least)


def _table(name: str, wanted: Wanted, others: dict[str, Any]) -> Dataset:
    _check_unscaled(name, wanted, "a table has no images")
    if wanted.least != 1:
        raise ValueError(
            f"got least={wanted.least} for {printable(name)}; tasks with few rows are never drawn, "
            "so leave it out."
        )
    path, task, target, drop = parse_table_name(name)
    named: dict[str, Any] = {"task": task, "target": target, "drop": drop}
    options = {**named, "split": _read_split(wanted), "seed": wanted.seed, **others}
    return load_table(find(path, wanted.root), **options)


def _check_unscaled(name: str, wanted: Wanted, why: str) -> None:
    for option, value, default in (("size", wanted.size, None), ("fit", wanted.fit, "stretch")):
        if value != default:
            raise ValueError(f"got {option}={value} for {printable(name)}; {why}, so drop it.")


def _read_split(wanted: Wanted) -> Sequence[float] | Path | None:
    """The fractions as numbers, the folder of the lists, or None as it is."""
    split = wanted.split
    if not isinstance(split, str | os.PathLike):
        return None if split is None else [float(fraction) for fraction in split]
    try:
        return [float(piece) for piece in str(split).split(",")]
    except ValueError:
        return find(split, wanted.root)

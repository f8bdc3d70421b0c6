"""Where data sets are looked for, and where prepared copies of them are kept.

`$JMETA_DATA` (default `~/.cache/jmeta`) holds what a person downloaded and may be read-only.
`$JMETA_CACHE` (default `~/.cache/jmeta`) holds what jmeta prepared from it and is always safe to
delete. A user without a home folder has `jmeta-USER` among the temporary files instead.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jmeta.core._home import expanded
from jmeta.core._text import printable
from jmeta.data._files import check_regular
from jmeta.data._pool import Dataset, Pool, make_pool

_HOME = "~/.cache/jmeta"
_FORMAT = 2  # part of every prepared name; raise it when what is kept in the files changes


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder under which data sets are looked for.

    It is `root` where that is given, else `$JMETA_DATA`, else `~/.cache/jmeta`.

    >>> data_root("/data").name
    'data'
    """
    given = root or os.environ.get("JMETA_DATA")
    return expanded(given) if given else _default()


def cache_dir() -> Path:
    """Return the folder for prepared sets, `$JMETA_CACHE` or `~/.cache/jmeta`. It need not exist.

    >>> cache_dir().is_absolute() or "JMETA_CACHE" in os.environ
    True
    """
    given = os.environ.get("JMETA_CACHE")
    return expanded(given) if given else _default()


def _default() -> Path:
    """`~/.cache/jmeta`, or a folder of this user among the temporary ones where there is no home.

    Raises:
        ValueError: that folder belongs to somebody else, who could change what is kept in it.
    """
    try:
        return Path(_HOME).expanduser()
    except RuntimeError:  # a user without an entry in the list of users
        user = os.getuid() if hasattr(os, "getuid") else 0
    place = Path(tempfile.gettempdir(), f"jmeta-{user}")
    if place.exists() and place.stat().st_uid != user:
        raise ValueError(
            f"there is no home folder, and {printable(place)} belongs to another user; set "
            "JMETA_CACHE and JMETA_DATA to folders of your own."
        )
    return place


def writable_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the data root where it can be written to, and the cache where it cannot.

    A folder without any write permission counts as read-only, even for a superuser.

    Args:
        root: as for `data_root`.

    >>> writable_root("/tmp").is_absolute()
    True
    """
    place = data_root(root)
    existing = next(p for p in (place, *place.absolute().parents) if p.exists())
    writable = os.access(existing, os.W_OK) and existing.stat().st_mode & 0o222
    return place if writable else cache_dir()


def prepared_name(kind: str, made_from: Mapping[str, Any]) -> str:
    """Name a prepared set after what it was made from, so that a changed source has another name.

    Args:
        kind: what it is, e.g. "omniglot"; letters, digits, "-" and "_".
        made_from: digests of the sources and every option that shaped the result. JSON must be
            able to hold it.

    >>> prepared_name("set", {"size": 28}) == prepared_name("set", {"size": 32})
    False
    """
    text = json.dumps({"format": _FORMAT, "from": dict(made_from)}, sort_keys=True)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def save_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> Path | None:
    """Keep arrays under a name in the cache. A reader never sees half a file.

    Args:
        name: from `prepared_name`.
        arrays: what to keep; no object dtypes.

    Returns:
        The file, or None where the cache cannot be written to. The work is then done again the
        next time.
    """
    target = _prepared_file(name)
    partial = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=target.stem, suffix=".tmp", delete=False
        ) as file:
            partial = Path(file.name)
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(partial, target)
    except OSError:
        return None
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    return target


def load_arrays(name: str) -> dict[str, np.ndarray] | None:
    """Load what `save_arrays` kept under this name. The result is None if it is not intact."""
    try:
        path = _prepared_file(name)
        check_regular(path, expected="a prepared set")
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except Exception:  # a damaged file fails in many ways; after each of them it is made again
        return None


def save_prepared(name: str, dataset: Dataset) -> Path | None:
    """Keep a whole data set under a name from `prepared_name`, as `save_arrays` does."""
    arrays = {"about": np.array(json.dumps({"name": dataset.name, "info": dataset.info}))}
    for part, pool in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test)):
        if pool is not None:
            arrays[f"{part}_examples"] = np.asarray(pool.examples)
            arrays[f"{part}_counts"] = np.asarray(pool.counts)
            arrays[f"{part}_group_sizes"] = np.asarray(pool.group_sizes)
    return save_arrays(name, arrays)


def load_prepared(name: str) -> Dataset | None:
    """Load what `save_prepared` kept under this name. The result is None if it is not intact."""
    arrays = load_arrays(name)
    try:
        if arrays is None:
            return None
        about = json.loads(str(arrays["about"]))
        train, val, test = (_load_pool(arrays, part) for part in ("train", "val", "test"))
        if train is None or test is None:
            return None
        return Dataset(about["name"], train, val, test, about["info"])
    except (KeyError, TypeError, ValueError):
        return None


def _prepared_file(name: str) -> Path:
    return cache_dir() / "prepared" / f"{name}.npz"


def _load_pool(arrays: Mapping[str, np.ndarray], part: str) -> Pool | None:
    if f"{part}_examples" not in arrays:
        return None
    counts, sizes = arrays[f"{part}_counts"], arrays[f"{part}_group_sizes"]
    return make_pool(arrays[f"{part}_examples"], counts.tolist(), sizes.tolist())

"""Where Omniglot lies on disk: two parts, each a zip or a folder."""

import hashlib
import os
import shutil
from pathlib import Path

from jmeta.data._digests import file_digest, listing_digest
from jmeta.data._files import printable
from jmeta.data._paths import cache_dir, data_root

OMNIGLOT_PARTS = ("images_background", "images_evaluation")


def omniglot_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder under which Omniglot is looked for.

    It is `data_root(root)`. When no root is given and Omniglot is not there but in the cache, where
    `prepare` puts it if the root is read-only, it is the cache.

    >>> str(omniglot_root("/data"))
    '/data'
    """
    place = data_root(root)
    fallback = root is None and not has_omniglot(place) and has_omniglot(cache_dir())
    return cache_dir() if fallback else place


def omniglot_folder(root: Path) -> Path:
    """Return the folder that holds the two parts: the root itself or `omniglot` below it.

    >>> str(omniglot_folder(Path("/nowhere")))
    '/nowhere/omniglot'
    """
    return root if _found(root) else root / "omniglot"


def has_omniglot(root: Path) -> bool:
    """Tell whether both parts are in the root or in `omniglot` below it.

    >>> has_omniglot(Path("/nowhere"))
    False
    """
    return len(_found(omniglot_folder(root))) == len(OMNIGLOT_PARTS)


def part_paths(source: Path) -> list[Path]:
    """Return the zip or the folder of each part. A zip is preferred where there are both.

    Args:
        source: the folder that holds the parts.

    Raises:
        ValueError: a part is missing.

    >>> part_paths(Path("/nowhere"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
      ...
    ValueError: found no Omniglot in /nowhere: ...
    """
    found = _found(source)
    if len(found) < len(OMNIGLOT_PARTS):
        what = f"only {found[0].name}" if found else "no Omniglot"
        raise ValueError(
            f"found {what} in {printable(source)}: put images_background.zip and "
            "images_evaluation.zip there (github.com/brendenlake/omniglot, folder python) and set "
            "JMETA_DATA to the folder above, or run `jmeta data prepare omniglot --source PATH`."
        )
    return found


def drawings_in(part: Path) -> list[str]:
    """Return the sorted paths of the png files below a folder, relative to it, without dead links.

    >>> drawings_in(Path("/nowhere"))
    []
    """
    files = (path for path in part.rglob("*.png") if path.is_file())
    return sorted(path.relative_to(part).as_posix() for path in files)


def source_digest(source: Path) -> str:
    """Return a digest of the two parts: of a zip's bytes, of a folder's listing.

    Args:
        source: the folder that holds the parts.

    Raises:
        ValueError: a part is missing.
    """
    digest = hashlib.sha256()
    for path in part_paths(source):
        if path.is_dir():
            digest.update(listing_digest(path, drawings_in(path)).encode())
        else:
            digest.update(file_digest(path).encode())
    return digest.hexdigest()


def copy_parts(source: Path, target: Path) -> None:
    """Copy both parts to another folder. A zip appears there whole or not at all.

    Args:
        source: the folder that holds the parts, or the one above it.
        target: the folder to copy to; it is made where it does not exist.

    Raises:
        ValueError: a part is missing.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in part_paths(omniglot_folder(source)):
        final, partial = target / path.name, target / f".{path.name}.{os.getpid()}"
        if final.exists() and final.samefile(path):
            continue
        if path.is_dir():
            shutil.copytree(path, final, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, partial)
            os.replace(partial, final)


def _found(folder: Path) -> list[Path]:
    """The parts that are in a folder; fewer than two where it is not Omniglot's."""
    found = []
    for part in OMNIGLOT_PARTS:
        choices = (folder / f"{part}.zip", folder / part)
        found += [path for path in choices if path.is_file() or path.is_dir()][:1]
    return found

"""Walking through folders of a user's own, with links that may lead anywhere."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from jmeta.core._text import printable

_MOST_LINKS = 4  # inside one another


def walk(path: Path) -> list[str]:
    """List the relative paths of all files and folders below a folder; those of folders end in "/".

    Links are followed, except one that leads back to a folder around it, whose files are listed
    already. Hidden entries and dead links are left out. What is neither file nor folder, such as a
    pipe, is listed as a file, so that its reader can refuse it.

    Args:
        path: the folder.

    Raises:
        ValueError: there is no such folder, one inside cannot be read, or links lead from link to
            link too often.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "cat").mkdir()
    ...     Path(folder, "cat", "1.png").touch()
    ...     walk(Path(folder))
    ['cat/', 'cat/1.png']
    """
    if not path.is_dir():
        raise ValueError(
            f"there is no folder {printable(path)}; give an existing folder or .zip of images."
        )
    return list(_below(path, PurePosixPath(), around=(), links=0))


def visible(name: str) -> bool:
    """Tell whether a path has no hidden part.

    >>> visible("cat/1.png"), visible(".git/1.png"), visible("__MACOSX/._1.png")
    (True, False, False)
    """
    return not any(p.startswith(".") or p == "__MACOSX" for p in PurePosixPath(name).parts)


def _below(
    folder: Path, place: PurePosixPath, *, around: tuple[tuple[int, int], ...], links: int
) -> Iterator[str]:
    """The entries of a folder and of those in it.

    Args:
        folder: the folder on disk.
        place: its path below the first one.
        around: device and inode of the folders around it.
        links: how many of these are links.
    """
    facts = folder.stat()
    around = (*around, (facts.st_dev, facts.st_ino))
    for entry in _entries(folder):
        name = place / entry.name
        if not entry.is_dir():
            yield name.as_posix()
            continue
        target, followed = os.stat(entry.path), links + entry.is_symlink()
        if (target.st_dev, target.st_ino) in around:
            continue
        if followed > _MOST_LINKS:
            raise ValueError(
                f"{printable(entry.path)} is a link inside {_MOST_LINKS} other links, expected "
                "fewer; put the folders themselves there."
            )
        yield f"{name.as_posix()}/"
        yield from _below(folder / entry.name, name, around=around, links=followed)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """The visible entries of a folder by name, without dead links."""
    try:
        with os.scandir(folder) as found:
            shown = [entry for entry in found if visible(entry.name)]
        return sorted((e for e in shown if os.path.exists(e.path)), key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(
            f"the folder {printable(folder)} cannot be read ({error.strerror}); permit it or "
            "remove it."
        ) from error

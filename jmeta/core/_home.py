"""Paths that begin with a home folder."""

import os
from pathlib import Path

from jmeta.core._text import printable


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path in which a leading `~` or `~user` has become that home folder.

    Raises:
        ValueError: there is no such home folder.

    >>> expanded("/data").name
    'data'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"there is no home folder for {printable(path)}; write the whole path, which begins "
            "with /."
        ) from error

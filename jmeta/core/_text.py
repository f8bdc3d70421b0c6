"""Texts of others in messages: names of files, classes and columns, printed harmlessly."""

import os
from typing import Any


def printable(name: Any) -> str:
    """A text without characters that steer a terminal; these are written as escapes.

    Args:
        name: a path, or the name of a class or of a column.

    >>> print(printable("cat\\x1b[2J.png"))
    cat\\x1b[2J.png
    """
    text = os.fspath(name) if isinstance(name, os.PathLike) else str(name)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

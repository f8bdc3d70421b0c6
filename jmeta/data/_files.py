"""Files named by a user: what is read must be a regular file."""

import os
import stat
from pathlib import Path

from jmeta.core._text import printable
from jmeta.data._limits import check_file

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: str | os.PathLike[str], *, expected: str) -> None:
    """Reject whatever is no regular file before it is opened, since a pipe would block for ever.

    Links are followed.

    Args:
        path: what shall be read.
        expected: what should be there, for the message, such as "a CSV".

    Raises:
        ValueError: there is no such file, or it is a folder, a pipe, a socket or a device.

    >>> check_regular("/dev/null", expected="a CSV")
    Traceback (most recent call last):
    ...
    ValueError: /dev/null is a device, expected a regular file; give the path of a CSV.
    """
    try:
        mode = os.stat(path).st_mode
    except PermissionError as error:
        raise ValueError(
            f"{printable(path)} cannot be reached ({error.strerror}); permit it, or give the path "
            f"of {expected} elsewhere."
        ) from error
    except (OSError, ValueError) as error:  # a path with a NUL has a ValueError
        raise ValueError(
            f"there is no file {printable(path)}; give the path of {expected}."
        ) from error
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no file")
        raise ValueError(
            f"{printable(path)} is {kind}, expected a regular file; give the path of {expected}."
        )


def read_bytes(path: Path, *, expected: str) -> bytes:
    """Read a regular file whole, up to the limit on the size of a file.

    Args:
        path: the file.
        expected: what should be there, for the message.

    Raises:
        ValueError: it is no regular file, too large, or cannot be read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.txt").write_bytes(b"cat")
    ...     read_bytes(Path(folder, "a.txt"), expected="a list")
    b'cat'
    """
    check_regular(path, expected=expected)
    try:
        check_file(path.stat().st_size, what=f"{printable(path)} has")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{printable(path)} cannot be read ({error.strerror}); permit it or remove the file."
        ) from error

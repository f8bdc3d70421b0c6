"""Reading archives from untrusted sources.

No member's path may leave its folder, and sizes are limited.
"""

import lzma
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from jmeta.core._text import printable
from jmeta.data._files import check_regular
from jmeta.data._limits import check_file, check_packed, largest_file

_DAMAGE = (
    *(KeyError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError),
    RuntimeError,  # a password, or a compression that is not known
)


def check_member(name: str, *, archive: str | Path) -> None:
    """Reject an archive member whose path could leave the folder it is unpacked into.

    Args:
        name: the member's path inside the archive.
        archive: the archive, for the message.

    Raises:
        ValueError: the path is absolute, or has a drive letter, a NUL or a '..' part.

    >>> check_member("images/cat/1.png", archive="pets.zip")
    """
    plain = name.replace("\\", "/")
    path = PurePosixPath(plain)
    drive = len(plain) > 1 and plain[1] == ":"
    if path.is_absolute() or drive or ".." in path.parts or "\0" in plain:
        raise ValueError(
            f"{printable(archive)} has the member {name!r}, whose path leaves the "
            "archive's own folder; only relative paths without '..' are read, so repack it."
        )


def open_zip(path: str | Path) -> zipfile.ZipFile:
    """Check a zip's directory, member paths and sizes, and open it for reading.

    Args:
        path: the zip file. The caller closes what is returned (use `with`).

    Raises:
        ValueError: the file is missing or no zip, or has a member that leaves the folder or is too
            large.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder) / "a.zip"
    ...     with zipfile.ZipFile(target, "w") as made:
    ...         made.writestr("cat/1.txt", "hello")
    ...     with open_zip(target) as archive:
    ...         archive.namelist()
    ['cat/1.txt']
    """
    check_regular(path, expected="an existing zip")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"{printable(path)} is not a readable zip ({printable(error)}); download it again."
        ) from error
    try:
        _check_directory(archive, path)
    except ValueError:
        archive.close()
        raise
    return archive


def _check_directory(archive: zipfile.ZipFile, path: str | Path) -> None:
    total = 0
    for info in archive.infolist():
        check_member(info.filename, archive=path)
        check_file(info.file_size, what=f"{printable(path)} unpacks {info.filename!r} to")
        total += info.file_size
    check_packed(total, Path(path).stat().st_size, what=f"{printable(path)} unpacks to")


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read one member of an open zip, up to the size limit.

    Args:
        archive: as returned by `open_zip`.
        name: the member's path inside it.

    Raises:
        ValueError: the member is absent, corrupt, encrypted or too large.

    >>> import io
    >>> with zipfile.ZipFile(io.BytesIO(), "w") as archive:
    ...     archive.writestr("a.txt", "hello")
    ...     read_member(archive, "a.txt")
    b'hello'
    """
    called, most = printable(archive.filename), largest_file()
    try:
        with archive.open(name) as stream:
            data = stream.read(most + 1)
    except _DAMAGE as error:
        raise ValueError(
            f"{called} is damaged at {name!r} ({printable(error)}); download it again."
        ) from error
    check_file(len(data), what=f"{called} unpacks {name!r} to")
    return data

"""Digests of files, which name the prepared copies made from them."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the sha256 of a file's bytes in hex. The file is read in pieces.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder, "a.txt")
    ...     _ = target.write_bytes(b"abc")
    ...     file_digest(target)[:8]
    'ba7816bf'
    """
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def listing_digest(folder: Path, names: Iterable[str]) -> str:
    """Return a digest of the names, sizes and modification times of files in a folder.

    It is much quicker than reading the files, and changes when one is added, removed or written.

    Args:
        folder: the folder.
        names: the paths of the files, relative to the folder. Their order does not matter.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(listing_digest(Path(folder), []))
    64
    """
    digest = hashlib.sha256()
    for name in sorted(names):
        facts = (folder / name).stat()
        digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()

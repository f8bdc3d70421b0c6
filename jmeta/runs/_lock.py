"""One writer: a run's folder is locked while a process writes in it."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from jmeta.core._text import printable

try:
    import fcntl
except ImportError:  # no such locks on this system: folders are then not locked
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
_TRIES, _PAUSE = 5, 0.02  # seconds: `writer` holds a lock for a moment, which is waited for


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other processes from writing in a folder, which is made if it is missing.

    The lock is the kernel's and belongs to the open file: it goes with the process, however that
    ends, so a file that a dead process left is not in the way. The file itself stays, since a
    process that waits for a removed file would lock another than its successor. On NFS the lock
    holds among machines; where a file system has no locks at all, the folder is not locked.

    Raises:
        ValueError: another process is writing there.
        OSError: the folder cannot be made, or not be written in.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / NAME).open("a+", encoding="utf-8", errors="replace") as file:
        try:
            _take(file)
        except BlockingIOError as error:
            file.seek(0)
            raise ValueError(
                f"another process ({_owner(file.read(200))}) is writing in {out}; wait until it "
                "has ended, stop it, or name another folder."
            ) from error
        except OSError:  # ENOLCK, EOPNOTSUPP: a file system without locks
            pass
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def writer(out: Path) -> str | None:
    """Who is writing in a folder, such as "process 7 on here"; None where nobody is known to.

    Nothing is written, so that a folder which may only be read can be looked at.
    """
    path = out / NAME
    if fcntl is None or not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _owner(file.read(200))
    except OSError:  # not to be read, or a file system without locks
        pass
    return None


def _take(file: IO[str]) -> None:
    """Lock a file for this process alone.

    Raises:
        BlockingIOError: another process holds it, and not only for a moment.
        OSError: a file system without locks.
    """
    if fcntl is None:
        return
    for left in reversed(range(_TRIES)):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                raise
            time.sleep(_PAUSE)


def _owner(text: str) -> str:
    """What a lock file says of its owner, on one line.

    >>> _owner("process 7 on here\\n")
    'process 7 on here'
    """
    return printable(text.strip()) or "not yet named"

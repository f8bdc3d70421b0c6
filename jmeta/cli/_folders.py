"""The folders of runs: the one that was asked for, or a new one."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from jmeta.runs import _processes as processes
from jmeta.runs._lock import NAME as LOCK


@contextmanager
def run_folder(asked: Path | None, name: str) -> Iterator[Path]:
    """The folder of a run: the one asked for, or a new one that is removed if no run is in it."""
    if asked is not None:
        yield asked
        return
    made = processes.once(lambda: _fresh(Path("runs"), name))
    out = Path(processes.tell(str(made)))
    try:
        yield out
    finally:
        if made is not None:
            with suppress(OSError):  # something was written
                if [path.name for path in made.iterdir()] == [LOCK]:
                    (made / LOCK).unlink()
                made.rmdir()


def _fresh(parent: Path, name: str) -> Path:
    """Make the first of NAME, NAME-2, NAME-3, ... that does not exist.

    The folder is made at once, so that no other process chooses it too.
    """
    plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
    parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        path = parent / (plain if number == 1 else f"{plain}-{number}")
        with suppress(FileExistsError):
            path.mkdir()
            return path
    raise AssertionError("there is a number that is not taken")

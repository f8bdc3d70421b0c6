"""How large what is read may become: every limit of this room, in one place.

All follow from one number, the bytes that the arrays of a data set may take: an eighth of the
machine's memory, because a set exists up to three times while its classes are sorted and put into
pools, and a run needs room beside it. `$JMETA_DATA_LIMIT` sets another, up to the whole memory.

| what | at most |
|---|---|
| all arrays of a set | the limit |
| an .npz or a zip, unpacked, against its size on disk | 200 times, from 256 MB on |
| a file or the member of an archive, in bytes | an eighth of the limit, and at least 256 MB |
| an image, in pixels | a 64th of the limit in bytes, and at least 50 million |
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Condition

VARIABLE = "JMETA_DATA_LIMIT"
MEGABYTE = 10**6
_SHARE = 8  # the part of the memory that a set may take
_FLAT = 256 * MEGABYTE  # what any machine reads, and any archive may unpack to
_RATIO = 200  # images of ink on paper shrink to a fiftieth; a bomb to a thousandth
_PIXELS = 50_000_000  # the largest photographs of telephones
_PILLOW = 178_000_000  # pixels from which Pillow itself decodes nothing
_UNKNOWN = 8 * 10**9  # the memory of a machine that does not say
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def data_limit() -> int:
    """Return the bytes that the arrays of one data set may take.

    Raises:
        ValueError: `$JMETA_DATA_LIMIT` is not a size, or more than the machine's memory.

    >>> data_limit() > 0
    True
    """
    given, memory = os.environ.get(VARIABLE), _memory()
    if not given:
        return memory // _SHARE
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) *([KMGT]?)B?", given.strip().upper())
    size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if not 0 < size <= memory:
        raise ValueError(
            f"got {VARIABLE}={given!r}, expected a size such as 6G, at most {said(memory)}, which "
            "is the memory of this machine; correct it or unset it."
        )
    return size


def check_set(size: int, *, what: str) -> None:
    """Refuse a data set whose arrays would be too large.

    Args:
        size: bytes of all its arrays.
        what: how the sentence begins, such as "a.npz unpacks to".

    Raises:
        ValueError: it is more than `data_limit()`.

    >>> check_set(10**6, what="a.npz unpacks to")
    """
    _refuse(size, data_limit(), what, "a data set")


def check_packed(size: int, packed: int, *, what: str) -> None:
    """Refuse an archive that unpacks to far more than its own size.

    Args:
        size: bytes of all its members, unpacked.
        packed: bytes of the archive.
        what: how the sentence begins, such as "a.zip unpacks to".

    Raises:
        ValueError: it is more than 200 times the size of the archive, and not small. A limit that
            was set by `$JMETA_DATA_LIMIT` holds in its place.

    >>> check_packed(10**6, 10, what="a.zip unpacks to")
    """
    if not os.environ.get(VARIABLE):
        _refuse(size, max(_FLAT, _RATIO * packed), what, f"an archive of {said(packed)}")


def check_file(size: int, *, what: str) -> None:
    """Refuse a file, or a member of an archive, that is too large.

    Raises:
        ValueError: it has more bytes than an eighth of `data_limit()` or, if that is more, 256 MB.

    >>> check_file(10**6, what="1.png has")
    """
    _refuse(size, largest_file(), what, "one file", share=8)


def largest_file() -> int:
    """Return how many bytes a file or the member of an archive may have."""
    return max(_FLAT, data_limit() // 8)


def check_pixels(width: int, height: int, *, what: str) -> None:
    """Refuse an image of too many pixels.

    Raises:
        ValueError: it has more than a 64th of `data_limit()` or, if that is more, 50 million.

    >>> check_pixels(640, 480, what="1.png")
    """
    if width * height > (most := largest_image()):
        raise ValueError(
            f"{what} is {width}x{height} pixels, {width * height} in all; at most {most} are "
            f"decoded, so scale it down first{_advice(64 * width * height)}."
        )


def largest_image() -> int:
    """Return how many pixels an image may have."""
    return min(max(_PIXELS, data_limit() // 64), _PILLOW)


class Allowance:
    """Lets threads decode images together, as long as all of these are no more than one large one.

    >>> with Allowance().pixels(10**6):
    ...     pass
    """

    def __init__(self) -> None:
        self._changed, self._taken = Condition(), 0

    @contextmanager
    def pixels(self, number: int) -> Iterator[None]:
        """Wait until so many pixels more may be decoded; one image alone always may."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + number <= _PIXELS)
            self._taken += number
        try:
            yield
        finally:
            with self._changed:
                self._taken -= number
                self._changed.notify_all()


def said(size: int) -> str:
    """Write a number of bytes for people.

    >>> said(999), said(5_300_000_000)
    ('999 bytes', '5.3 GB')
    """
    for unit, power in (("GB", 10**9), ("MB", MEGABYTE)):
        if size >= power:
            return f"{size / power:.3g} {unit}"
    return f"{size} bytes"


def _refuse(size: int, limit: int, what: str, whose: str, share: int = 1) -> None:
    if size > limit:
        raise ValueError(
            f"{what} {said(size)} ({size} bytes); at most {said(limit)} are read of {whose}, so "
            f"check where it came from{_advice(share * size)}."
        )


def _advice(size: int) -> str:
    """How to raise the limit so that a size fits, where the machine has the memory."""
    needed = -(-size // 10**9)
    fits = needed * 10**9 <= _memory()
    return f", or raise the limit by {VARIABLE}={needed}G" if fits else ""


@cache
def _memory() -> int:
    """Bytes of memory of this machine, or of its container."""
    found = [size for size in (_total(), _group()) if size]
    return min(found, default=_UNKNOWN)


def _total() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on every system
        return None


def _group() -> int | None:
    """The limit of a container, where it has one."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):  # no control group, or "max": no limit
        return None

"""What one client may ask for, so that no client can take all of a machine."""

import math
from dataclasses import dataclass, field, fields

TOGETHER = 4  # all images of a request may have so many times the pixels of one
HELD = 32  # all bodies that are being read or wait may have so many times the bytes of one
LABEL = 100  # characters of a label


@dataclass(frozen=True)
class Limits:
    """Limits of a server; each is an option of `jmeta serve`.

    Raises:
        ValueError: one is no number above 0.

    >>> Limits(classes=5).classes
    5
    """

    body: int = field(default=8_000_000, metadata={"help": "bytes of a request"})
    pixels: int = field(default=4_000_000, metadata={"help": "pixels of an image"})
    examples: int = field(default=200, metadata={"help": "examples of a request"})
    classes: int = field(default=64, metadata={"help": "classes of a session"})
    sessions: int = field(default=100, metadata={"help": "sessions; the oldest is forgotten"})
    memory: int = field(default=10**9, metadata={"help": "bytes of all sessions together"})
    queue: int = field(default=64, metadata={"help": "requests that wait to be computed"})
    connections: int = field(default=200, metadata={"help": "open connections"})
    seconds: float = field(
        default=30.0, metadata={"help": "seconds to send a request, and to compute its answer"}
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"--{each.name} must be a number above 0, but got {value}.")

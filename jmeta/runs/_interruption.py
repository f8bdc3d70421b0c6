"""Ctrl-C and SIGTERM as something a loop may ask about."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(Exception):
    """Ctrl-C or SIGTERM: the run was saved and can be resumed."""

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.code = 128 + number  # exit code of a command, as shells write it


@contextmanager
def interruption() -> Iterator[Callable[[], int]]:
    """Turn the first Ctrl-C or SIGTERM into its number, which is read between dispatches.

    The number is 0 before. A second signal is raised as KeyboardInterrupt.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return

    def handler(number: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, action in before.items():
            signal.signal(number, action)

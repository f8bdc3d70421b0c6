"""Ctrl-C and SIGTERM as something a loop may ask about."""

import os
import signal
import sys
import threading
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupted(Exception):
    """Ctrl-C or SIGTERM: the run was saved and can be resumed."""

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.code = 128 + number  # exit code of a command, as shells write it


class Terminated(KeyboardInterrupt):
    """SIGTERM outside the loop: there is nothing to save that was not saved."""

    code = 128 + signal.SIGTERM


@contextmanager
def ending() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: by an exception that the command catches."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: Any) -> None:
        raise Terminated

    before, hook = signal.signal(signal.SIGTERM, terminate), sys.unraisablehook

    def again(unraisable: Any) -> None:
        """Repeat a signal whose exception Python dropped because it came in a callback."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            dropped = issubclass(unraisable.exc_type, Terminated)
            number = signal.SIGTERM if dropped else signal.SIGINT
            threading.Timer(0.05, interrupt_main, [number]).start()
        else:
            hook(unraisable)

    sys.unraisablehook = again
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.unraisablehook = hook


def end_at_once() -> None:
    """Let every further Ctrl-C or SIGTERM end the process quietly.

    A command that was interrupted has nothing left to do but to print a line; a signal that comes
    then, or while Python shuts down, would print a traceback.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: os._exit(128 + number))


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

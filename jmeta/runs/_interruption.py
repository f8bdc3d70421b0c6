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
def ending(*, process: bool) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a command by an exception, the first time.

    With `process`, the process has nothing to do but this command, and the handlers stay: a signal
    that comes after the first, or after the command, ends the process at once and quietly. No
    signal in between finds Python's own handlers, of which one prints a traceback.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over: list[bool] = []

    def end(number: int, frame: Any) -> None:
        if process and over:
            os._exit(128 + number)
        over.append(True)
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.unraisablehook

    def again(unraisable: Any) -> None:
        """Repeat a signal whose exception Python dropped because it came in a callback."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            over.clear()
            dropped = issubclass(unraisable.exc_type, Terminated)
            number = signal.SIGTERM if dropped else signal.SIGINT
            threading.Timer(0.05, interrupt_main, [number]).start()
        else:
            hook(unraisable)

    sys.unraisablehook = again
    try:
        yield
    finally:
        over.append(True)
        sys.unraisablehook = hook
        if not process:
            for number, action in before.items():
                signal.signal(number, action)


@contextmanager
def interruption() -> Iterator[Callable[[], int]]:
    """Turn the first Ctrl-C or SIGTERM into its number, which is read between dispatches.

    The number is 0 before. A second signal goes to the handler that was there before, or is raised
    as KeyboardInterrupt where that is none of Python's.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return

    def handler(number: int, frame: Any) -> None:
        if received:
            outer = before[signal.Signals(number)]
            if callable(outer):
                outer(number, frame)
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: received[0] if received else 0
    finally:
        for number, action in before.items():
            signal.signal(number, action)

"""Dispatches of updates: how they are sent, and when their results have arrived."""

import threading
import time
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import numpy as np

from jmeta.core import TrainState


class Send(NamedTuple):
    """Dispatches of updates: `send(state, length) -> (state, (losses, scores))`."""

    advance: Any  # see `programs.dispatch`
    pool: Any

    def __call__(self, state: TrainState, length: int) -> tuple[TrainState, tuple]:
        return self.advance(state, pool=self.pool, length=length)

    def compile(self, state: TrainState, length: int) -> None:
        """Compile dispatches of a length, which JAX then finds when one is sent."""
        self.advance.lower(state, pool=self.pool, length=length).compile()


class Arrived(NamedTuple):
    """What a dispatch has computed, and when it was ready."""

    losses: np.ndarray  # [length]
    scores: np.ndarray  # [length]
    when: float  # by `time.perf_counter`


class Sent(NamedTuple):
    """A dispatch whose results were not read yet."""

    step: int  # the last of its updates
    length: int
    at: float  # when it was sent, by `time.perf_counter`
    results: "Future[Arrived]"


def awaited(losses: jax.Array, scores: jax.Array) -> "Future[Arrived]":
    """Wait for a dispatch in a thread, so that its end is seen where sending the next one blocks.

    The thread is a daemon: a process that is to end does not wait for it.
    """
    future = Future[Arrived]()

    def wait() -> None:
        try:
            found = np.asarray(losses), np.asarray(scores)
            future.set_result(Arrived(*found, time.perf_counter()))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()
    return future

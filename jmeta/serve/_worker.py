"""One thread that computes, and a queue before it that is never long."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any

from jmeta.serve._errors import Refused


class Worker:
    """Computes one thing at a time, beside the loop that reads and writes."""

    def __init__(self, *, most: int, seconds: float) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="jmeta-serve")
        self._free, self._seconds = BoundedSemaphore(most), seconds

    async def run(self, function: Callable[[bytes], bytes], body: bytes) -> bytes:
        """What a function makes of a body.

        Raises:
            Refused: too many wait, or it took too long; what has begun goes on to its end.
        """
        if not self._free.acquire(blocking=False):
            raise Refused(503, "the server is busy; try again in a second.")
        try:
            future: Future[Any] = self._pool.submit(function, body)
        except RuntimeError as error:  # the pool was closed
            self._free.release()
            raise Refused(503, "the server is shutting down.") from error
        future.add_done_callback(lambda _: self._free.release())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError as error:
            raise Refused(
                503,
                f"the answer took more than {self._seconds:g} seconds; try again, or send fewer "
                "examples.",
            ) from error

    def close(self) -> None:
        """Drop what waits; what has begun goes on to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

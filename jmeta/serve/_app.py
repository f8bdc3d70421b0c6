"""The application: routes, what guards them, and errors as JSON."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from jmeta.few import FewShot
from jmeta.serve._description import description
from jmeta.serve._errors import Refused
from jmeta.serve._guard import Guard, error_response, json_response
from jmeta.serve._limits import HELD, Limits
from jmeta.serve._page import FILES
from jmeta.serve._service import Service, encoded
from jmeta.serve._worker import Worker

Endpoint = Callable[[Request], Awaitable[Response]]
DRAIN = 1.0  # seconds in which the rest of a refused body is thrown away


def application(few: FewShot, limits: Limits | None = None, *, local: bool = True) -> ASGIApp:
    """An ASGI application that answers for a model.

    Args:
        few: from `jmeta.load`.
        limits: what clients may ask for; the defaults of `Limits` without it.
        local: whether only names of this machine are answered in the Host header, so that no page
            of a stranger reaches it through a name that it made point here.

    Returns:
        What any ASGI server runs; `jmeta.serve.serve` runs it by uvicorn, with limits on
        connections too.
    """
    limits = limits or Limits()
    service = Service(few, limits)
    worker = Worker(most=limits.queue, seconds=limits.seconds)
    bodies = Bodies(limits)
    described = encoded(description(few, limits))

    async def health(request: Request) -> Response:
        return json_response(encoded(service.health()))

    async def openapi(request: Request) -> Response:
        return json_response(described)

    def computed(function: Callable[[bytes], bytes]) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            body = await bodies.read(request)
            try:
                return json_response(await worker.run(function, body))
            finally:
                bodies.held -= len(body)

        return endpoint

    app = Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/openapi.json", openapi, methods=["GET"]),
            Route("/adapt", computed(service.adapt), methods=["POST"]),
            Route("/predict", computed(service.predict), methods=["POST"]),
            *(Route(path, _static(*found), methods=["GET"]) for path, found in FILES.items()),
        ],
        exception_handlers={HTTPException: _unknown, Refused: _refused},
    )
    app.router.redirect_slashes = False
    return Guard(app, local=local, close=worker.close)


def _static(content: bytes, kind: str) -> Endpoint:
    """A file of the page, which was read when the package was imported."""

    async def endpoint(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})

    return endpoint


async def _unknown(request: Request, error: Exception) -> Response:
    """Another path or method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        return error_response(405, f"this path takes {allowed} alone.", {"allow": allowed})
    known = ", ".join(["/health", "/adapt", "/predict", "/openapi.json"])
    return error_response(
        error.status_code, f"there is nothing here; use {known}, or / for the page."
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    more = {"retry-after": "1"} if error.status == 503 else {}
    if error.status in (408, 413, 415):  # perhaps the body was not read to its end
        more["connection"] = "close"
    return error_response(error.status, str(error), more)


class Bodies:
    """Reads bodies, each and all together up to a limit.

    Attributes:
        held: bytes of the bodies that are being read or computed.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self.held = limits, 0

    async def read(self, request: Request) -> bytes:
        """The body of a request; its bytes are held until the caller subtracts them.

        Raises:
            Refused: it is no JSON, too long, or comes too slowly.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        length = request.headers.get("content-length", "0")
        try:
            if kind != "application/json":
                raise Refused(415, "the Content-Type must be application/json.")
            if length.isdecimal() and int(length[:20]) > self._limits.body:
                raise self._too_long()
            return await self._received(request)
        except Refused:
            if "expect" not in request.headers:
                await _drained(request)
            raise

    async def _received(self, request: Request) -> bytes:
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._limits.seconds):
                async for chunk in request.stream():
                    chunks.append(chunk)
                    size += len(chunk)
                    self.held += len(chunk)
                    if size > self._limits.body:
                        raise self._too_long()
                    if self.held > HELD * self._limits.body:
                        raise Refused(503, "the server is busy; try again in a second.")
            return b"".join(chunks)
        except BaseException as error:
            self.held -= size
            if isinstance(error, TimeoutError):
                raise Refused(
                    408, f"the body did not arrive within {self._limits.seconds:g} seconds."
                ) from error
            raise

    def _too_long(self) -> Refused:
        return Refused(413, f"the body is too long; send at most {self._limits.body} bytes.")


async def _drained(request: Request) -> None:
    """Throw away what still comes for a moment, so that the client reads why it was refused."""
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(DRAIN):
            while (await request.receive()).get("more_body", False):
                pass

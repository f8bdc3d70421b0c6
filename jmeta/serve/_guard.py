"""What stands before every route: whom it answers, and the headers of every answer."""

import ipaddress
import re
import sys
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jmeta.runs._progress import one_line
from jmeta.serve._service import encoded

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def json_response(
    content: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of JSON, which nobody stores."""
    more = {"cache-control": "no-store", **(headers or {})}
    return Response(content, status, media_type="application/json", headers=more)


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as JSON of one sentence."""
    return json_response(encoded({"error": message}), status, headers)


class Guard:
    """An application that answers this machine alone, and never fails without an answer."""

    def __init__(self, app: ASGIApp, *, local: bool, close: Callable[[], None]) -> None:
        self._app, self._local, self.close = app, local, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            refused = self._refused(Headers(scope=scope))
            await (refused or self._app)(scope, receive, guarded)
        except ClientDisconnect:
            return
        except Exception as error:
            print(
                f"jmeta: error: {type(error).__name__}: {one_line(error)[:500]}",
                file=sys.stderr,
                flush=True,
            )
            if not begun:
                told = "the server failed at this request; its own output says how."
                await error_response(500, told)(scope, receive, guarded)

    def _refused(self, headers: Headers) -> Response | None:
        """The answer to a page of a stranger; None where the request may go on."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._local and not is_local(host):
            return error_response(
                403,
                "this server answers under the names of this machine alone, such as localhost; "
                "start it with --host to serve others.",
            )
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return error_response(403, "this server answers no page of another site.")
        return None


def is_local(host: str) -> bool:
    """Whether the Host header of a request names this machine.

    >>> is_local("localhost:8000"), is_local("127.0.0.1"), is_local("[::1]:80"), is_local("a.com")
    (True, True, True, False)
    """
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:[0-9]{1,5})?", host)
    name = found[1].strip("[]") if found else ""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

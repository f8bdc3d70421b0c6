"""The server: a socket, connections with a limit and a clock, and a quiet end."""

import asyncio
import ipaddress
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from jmeta.few import FewShot
from jmeta.serve._app import application
from jmeta.serve._guard import HEADERS
from jmeta.serve._limits import Limits
from jmeta.serve._service import encoded

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LONGEST = 3  # a request and its answer may take so many times the seconds of one


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: a name or an address of this machine.
        port: 0 takes any that is free.

    Raises:
        ValueError: the address is not of this machine, or the port is taken.

    >>> with listen("127.0.0.1", 0) as found:
    ...     found.getsockname()[0]
    '127.0.0.1'
    """
    if not 0 <= port < 65536:
        raise ValueError(f"--port must be a number from 0 to 65535, but got {port}.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        made = socket.create_server(address[:2], family=family, backlog=256)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"cannot listen on port {port} of {host!r}: {reason}; choose another with --port or "
            "--host."
        ) from error
    made.setblocking(False)
    return made


def address_of(listening: socket.socket) -> str:
    """The address of a listening socket, as a browser takes it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_open(listening: socket.socket) -> bool:
    """Whether other machines may reach a listening socket."""
    return not ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def serve(few: FewShot, listening: socket.socket, limits: Limits | None = None) -> None:
    """Answer requests until Ctrl-C or SIGTERM.

    Args:
        few: from `jmeta.load`.
        listening: from `listen`.
        limits: what clients may ask for.
    """
    server(few, listening, limits or Limits()).run(sockets=[listening])


def server(few: FewShot, listening: socket.socket, limits: Limits) -> "Server":
    """A server that has not begun; it ends when its `should_exit` is set."""
    app = application(few, limits, local=not is_open(listening))
    config = uvicorn.Config(
        app,
        http=partial(Connection, limits=limits),  # type: ignore[arg-type]
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    return Server(config)


class Server(uvicorn.Server):
    """A server that ends quietly: a signal that it has obeyed is not raised once more."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at Ctrl-C and SIGTERM."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            self.config.app.close()  # type: ignore[union-attr]
            for number, handler in before.items():
                signal.signal(number, handler)


class Connection(H11Protocol):
    """A connection that is closed where its client is slow, or where others need its place."""

    def __init__(self, *args: Any, limits: Limits, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits = limits
        self._clock: asyncio.TimerHandle | None = None
        self._late, self._since = False, self.loop.time()

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; of too many, the connection that has waited longest for its client is closed."""
        super().connection_made(transport)
        self._wind()
        if len(self.connections) <= self._limits.connections:
            return
        others = [each for each in self.connections if isinstance(each, Connection) and each.idle]
        oldest = min((each for each in others if each is not self), key=_since, default=None)
        if oldest is not None:
            oldest.transport.abort()
        else:
            self._say(503, "the server has too many connections; try again in a second.")

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._clock is not None:
            self._clock.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._late = False
        self._wind()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._say(400, "this is no request of HTTP/1.1.")

    def _wind(self) -> None:
        """Start the clock anew."""
        if self._clock is not None:
            self._clock.cancel()
        self._since = self.loop.time()
        times = LONGEST if self._late else 1
        self._clock = self.loop.call_later(times * self._limits.seconds, self._run_out)

    def _run_out(self) -> None:
        """Close a connection without a whole request, or with a client that does not read."""
        if self.idle or self._late:
            self.transport.abort()
            return
        self._late = True
        self._wind()

    def _say(self, status: int, message: str) -> None:
        """Answer by an error outside of the application, and close."""
        content = encoded({"error": message})
        headers = {
            "content-type": "application/json",
            "content-length": str(len(content)),
            "connection": "close",
            **HEADERS,
        }
        lines = [f"HTTP/1.1 {status} Refused", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        self.transport.write("\r\n".join(lines).encode("ascii") + content)
        self.transport.close()


def _since(connection: Connection) -> float:
    """When a connection began to wait."""
    return connection._since

"""Requests that no server should fall for: each is a path, a body and headers."""

import base64
import io
import json
import random
import struct
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from PIL import Image


class Bad(NamedTuple):
    """A request, and the statuses that are right for it."""

    path: str
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})
    method: str = "POST"
    status: tuple[int, ...] = (400, 413, 422)


def bomb(side: int) -> bytes:
    """A PNG of a few bytes whose header promises side by side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000_000), 9)
    found = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + found


def picture(kind: str = "PNG", **options: Any) -> bytes:
    """A grey picture as a file, of noise."""
    stream = io.BytesIO()
    noise = random.Random(0).randbytes(28 * 28)
    Image.frombytes("L", (28, 28), noise).save(stream, kind, **options)
    return stream.getvalue()


def text(data: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(data).decode("ascii")


def malformed(session: str) -> dict[str, Bad]:
    """Name -> a bad request to a server of 28x28 images, of which a session is known."""
    good = text(picture())
    x = [[[0.5]] * 28] * 28

    def one(image: Any = good, **more: Any) -> dict[str, Any]:
        return {"label": "a", "image": image, **more}

    def adapt(*examples: Any) -> bytes:
        return json.dumps({"examples": list(examples)}).encode()

    def predict(*examples: Any, session: Any = session, **more: Any) -> bytes:
        return json.dumps({"session": session, "examples": list(examples), **more}).encode()

    other = {"label": "b", "image": good}
    images: dict[str, Any] = {
        "a path": "/etc/passwd",
        "a path up": "../../../../etc/passwd",
        "a path of base64 letters": "/etc/hostnam",
        "an address": "file:///etc/passwd",
        "a data address": f"data:image/png;base64,{good}",
        "no base64": "****",
        "base64 cut off": good[:-3],
        "letters of no alphabet": "ä" * 40,
        "empty": "",
        "a number": 5,
        "null": None,
        "a list": [good],
        "an object": {"path": "/etc/passwd"},
        "true": True,
        "a truncated png": text(picture()[:300]),
        "a signature alone": text(b"\x89PNG\r\n\x1a\n"),
        "a damaged png": text(picture()[:60] + bytes(20) + picture()[80:]),
        "a truncated jpeg": text(picture("JPEG")[:100]),
        "noise": text(bytes(range(256)) * 8),
        "a gif": text(picture("GIF")),
        "a tiff": text(picture("TIFF")),
        "a page": text(b"<svg xmlns='http://www.w3.org/2000/svg'></svg>"),
        "a bomb of 30000": text(bomb(30_000)),
        "a bomb of 4000": text(bomb(4_000)),
        "a bomb of two billion": text(bomb(2**31 - 1)),
        "no pixels": text(bomb(0)),
    }
    numbers: dict[str, bytes] = {
        "NaN": b"NaN",
        "infinity": b"Infinity",
        "beyond floats": b"1e999",
        "huge": b"1e300",
        "a long number": b"9" * 5000,
        "text": b'"0.5"',
        "true": b"true",
        "null": b"null",
        "ragged": b"[1, 2]",
    }
    wide = json.dumps(x)
    arrays = {
        name: f'{{"session": "{session}", "examples": [{{"x": {wide}}}]}}'.encode().replace(
            b"0.5", value, 1
        )
        for name, value in numbers.items()
    }
    shapes: dict[str, Any] = {
        "no list": 3,
        "flat": [0.5] * 784,
        "empty": [],
        "too short": x[1:],
        "too long": [*x, x[0]],
        "of two": [x, x],
        "text": "0.5",
        "deep": [[[[0.5]] * 28] * 28],
    }
    labels: dict[str, Any] = {
        "a number": 5,
        "null": None,
        "empty": "",
        "blank": "   ",
        "a list": ["a"],
        "long": "a" * 10_000,
        "with a NUL": "a\0b",
        "that steers a terminal": "\x1b[2J",
        "half a character": "\ud800",
    }
    bodies: dict[str, bytes] = {
        "empty": b"",
        "spaces": b"   ",
        "no JSON": b"examples=1",
        "truncated": adapt(one(), other)[:-10],
        "more after it": adapt(one(), other) + b"{}",
        "no UTF-8": b'{"examples": "\xff\xfe"}',
        "UTF-16": '{"examples": []}'.encode("utf-16"),
        "a mark of bytes": b"\xef\xbb\xbf{}",
        "deep lists": b"[" * 100_000 + b"]" * 100_000,
        "deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        "open lists": b"[" * 1_000_000,
        "quotes": b'"' * 100_000,
        "escaped quotes": b'"' + b'\\"' * 100_000,
        "a list": b"[]",
        "text": b'"examples"',
        "null": b"null",
        "nothing in it": b"{}",
        "examples twice": b'{"examples": [], "examples": []}',
        "a label twice": adapt(other).replace(b'"label": "b"', b'"label": "b", "label": "c"'),
        "no examples": b'{"examples": []}',
        "examples an object": b'{"examples": {}}',
        "examples a path": b'{"examples": "/etc/passwd"}',
        "examples of numbers": b'{"examples": [1, 2]}',
        "an example of nothing": b'{"examples": [{}]}',
        "one class": adapt(one(), one()),
        "a field more": b'{"examples": [], "path": "/etc/passwd"}',
        "a field more in an example": adapt(one(file="/etc/passwd"), other),
        "image and x": adapt(one(x=x), other),
        "a label without image": adapt({"label": "a"}, other),
        "an image without label": adapt({"image": good}, other),
        "a number as answer": adapt({"y": 5, "image": good}, other),
        "too many examples": adapt(*[one()] * 500),
        "too many classes": adapt(*[{"label": str(i), "image": good} for i in range(100)]),
        "too many bytes": b" " * 9_000_000,
        "zip": zlib.compress(b"{}" * 100),
    }
    asked: dict[str, bytes] = {
        "no session": json.dumps({"examples": [{"image": good}]}).encode(),
        "a session of numbers": predict({"image": good}, session=5),
        "a session of null": predict({"image": good}, session=None),
        "a list of sessions": predict({"image": good}, session=[session]),
        "a label": predict(one()),
        "a field more": predict({"image": good}, path="/etc/passwd"),
        "no examples": predict(),
    }
    unknown = (404,)
    return {
        **{f"adapt, image: {k}": Bad("/adapt", adapt(one(v), other)) for k, v in images.items()},
        **{
            f"predict, image: {k}": Bad("/predict", predict({"image": v}))
            for k, v in images.items()
        },
        **{f"number: {k}": Bad("/predict", body) for k, body in arrays.items()},
        **{f"shape: {k}": Bad("/predict", predict({"x": v})) for k, v in shapes.items()},
        **{
            f"label: {k}": Bad("/adapt", adapt({"label": v, "image": good}, other))
            for k, v in labels.items()
        },
        **{f"body: {k}": Bad("/adapt", body) for k, body in bodies.items()},
        **{f"asked: {k}": Bad("/predict", body) for k, body in asked.items()},
        "session: unknown": Bad("/predict", predict({"image": good}, session="a"), status=unknown),
        "session: a path": Bad(
            "/predict", predict({"image": good}, session="../../etc/passwd"), status=unknown
        ),
        "session: huge": Bad(
            "/predict", predict({"image": good}, session="a" * 100_000), status=unknown
        ),
        "type: a form": Bad(
            "/adapt", b"a=1", {"content-type": "application/x-www-form-urlencoded"}, status=(415,)
        ),
        "type: text": Bad("/adapt", b"{}", {"content-type": "text/plain"}, status=(415,)),
        "type: parts": Bad(
            "/adapt", b"{}", {"content-type": "multipart/form-data; boundary=a"}, status=(415,)
        ),
        "type: none": Bad("/adapt", b"{}", {"content-type": ""}, status=(415,)),
        "host: a stranger's": Bad("/adapt", b"{}", {"host": "evil.example"}, status=(403,)),
        "host: like this one": Bad(
            "/adapt", b"{}", {"host": "localhost.evil.example"}, status=(403,)
        ),
        "host: an address": Bad("/adapt", b"{}", {"host": "10.0.0.1:8000"}, status=(403,)),
        "host: odd": Bad("/adapt", b"{}", {"host": "[::1"}, status=(400, 403)),
        "origin: a stranger's": Bad(
            "/adapt", b"{}", {"origin": "http://evil.example"}, status=(403,)
        ),
        "origin: none": Bad("/adapt", b"{}", {"origin": "null"}, status=(403,)),
        **{
            f"path: {path}": Bad(path, b"", method="GET", status=unknown)
            for path in (
                "/../../etc/passwd",
                "/..%2f..%2fetc%2fpasswd",
                "/%2e%2e/%2e%2e/etc/passwd",
                "//etc/passwd",
                "/page/index.html",
                "/static/app.js",
                "/app.js/",
                "/index.html%00",
                "/.git/config",
                "/health/",
                "/" + "a" * 5000,
            )
        },
        **{
            f"method: {method} {path}": Bad(path, b"{}", method=method, status=(405,))
            for method, path in [
                ("GET", "/adapt"),
                ("GET", "/predict"),
                ("PUT", "/adapt"),
                ("DELETE", "/predict"),
                ("OPTIONS", "/adapt"),
                ("POST", "/health"),
                ("POST", "/"),
                ("TRACE", "/health"),
                ("BREW", "/adapt"),
            ]
        },
    }

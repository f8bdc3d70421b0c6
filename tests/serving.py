"""A tiny run, and a server for it in a thread."""

import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

import jmeta
from jmeta import serve, train
from jmeta.few import FewShot
from jmeta.serve import _server

TINY = {"steps": 2, "tasks": 2, "queries": 2, "devices": 1, "validate_every": 2}
TINY |= {"validation_episodes": 2, "episodes": 2, "log_every": 1}
SMALL = {"filters": 4, "norm": "none", "ways": 2, "shots": 1}  # for pictures


def trained(folder: Path, algorithm: str = "protonet", **options: Any) -> FewShot:
    """A model that has hardly learned anything, in a few seconds."""
    train.run(train.experiment(algorithm, **{**TINY, **options}), folder)
    return jmeta.load(folder)


@contextmanager
def served(few: FewShot, **limits: Any) -> Iterator[str]:
    """The address of a server for a model."""
    with serve.listen("127.0.0.1", 0) as listening:
        address = serve.address_of(listening)
        server = _server.server(few, listening, serve.Limits(**limits))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        until = time.monotonic() + 20
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join(20)
            server.config.app.close()
        assert not thread.is_alive()


def png(pixels: np.ndarray) -> bytes:
    """Pixels as a file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def text(data: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(data).decode("ascii")


def strokes(seed: int, side: int = 28) -> np.ndarray:
    """Ink on paper: a few dark bars, other ones for each seed."""
    rng, paper = np.random.default_rng(seed), np.full((side, side), 255, np.uint8)
    for _ in range(3):
        row, column = rng.integers(2, side - 4, 2)
        if rng.random() < 0.5:
            paper[row : row + 2, 3 : column + 1] = 20
        else:
            paper[3 : row + 1, column : column + 2] = 20
    return paper


def post(address: str, path: str, body: Any, **options: Any) -> httpx.Response:
    """Send JSON, or bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", **options.pop("headers", {})}
    return httpx.post(f"{address}{path}", content=content, headers=headers, timeout=60, **options)

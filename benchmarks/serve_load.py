"""Load `jmeta serve` with many clients, then with malformed requests.

    python benchmarks/serve_load.py [--clients 50] [--seconds 60] [--run RUN] [--json FILE]

A server is started as a user does, `jmeta serve RUN`, and the clients are another process: each
adapts to five classes of the built-in characters, then sends one drawing after another and compares
each answer with what Python predicted before. The record has the requests a second, the times of
answers, how many answers differ by more than 1e-6, the resident memory of the server at the start
(after every client has been answered once) and at the end, and what the malformed requests of
`tests/hostile_requests.py` are answered with. Without --run a small network is trained first.
"""

import argparse
import asyncio
import base64
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import common
import httpx
import numpy as np
from PIL import Image

import jmeta
from jmeta import data, train

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from hostile_requests import malformed

WAYS, QUERIES, SETS = 5, 20, 4  # classes of a client; drawings; different sets of classes
TOLERANCE = 1e-6
Episode = dict[str, Any]


def trained(folder: Path) -> Path:
    """A run of a minute: a prototypical network of the built-in characters."""
    train.run(train.experiment("protonet", steps=20, tasks=4, episodes=20), folder / "run")
    return folder / "run"


def png(pixels: np.ndarray) -> bytes:
    """A character as a file: dark ink on light paper."""
    stream = io.BytesIO()
    Image.fromarray(255 - pixels[..., 0]).save(stream, "PNG")
    return stream.getvalue()


def episodes(run: Path) -> list[Episode]:
    """Requests, and the probabilities that Python predicts."""
    few, pool = jmeta.load(run), data.load("glyphs").test
    images, starts = np.asarray(pool.examples), np.asarray(pool.starts)
    found = []
    for number in range(SETS):
        rng = np.random.default_rng(number)
        classes = rng.choice(len(starts), WAYS, replace=False)
        support = [png(images[starts[each]]) for each in classes]
        drawings = [
            png(images[starts[rng.choice(classes)] + rng.integers(1, 20)]) for _ in range(QUERIES)
        ]
        labels = [f"class {place}" for place in range(WAYS)]
        adapted = few.adapt(support, labels)
        found.append(
            {
                "adapt": [
                    {"label": label, "image": text(image)}
                    for label, image in zip(labels, support, strict=True)
                ],
                "predict": [text(image) for image in drawings],
                "expected": [
                    dict(zip(labels, row, strict=True))
                    for row in adapted.predict_proba(drawings).tolist()
                ],
            }
        )
    return found


def text(image: bytes) -> str:
    """Bytes in base64."""
    return base64.b64encode(image).decode("ascii")


class Talk:
    """One connection that is kept: plain sockets, which cost little beside the server."""

    def __init__(self, address: str) -> None:
        self._host, port = address.removeprefix("http://").split(":")
        self._port = int(port)

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    async def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """Send JSON; the status and the JSON of the answer."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        length = next(line for line in lines if line.startswith("content-length:"))
        content = await self._reader.readexactly(int(length.split(":")[1]))
        return int(lines[0].split()[1]), json.loads(content)


async def client(address: str, episode: Episode, start: asyncio.Event, until: list[float]) -> Any:
    """One client: the seconds of each answer, and the kinds of answers."""
    seconds: list[float] = []
    kinds: Counter[str] = Counter()
    talk = Talk(address)
    await talk.open()
    status, found = await talk.post("/adapt", json.dumps({"examples": episode["adapt"]}).encode())
    assert status == 200, found
    bodies = [
        json.dumps({"session": found["session"], "examples": [{"image": image}]}).encode()
        for image in episode["predict"]
    ]
    await ask(talk, bodies, episode, 0)
    until[1] += 1  # one more is ready
    await start.wait()
    place = 0
    while time.perf_counter() < until[0]:
        begun = time.perf_counter()
        kinds[await ask(talk, bodies, episode, place % QUERIES)] += 1
        seconds.append(time.perf_counter() - begun)
        place += 1
    return seconds, kinds


async def ask(talk: Talk, bodies: list[bytes], episode: Episode, place: int) -> str:
    """The kind of one answer."""
    status, answer = await talk.post("/predict", bodies[place])
    if status != 200:
        return f"status {status}"
    found, expected = answer["predictions"][0], episode["expected"][place]
    near = [abs(found["probabilities"][k] - v) <= TOLERANCE for k, v in expected.items()]
    return "right" if len(near) == WAYS and all(near) else "wrong"


async def load(address: str, found: list[Episode], clients: int, seconds: float, ready: Any) -> Any:
    """All clients together, from the moment that each of them has been answered once."""
    start, until = asyncio.Event(), [0.0, 0]
    tasks = [
        asyncio.create_task(client(address, found[i % SETS], start, until)) for i in range(clients)
    ]
    while until[1] < clients:
        if any(task.done() for task in tasks):
            break  # one has failed: gather tells
        await asyncio.sleep(0.05)
    ready.set()
    until[0] = time.perf_counter() + seconds
    start.set()
    return await asyncio.gather(*tasks)


def drive(
    address: str, found: list[Episode], clients: int, seconds: float, pipe: Any, ready: Any
) -> None:
    """The process of the clients."""
    pipe.send(asyncio.run(load(address, found, clients, seconds, ready)))


def resident(process: int) -> int:
    """Bytes of memory that a process holds."""
    pages = Path(f"/proc/{process}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def hostile(address: str, found: Episode) -> dict[str, Any]:
    """Send the malformed requests: how many, what they are answered with, the slowest."""
    session = httpx.post(f"{address}/adapt", json={"examples": found["adapt"]}).json()["session"]
    statuses: Counter[str] = Counter()
    slowest, faults = 0.0, []
    with httpx.Client(base_url=address, timeout=60) as http:
        for name, bad in malformed(session).items():
            begun = time.perf_counter()
            headers = {"content-type": "application/json", **bad.headers}
            answer = http.request(bad.method, bad.path, content=bad.body, headers=headers)
            slowest = max(slowest, time.perf_counter() - begun)
            statuses[str(answer.status_code)] += 1
            if answer.status_code not in bad.status:
                faults.append(f"{name}: {answer.status_code}")
        answers = http.get("/health").status_code == 200
    return {
        "requests": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())),
        "slowest_seconds": slowest,
        "faults": faults,
        "answers_afterwards": answers,
    }


def measure(run: Path, clients: int, seconds: float) -> dict[str, Any]:
    """Start a server, load it, and end it."""
    found = episodes(run)
    command = [sys.executable, "-m", "jmeta", "serve", str(run), "--port", "0"]
    sessions = ["--sessions", str(2 * clients), "--connections", str(4 * clients)]
    server = subprocess.Popen([*command, *sessions], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        fresh = multiprocessing.get_context("spawn")
        (receiver, sender), ready = fresh.Pipe(duplex=False), fresh.Event()
        process = fresh.Process(
            target=drive, args=(address, found, clients, seconds, sender, ready)
        )
        process.start()
        sender.close()
        if not ready.wait(300):
            raise SystemExit("the clients were not answered within five minutes")
        before = resident(server.pid)
        results = receiver.recv()
        process.join()
        after = resident(server.pid)
        times = np.sort(np.concatenate([times for times, _ in results]))
        kinds = sum((kinds for _, kinds in results), Counter[str]())
        record = {
            "clients": clients,
            "seconds": seconds,
            "requests": len(times),
            "requests_per_second": len(times) / seconds,
            "latency_ms": {
                name: 1000 * float(np.quantile(times, share))
                for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
            },
            "answers": dict(kinds),
            "wrong_answers": kinds["wrong"],
            "resident_bytes": {"start": before, "end": after},
            "malformed": hostile(address, found[0]),
        }
        record["resident_bytes"]["after_malformed"] = resident(server.pid)
        return record
    finally:
        server.terminate()
        server.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--run", type=Path, help="a run on glyphs; a small one is trained by default"
    )
    parser.add_argument("--json", type=Path, help="where the record goes")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = asked.run or trained(Path(scratch))
        record = measure(run, asked.clients, asked.seconds)
    print(json.dumps(record, indent=2))
    common.write(asked.json or "serve_load", record)


if __name__ == "__main__":
    main()

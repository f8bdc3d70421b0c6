"""Damaged records and checkpoints of a run, and evaluations that it cannot have."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from hostile.draws import Bad, Place, Random


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all entries in nested JSON."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in ((*path, k), *_places(v, (*path, k)))]
    return []


ODD_JSON = [b"", b"[]", b"null", b"3", b'"x"', b"{", b"\xff\xfe{}", b"[" * 10**5, b'{"a":' * 10**5]
ODD_JSON += [b"9" * 10**4, b'{"schema": 1e999}', b'{"schema": true}', b'{"schema": -1}', b"{}"]


def stored(draw: Random, place: Place) -> Bad:
    """config.json and data.json of a run with wrong types or bytes, and records of checkpoints."""
    run = Path(shutil.copytree(place.run, "run"))
    name, fault = draw.choice(["config.json", "data.json"]), draw.randrange(6)
    path = run / name
    if fault < 2:
        path.write_bytes(draw.choice(ODD_JSON))
    elif fault < 5:
        record = json.loads(path.read_text())
        *folders, last = draw.choice(_places(record))
        at = record
        for key in folders:
            at = at[key]
        at[last] = _another(draw, at[last])
        path.write_text(json.dumps(record))
    else:
        path.unlink()
        draw.choice([os.mkfifo, os.mkdir])(path)
    after = ["--out", str(run), "--resume"]
    return Bad(draw.choice([["evaluate", str(run)], ["train", *after]]))


def _another(draw: Random, value: Any) -> Any:
    """A value of a type that the entry cannot have."""
    wrong = [[[[]]], {"a": {"b": []}}, [None, 1]]
    if not isinstance(value, str) and value is not None:
        wrong += ["x\x1b[2J", "9" * 5000]
    if value is not None and not isinstance(value, (bool, dict, list, str)):
        wrong += [True, -(2**70), 10**30]
    return draw.choice(wrong)


def checkpoints(draw: Random, place: Place) -> Bad:
    """Runs none of whose checkpoints is whole, or whose metrics are damaged."""
    run = Path(shutil.copytree(place.run, "run"))
    files = [path for path in (run / "checkpoints").rglob("*") if path.is_file()]
    fault = draw.randrange(5)
    if fault == 0:
        shutil.rmtree(run / "checkpoints")
        return Bad(["evaluate", str(run)])
    if fault == 1:
        for path in files:
            path.write_bytes(draw.randbytes(len(path.read_bytes())))
    elif fault == 2:
        for path in files:
            path.write_bytes(b"")
    elif fault == 3:
        for path in files:
            if path.stat().st_size > 40:
                path.write_bytes(path.read_bytes()[: draw.randrange(40)])
    else:
        lines = (run / "metrics.jsonl").read_text()
        odd = ["[1]", "{}", '{"step": true}', '{"step": 1, "loss": "low"}', "{" * 10**5, "\0"]
        (run / "metrics.jsonl").write_text(f"{draw.choice(odd)}\n{lines}")
        return Bad(["train", "--out", str(run), "--resume", "--steps", "4"])
    return Bad(["evaluate", str(run)])


def evaluations(draw: Random, place: Place) -> Bad:
    """`jmeta evaluate` with sizes and parts that do not fit the run."""
    large = str(draw.randrange(900, 10**6))
    words = [
        ["--ways", large],
        ["--shots", large],
        ["--queries", large],
        ["--curve", draw.choice(["-1", "0", "x", "9" * 22, "3"])],  # the run has no inner steps
        ["--inner-steps", "3"],
        ["--episodes", draw.choice(["0", "-1", "1.5", "x", "9" * 22])],
        ["--dataset", draw.choice(["sinusoid", "omnigloth", "folder:no", "table:no.csv", "gp"])],
        ["--algorithm", draw.choice(["maml", "os:system", "no.module:X", ":"])],
        ["--network", draw.choice(["os:system", "no.module:X", ":"])],
        ["--json"],
        [draw.choice(["another", "--steps", "--out=x", "--resume"])],
    ]
    return Bad(["evaluate", str(place.run), *draw.choice(words)])

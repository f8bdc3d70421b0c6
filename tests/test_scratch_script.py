"""The script that compares ways of learning from scratch runs whole, at a small size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import realdata

ROOT = Path(__file__).parents[1]
SMALL = ("--filters", "4", "--steps", "2", "--episodes", "4", "--record", "record.json")


def made(folder: Path, *rows: str) -> dict:
    """The record after a run with some rows."""
    command = [sys.executable, str(ROOT / "benchmarks" / "caltech_scratch.py"), *SMALL]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--rows", *rows], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "record.json").read_text())


@pytest.mark.slow
def test_rows_are_paired_and_those_of_other_runs_stay(tmp_path):
    realdata.require("caltech101")
    first = made(tmp_path, "pretrained", "distilled", "maml")["rows"]
    assert "above" in first["distilled (born again), nearest centroid"]["5-shot"]
    assert set(first["distilled (born again), nearest centroid"]["stages"]) == {
        "pretrained",
        "distilled",
    }
    again = made(tmp_path, "fine-tuned", "meta-baseline", "baseline++", "protonet")["rows"]
    assert {name: again[name] for name in first} == first
    assert len(again) == 11 and all(
        0 <= row[f"{shots}-shot"]["accuracy"]["mean"] <= 1
        for row in again.values()
        for shots in (1, 5)
    )

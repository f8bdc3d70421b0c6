"""The script for a machine with a GPU runs on any machine, at a small size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def smoke(out: Path, *options: str) -> dict:
    """The record of `benchmarks/gpu.py --smoke`."""
    command = [sys.executable, "benchmarks/gpu.py", "--smoke", "--out", str(out), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.mark.slow
def test_a_figure_is_kept_as_it_comes(tmp_path):
    record = json.dumps(smoke(tmp_path / "gpu.json", "--parts", "errors"))
    assert "relative_error" in record and "failed" not in record

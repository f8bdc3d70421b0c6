"""The README says what is so: its Python runs as printed, its commands and table are true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def _python() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    return block


def _run(code: str) -> str:
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_the_python_runs() -> None:
    code = _python().replace("(300, 16)", "(2, 2)")
    assert code != _python()
    assert "Estimate(mean=" in _run(
        code.replace("jax.random.key(2))", "jax.random.key(2), episodes=4)")
    )


@pytest.mark.slow
def test_the_python_learns_as_printed() -> None:
    mean = re.search(r"mean=([\d.]+)", _run(_python()))
    assert mean is not None
    assert float(mean[1]) > 0.7


def test_the_first_two_commands() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    assert blocks[:2] == [
        "pip install -e . && jmeta train\n",
        "pip install -e '.[test]' && pytest\n",
    ]


def test_the_results_are_what_the_records_say() -> None:
    found = subprocess.run(
        [sys.executable, "benchmarks/tables.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert found.returncode == 0, found.stderr

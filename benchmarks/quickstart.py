"""Run the README's first command in a fresh clone and a fresh virtual environment.

    python benchmarks/quickstart.py [--keep DIR]

Clones the repository as committed, makes a virtual environment, runs `pip install -e . && jmeta
train` as printed in the README, and times both halves. The second must need no network and no
cached data; it runs without a network where `unshare` allows it. The record has the accuracy on
held-out scripts. --keep copies the pictures to a folder.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common

REPOSITORY = Path(__file__).parent.parent
OFFLINE = ["unshare", "--net", "--map-root-user"]


def first_command() -> list[str]:
    """The two halves of the README's first command."""
    lines = (REPOSITORY / "README.md").read_text().splitlines()
    halves = next(line for line in lines if line.startswith("pip install")).split(" && ")
    assert halves == ["pip install -e .", "jmeta train"], halves
    return halves


def offline() -> list[str]:
    """A prefix that takes the network away, if this system allows it."""
    works = subprocess.run([*OFFLINE, "true"], capture_output=True, check=False).returncode == 0
    return OFFLINE if works else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="folder for the pictures")
    options = parser.parse_args()
    install, train = first_command()
    with tempfile.TemporaryDirectory() as folder:
        clone, bin_ = Path(folder) / "jmeta", Path(folder) / "venv" / "bin"
        subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(clone)], check=True)
        subprocess.run([sys.executable, "-m", "venv", str(bin_.parent)], check=True)
        env = {k: v for k, v in os.environ.items() if k not in ("JMETA_DATA", "PYTHONPATH")}
        env |= {"PATH": f"{bin_}:{env['PATH']}", "JMETA_CACHE": f"{folder}/cache"}
        env |= {"HOME": folder}
        began = time.perf_counter()
        subprocess.run([*install.split(), "-q"], cwd=clone, env=env, check=True)
        installed = time.perf_counter()
        subprocess.run([*offline(), *train.split()], cwd=clone, env=env, check=True)
        seconds = time.perf_counter() - installed
        run = next((clone / "runs").iterdir())
        result = common.read(run / "result.json")
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            for name in ("curves.png", "episode.png"):
                shutil.copy(run / name, options.keep / name)
    accuracy = result["metrics"]["accuracy"]
    print(f"install {installed - began:.0f} s, train and test {seconds:.0f} s")
    print(f"5-way 1-shot, held-out scripts: {common.percent(accuracy)}")
    common.write(
        "glyphs",
        {
            "readme_command": f"{install} && {train}",
            "without_network": bool(offline()),
            "install_seconds": installed - began,
            "train_and_test_seconds": seconds,
            "result": result,
        },
    )


if __name__ == "__main__":
    main()

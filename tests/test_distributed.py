"""Two processes that train as one: the parameters of a single process, files written once."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jmeta.runs import _records as records
from jmeta.train import load_run

SINUSOID = (
    *("--algorithm", "maml", "--dataset", "sinusoid", "--network", "mlp", "--norm", "none"),
    *("--hidden", "8", "--inner-rate", "0.01", "--queries", "5", "--steps", "6", "--tasks", "4"),
    *("--validate-every", "3", "--validation-episodes", "5", "--log-every", "1"),
    *("--episodes", "7"),
)
IMAGES = (
    *("--algorithm", "protonet", "--split", "0.5,0.25,0.25", "--ways", "2", "--queries", "1"),
    *("--train-queries", "1", "--steps", "4", "--tasks", "2"),
    *("--validate-every", "2", "--validation-episodes", "4", "--log-every", "1"),
    *("--episodes", "6"),
)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def begin(out: Path, *words: str, devices: int) -> subprocess.Popen:
    """`jmeta train` in a process of its own."""
    command = [sys.executable, "-m", "jmeta", "train", *words, "--out", str(out)]
    env = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.Popen(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def begin_two(out: Path, *words: str, second: tuple[str, ...] = ()) -> list[subprocess.Popen]:
    """The same in two processes of one device each; `second` is added to the last."""
    address = f"localhost:{free_port()}"
    joined = [("--coordinator", address, "--processes", "2", "--process", str(i)) for i in (0, 1)]
    return [
        begin(out, *words, *join, *(second if join is joined[-1] else ()), devices=1)
        for join in joined
    ]


def ended(processes: list[subprocess.Popen], seconds: float = 100) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each; one that hangs is killed, and fails the test."""
    deadline = time.monotonic() + seconds
    try:
        said = [p.communicate(timeout=max(deadline - time.monotonic(), 0.1)) for p in processes]
    except subprocess.TimeoutExpired:
        for process in processes:
            process.kill()
        said = [process.communicate() for process in processes]
        pytest.fail(f"not ended after {seconds} s; the processes said {said}")
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *words) for p, words in zip(processes, said, strict=True)]


def same_parameters(left: Path, right: Path) -> None:
    """Final parameters equal to 1e-6 of their size."""
    found = [jax.tree.leaves(load_run(out)[1]) for out in (left, right)]
    for ours, theirs in zip(*found, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * scale + 1e-12)


def result(out: Path) -> dict:
    return json.loads((out / "result.json").read_text())


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> tuple[str, ...]:
    """Options of a run on a small set of images."""
    path = tmp_path_factory.mktemp("set") / "set.npz"
    x = np.random.default_rng(0).integers(0, 255, (48, 16, 16), dtype=np.uint8)
    np.savez(path, x=x, y=np.repeat(np.arange(12), 4))
    return (*IMAGES, "--dataset", f"arrays:{path}")


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[Path, list[tuple[int, str, str]]]:
    """A finished sinusoid run of two processes, and what they said."""
    out = tmp_path_factory.mktemp("two") / "run"
    return out, ended(begin_two(out, *SINUSOID))


def test_two_processes_give_the_parameters_of_one(two, tmp_path):
    out, said = two
    assert [code for code, *_ in said] == [0, 0], said
    (alone,) = ended([begin(tmp_path / "one", *SINUSOID, devices=2)])
    assert alone[0] == 0, alone
    same_parameters(out, tmp_path / "one")
    ours, theirs = result(out), result(tmp_path / "one")
    assert ours["machine"]["processes"] == 2 and ours["machine"]["devices"] == 2
    np.testing.assert_allclose(
        ours["metrics"]["mse"]["mean"], theirs["metrics"]["mse"]["mean"], rtol=1e-5
    )


def test_the_first_process_alone_writes_and_prints(two):
    out, said = two
    assert "tasks per second" in said[0][1]
    assert "step" not in said[1][1] and "mse" not in said[1][1]
    steps = [line["step"] for line in records.read(out)]
    assert steps == [1, 2, 3, 3, 4, 5, 6, 6]
    assert {path.name for path in out.glob("*.png")} == {"curves.png", "episode.png"}


# The last bias of a prototypical MLP has no gradient but rounding, which Adam blows up: MAML.
@pytest.mark.parametrize(
    ("algorithm", "network", "norm"),
    [
        pytest.param("maml", ("mlp", "--hidden", "8"), "none", marks=pytest.mark.slow),
        pytest.param("protonet", ("conv4", "--filters", "2"), "batch", marks=pytest.mark.slow),
    ],
)
def test_images(algorithm, network, norm, images, tmp_path):
    images = (*images, "--algorithm", algorithm, "--network", *network, "--norm", norm)
    said = ended(begin_two(tmp_path / "two", *images))
    assert [code for code, *_ in said] == [0, 0], said
    (alone,) = ended([begin(tmp_path / "one", *images, "--devices", "1", devices=1)])
    assert alone[0] == 0, alone
    same_parameters(tmp_path / "two", tmp_path / "one")
    assert ("inductive" in result(tmp_path / "two")) == (norm == "batch")


@pytest.mark.slow
def test_ctrl_c_of_one_process_stops_both(tmp_path):
    out, long = tmp_path / "run", (*SINUSOID, "--steps", "20000", "--validate-every", "20000")
    processes = begin_two(out, *long)
    deadline = time.monotonic() + 60
    while not records.read(out):
        if processes[0].poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"no update was made: {ended(processes, seconds=1)}")
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGINT)
    said = ended(processes)
    assert [code for code, *_ in said] == [130, 130], said
    assert "go on with: jmeta train" in said[0][2]


@pytest.mark.slow
def test_two_processes_resume_to_the_same(two, tmp_path):
    out = Path(shutil.copytree(two[0], tmp_path / "run"))
    shutil.rmtree(out / "checkpoints" / "step_00000006")
    (out / "result.json").unlink()
    said = ended(begin_two(out, *SINUSOID, "--resume"))
    assert [code for code, *_ in said] == [0, 0], said
    assert "resumed: 3" in said[0][1]
    for ours, theirs in zip(*(jax.tree.leaves(load_run(o)[1]) for o in (out, two[0])), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert result(out)["metrics"] == result(two[0])["metrics"]


def test_a_mistake_on_one_process_stops_both(tmp_path):
    said = ended(begin_two(tmp_path / "run", *SINUSOID, second=("--seed", "3")))
    for code, _, words in said:
        assert code == 2
        assert "process 1 has options or data other than process 0" in words


def test_half_an_address_is_refused(tmp_path):
    (said,) = ended([begin(tmp_path / "run", *SINUSOID, "--processes", "2", devices=1)])
    assert said[0] == 2 and "belong together" in said[2]

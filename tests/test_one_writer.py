"""One writer and whole files: folders, locks, signals, and what stands in the place of a file."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from quick import SINUSOID, without_pictures

from jmeta import cli
from jmeta.cli import _folders as folders
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs._interruption import interruption
from jmeta.runs._lock import locked
from jmeta.runs._writing import write_out
from jmeta.train import Interrupted, evaluate_run, experiment, load_run, run

pytestmark = pytest.mark.usefixtures("no_pictures")
HOLDER = """
import sys
from pathlib import Path
from jmeta.runs._lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("done") / "run"
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        run(experiment(start=SINUSOID, schedule="constant"), out)
    return out


@pytest.fixture
def held(done):
    """Another process that writes in the folder of the run."""
    words = [sys.executable, "-c", HOLDER, str(done)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        yield other
        other.kill()


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)
    return stopped.value.code or 0


def test_a_folder_that_another_process_writes_in_is_refused(done, held, capsys):
    before = checkpoint.steps(done / "checkpoints")
    with pytest.raises(ValueError, match=rf"another process \(process {held.pid} on .*wait until"):
        run(experiment(start=SINUSOID, schedule="constant", steps=12), done, resume=True)
    assert checkpoint.steps(done / "checkpoints") == before
    assert records.read_config(done).budget.steps == 8
    assert command("evaluate", str(done), "--curve", "2") == 2
    said = capsys.readouterr().err
    assert f"is writing in {done}" in said and said.count("\n") == 1
    assert evaluate_run(done)["metrics"]["mse"]["episodes"] == 8  # it writes nothing


def test_a_lock_of_a_dead_process_is_not_in_the_way(done, held):
    held.send_signal(signal.SIGKILL)
    held.wait()
    with locked(done):
        assert f"process {os.getpid()} on" in (done / ".lock").read_text()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("jmeta.runs._lock.fcntl.flock", none)
    with locked(tmp_path / "run"), locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").exists()


def test_runs_that_start_at_once_have_folders_of_their_own(tmp_path):
    found: list[Path] = []
    gate = threading.Barrier(8)

    def choose():
        gate.wait()
        found.append(folders._fresh(tmp_path / "runs", "a:b"))

    threads = [threading.Thread(target=choose) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8 and all(path.is_dir() for path in found)
    assert tmp_path / "runs" / "a-b" in found and tmp_path / "runs" / "a-b-8" in found


def test_a_folder_that_stays_empty_is_removed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ("--dataset", "sinusoid", "--algorithm", "maml", "--tasks", "3", "--devices", "2")
    assert command("train", *words) == 2
    assert "cannot be shared" in capsys.readouterr().err and not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    "left",
    [
        pytest.param((), marks=pytest.mark.slow),
        (".lock",),
        (".lock", "data.json", "config.json.tmp"),
    ],
)
def test_a_start_that_was_cut_off_leaves_a_usable_folder(left, tmp_path):
    out, made = tmp_path / "run", experiment(start=SINUSOID, steps=1, validate_every=1)
    (out / "checkpoints").mkdir(parents=True)
    for name in left:
        (out / name).write_text("{")
    with pytest.raises(ValueError, match="holds no run"):
        load_run(out)
    if len(left) == 1:
        with pytest.warns(UserWarning, match="holds no run to go on with, so it begins at step 0"):
            run(made, out, resume=True)
    else:
        run(made, out)
    assert load_run(out)[2]["step"] == 1
    (tmp_path / "other" / "checkpoints").mkdir(parents=True)
    (tmp_path / "other" / "checkpoints" / "mine").write_text("")
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        run(made, tmp_path / "other")


def damage(out: Path, step: int) -> None:
    for path in checkpoint.path_of(out / "checkpoints", step).rglob("manifest.ocdbt"):
        path.write_bytes(b"")


def test_a_damaged_best_checkpoint_gives_way_to_the_next_best(tmp_path):
    out = tmp_path / "run"
    made = experiment(start=SINUSOID, schedule="constant", validate_every=2)
    best = run(made, out)["best"]["step"]
    kept = checkpoint.steps(out / "checkpoints")
    if best == kept[-1]:  # then the one before it plays its part
        best = kept[-2]
        lines = [
            {**line, "validation": 0.0} if line["step"] == best and "validation" in line else line
            for line in records.read(out)
        ]
        (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    damage(out, best)
    told = {line["step"]: line["validation"] for line in records.read(out) if "validation" in line}
    wanted = min((step for step in kept if step != best), key=lambda step: told[step])
    found, used = _warned(out, best, told[best])
    assert used == {"step": wanted, "value": told[wanted]} and found.record["step"] == wanted


def _warned(out: Path, step: int, value: float):
    with pytest.warns(UserWarning, match=r"the best checkpoint .* is damaged.*; step \d+ is used"):
        best = {"step": step, "value": value}
        like = programs.initial_state(programs.parts(records.read_config(out)))
        return records.restore_best(out, best, like, higher_is_better=False)


def test_sigterm_saves_and_has_its_code(tmp_path):
    def end(event):
        if event["event"] == "train" and event["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="--resume") as stopped:
        run(SINUSOID, tmp_path / "run", progress=end)
    assert stopped.value.code == 143 and Interrupted("").code == 130
    assert signal.getsignal(signal.SIGTERM) is before
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [3]


def test_a_second_signal_is_raised():
    with interruption() as received:
        assert received() == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert received() == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_signals_end_a_command_quietly(number, code, tmp_path):
    """The first saves; more come at every moment until the process is gone."""
    words = ["train", "--dataset", "sinusoid", "--algorithm", "maml", "--norm", "none"]
    words += ["--inner-rate", "0.01", "--steps", "100000", "--log-every", "1", "--devices", "1"]
    words += ["--out", str(tmp_path / "run")]
    with subprocess.Popen(
        [sys.executable, "-m", "jmeta", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JMETA_CACHE": str(tmp_path)},
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        while not process.stdout.readline().startswith("step"):
            assert process.poll() is None
        while process.poll() is None:
            process.send_signal(number)
            threading.Event().wait(0.02)
        said = process.stderr.read()
    assert process.returncode in (code, -number)  # a shell calls both 128 + number
    assert said.count("\n") <= 1 and "Traceback" not in said


def test_json_goes_through_what_stands_in_the_place_of_a_file(tmp_path):
    target, link, pipe = tmp_path / "target.json", tmp_path / "link.json", tmp_path / "pipe"
    link.symlink_to(target)
    for value in (1, 2):  # a link to nothing, and one to a file
        write_out(link, {"a": value})
        assert link.is_symlink() and json.loads(target.read_text()) == {"a": value}
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write_out(pipe, {"a": 3})
    reader.join()
    assert json.loads(heard[0]) == {"a": 3} and pipe.is_fifo()
    write_out(Path(os.devnull), {"a": 4})
    assert Path(os.devnull).is_char_device()
    with pytest.raises(IsADirectoryError):
        write_out(tmp_path, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "pipe", "target.json"]

"""The runs below a folder: what is said of each, whatever state it is in."""

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from quick import SINUSOID, without_pictures
from test_one_writer import HOLDER

from jmeta import cli
from jmeta.runs._lock import fcntl, locked, writer
from jmeta.train import experiment, list_runs, run

SHORT = experiment(start=SINUSOID, steps=4, validate_every=2)


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(words))
    return stopped.value.code or 0


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A finished run and, some way down, one that was killed after step 3."""
    place = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        without_pictures(patch)
        run(SHORT, place / "done")
    killed = Path(shutil.copytree(place / "done", place / "group" / "stopped"))
    (killed / "result.json").unlink()
    shutil.rmtree(killed / "checkpoints" / "step_00000004")
    lines = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    kept = [json.dumps(line) for line in lines if line["step"] <= 3]
    (killed / "metrics.jsonl").write_text("\n".join([*kept, '{"step": 4, "lo']))
    return place


@pytest.fixture
def runs(made, tmp_path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "runs"))


def test_a_finished_run_and_a_killed_one(made):
    done, stopped = list_runs(made)
    result = json.loads((made / "done" / "result.json").read_text())["metrics"]["mse"]
    facts = {"algorithm": "maml", "dataset": "sinusoid", "ways": None, "shots": 1, "steps": 4}
    assert done.items() >= {**facts, "step": 4, "state": "finished", "part": "test"}.items()
    assert (done["metric"], done["mean"], done["ci95"]) == ("mse", result["mean"], result["ci95"])
    assert done["run"] == str(made / "done") and done["finished"].endswith("+00:00")
    wanted = {**facts, "step": 3, "state": "unfinished", "part": "validation", "finished": None}
    assert stopped.items() >= wanted.items() and stopped["mean"] > 0 and stopped["metric"] == "mse"
    assert stopped["run"] == str(made / "group" / "stopped")
    assert list_runs(made / "done") == [done]


def test_the_command_prints_a_line_a_run_and_writes(made, tmp_path, capsys):
    assert command("runs", str(made), "--json", str(tmp_path / "runs.json")) == 0
    title, done, stopped = capsys.readouterr().out.splitlines()
    assert title.split() == ["run", "algorithm", "dataset", "task", "steps", "result", "state"]
    assert all(word in done for word in ("maml", "sinusoid", "4 of 4", "mse ", " ± ", "finished "))
    assert "3 of 4" in stopped and "(validation)" in stopped and stopped.split()[-1] == "unfinished"
    assert json.loads((tmp_path / "runs.json").read_text()) == list_runs(made)


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_terminal_of_any_width_has_a_line_a_run(columns, made, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert command("runs", str(made)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_folder_that_a_live_process_writes_in(runs):
    place = runs / "group" / "stopped"
    words = [sys.executable, "-c", HOLDER, str(place)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        _, row = list_runs(runs)
        other.kill()
    assert row["state"] == "running" and row["writer"].startswith(f"process {other.pid} on ")
    assert list_runs(runs)[1]["state"] == "unfinished"


def test_a_look_at_a_lock_keeps_nobody_out(tmp_path):
    """A shared lock, held for a moment, is waited for."""
    with locked(tmp_path):
        assert writer(tmp_path) is not None
    with (tmp_path / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.03, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        begun = time.perf_counter()
        with locked(tmp_path):
            assert time.perf_counter() - begun > 0.01
    assert writer(tmp_path) is None and writer(tmp_path / "nowhere") is None


def _write(name: str, text: str):
    return lambda out: (out / name).write_text(text)


def _trained_longer(out: Path) -> None:
    record = json.loads((out / "config.json").read_text())
    record["budget"]["steps"] = 9
    (out / "config.json").write_text(json.dumps(record))


def _of_its_own(section: str, **entries):
    def change(out: Path) -> None:
        record = json.loads((out / "config.json").read_text())
        record[section] = {**(record[section] or {}), **entries}
        (out / "config.json").write_text(json.dumps(record))

    return change


OWN = {"name": "mine:Mine"}


@pytest.mark.parametrize(
    ("change", "state", "says"),
    [
        (_write("config.json", "{"), "broken", "config.json: it is no JSON"),
        (_write("config.json", "[]"), "broken", "config.json: it must be an object"),
        (_write("config.json", '{"schema": 9}'), "broken", "schema 9"),
        (_write("config.json", '{"algorithm": {"name": "a:B"}}'), "broken", "source is missing"),
        (_write("result.json", "{"), "broken", "result.json: it is no JSON"),
        (
            _write("result.json", '{"metrics": 3, "best": {}}'),
            "broken",
            "metrics must be an object",
        ),
        (_write("result.json", '{"metrics": {}, "best": {}}'), "finished", None),
        (_write("metrics.jsonl", "nonsense\n{}\n"), "broken", "metrics.jsonl, line 1"),
        (_of_its_own("budget", steps="x"), "broken", "steps must be a whole number"),
        (_of_its_own("algorithm", name="nothing"), "broken", "its algorithm is 'nothing'"),
        (lambda out: (out / "config.json").unlink(), "broken", "config.json is missing"),
        (lambda out: (out / "metrics.jsonl").unlink(), "finished", None),
        (lambda out: (out / "result.json").unlink(), "unfinished", None),
        (lambda out: shutil.rmtree(out / "checkpoints"), "finished", None),
        (_trained_longer, "unfinished", None),
        (_of_its_own("algorithm", **OWN), "finished", None),
        (_of_its_own("source", **OWN, path="a\x1b[2J.npz"), "finished", None),
    ],
)
def test_a_run_in_any_state_is_one_line(change, state, says, runs, capsys):
    change(runs / "done")
    row, other = list_runs(runs)
    assert row["state"] == state and other["state"] == "unfinished"
    assert (row["problem"] is None) if says is None else says in row["problem"]
    json.dumps(row)
    assert command("runs", str(runs)) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3 and not said.err and "\x1b" not in said.out
    assert said.out.splitlines()[1].rstrip().count(state) == 1


def test_links_circles_and_strangers(runs):
    (runs / "again").symlink_to(runs / "done")
    (runs / "group" / "up").symlink_to(runs)
    (runs / "notes").mkdir()
    (runs / "notes" / "a.txt").write_text("")
    (runs / "half").mkdir()
    (runs / "half" / "data.json").write_text("{}")
    names = [Path(row["run"]).relative_to(runs).as_posix() for row in list_runs(runs)]
    assert names == ["again", "done", "group/stopped", "half"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "nowhere does not exist: expected a folder with runs"),
        ("file", "file is no folder"),
    ],
)
def test_what_is_no_folder_is_one_line(name, says, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command("runs", str(tmp_path / name)) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


def test_the_default_folder(made, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(made.parent)
    shutil.copytree(made, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    assert [row["run"] for row in list_runs()] == ["runs/done", "runs/group/stopped"]
    (tmp_path / "empty").mkdir()
    assert command("runs", "empty") == 0
    assert capsys.readouterr().out == "there are no runs below empty\n"

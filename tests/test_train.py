"""Whole runs: what they write, that they repeat, resume and stop well."""

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from quick import SINUSOID

from jmeta.train import (
    Diverged,
    Interrupted,
    checkpoint,
    load_run,
    loop,
    memory,
    programs,
    records,
    run,
)

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, dict]:
    """An undisturbed sinusoid run, with its pictures."""
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, run(SINUSOID, out)


def final(out: Path) -> str:
    """Digest of the last checkpoint: parameters, optimizer state and step."""
    like = programs.initial_state(programs.parts(records.read_config(out)))
    last = checkpoint.restore_last(out / "checkpoints", like)
    assert last is not None
    return checkpoint.digest(last.state)


def lines(out: Path) -> list[dict]:
    """metrics.jsonl without what the clock says."""
    return [
        {name: value for name, value in line.items() if name != "tasks_per_second"}
        for line in records.read(out)
    ]


def same(out: Path, finished: tuple[Path, dict]) -> None:
    """Equal to the undisturbed run, bit for bit."""
    other, result = finished
    assert final(out) == final(other)
    assert lines(out) == lines(other)
    found = json.loads((out / "result.json").read_text())
    for name in ("metrics", "protocol", "best"):
        assert found[name] == result[name]


def test_a_run_writes_what_it_promises(finished):
    out, result = finished
    names = {"config.json", "metrics.jsonl", "checkpoints", "result.json"}
    assert {path.name for path in out.iterdir()} == {*names, "curves.png", "episode.png"}
    assert result == json.loads((out / "result.json").read_text())
    assert result["schema"] == 1 and result["seconds"] > 0
    assert set(result["metrics"]) == {"mse"}
    assert set(result["metrics"]["mse"]) == {"mean", "ci95", "episodes"}
    assert result["metrics"]["mse"]["episodes"] == 8
    assert result["throughput"]["tasks_per_second"] > 0
    protocol = result["protocol"]
    assert (protocol["part"], protocol["shots"], protocol["queries"]) == ("test", 1, 5)
    assert protocol["transductive"] is False and "inductive" not in result
    assert set(protocol["versions"]) >= {"python", "jmeta", "jax", "flax", "optax"}
    assert [line["step"] for line in lines(out)] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]
    assert checkpoint.steps(out / "checkpoints") == [4, 8]
    assert records.read_config(out) == SINUSOID
    for picture in ("curves.png", "episode.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")


def test_the_same_config_gives_the_same_result(finished, tmp_path, no_pictures):
    run(SINUSOID, tmp_path / "again")
    same(tmp_path / "again", finished)


def test_another_seed_gives_another_result(finished, tmp_path, no_pictures):
    other = run(dataclasses.replace(SINUSOID, seed=1), tmp_path / "other")
    assert other["metrics"] != finished[1]["metrics"]


@pytest.mark.parametrize("step", [2, 6])
def test_ctrl_c_saves_and_resumes_to_the_same(step, finished, tmp_path, no_pictures):
    out = tmp_path / "run"

    def press(event):
        if event["event"] == "train" and event["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=f"jmeta train --out {out} --resume") as stopped:
        run(SINUSOID, out, progress=press)
    step += 1  # it was under way already
    assert f"stopped at step {step} of 8" in str(stopped.value)
    assert signal.getsignal(signal.SIGINT) is before
    assert checkpoint.steps(out / "checkpoints")[-1] == step
    assert not (out / "result.json").exists()
    if step == 3:  # before any validation
        assert load_run(out)[2] == {"step": 3, "value": None}
    run(SINUSOID, out, resume=True)
    same(out, finished)


def test_a_run_that_died_resumes_to_the_same(finished, tmp_path, no_pictures):
    out = tmp_path / "run"

    def die(event):
        if event["event"] == "train" and event["step"] == 6:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(SINUSOID, out, progress=die)
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # a line cut off
    events: list[dict] = []
    run(SINUSOID, out, resume=True, progress=events.append)
    assert {"event": "resumed", "step": 4} in events
    same(out, finished)


def test_a_damaged_last_checkpoint_resumes_from_the_one_before(finished, tmp_path, no_pictures):
    out = tmp_path / "run"
    run(SINUSOID, out)
    folder = checkpoint.path_of(out / "checkpoints", 8)
    victim = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:10])
    with pytest.warns(UserWarning, match="falling back to step 4"):
        run(SINUSOID, out, resume=True)
    same(out, finished)


def test_resuming_a_finished_run_changes_nothing(finished, tmp_path, no_pictures):
    out = tmp_path / "run"
    run(SINUSOID, out)
    run(SINUSOID, out, resume=True)
    same(out, finished)


class Recorded(NamedTuple):
    """Losses of one dispatch that say when they are read."""

    values: np.ndarray
    seen: Callable[[], None]

    def __array__(self, *_: object) -> np.ndarray:
        self.seen()
        return np.asarray(self.values)


def test_the_next_dispatch_is_sent_before_the_last_is_read(tmp_path, monkeypatch, no_pictures):
    order: list[str] = []
    real = programs.dispatch

    def recording(parts):
        advance = real(parts)

        def send(state, *, pool, length):
            state, (losses, scores) = advance(state, pool, length=length)
            name = len([word for word in order if word.startswith("send")]) + 1
            order.append(f"send {name}")
            return state, (Recorded(losses, lambda: order.append(f"read {name}")), scores)

        return send

    monkeypatch.setattr(programs, "dispatch", recording)
    monkeypatch.setattr(memory, "check", lambda *args, **options: None)
    run(dataclasses.replace(SINUSOID, steps=4), tmp_path / "run")
    steady = ["send 1", "send 2", "read 1", "send 3", "read 2", "send 4", "read 3", "read 4"]
    assert order == steady  # the last at once: a validation is due


def test_folders_that_cannot_be_used_are_refused(finished, tmp_path):
    out, _ = finished
    with pytest.raises(ValueError, match="holds a run already"):
        run(SINUSOID, out)
    other = dataclasses.replace(SINUSOID, tasks=4, seed=3)
    with pytest.raises(ValueError, match="tasks is 2 there and 4 here; seed is 0 there and 3"):
        run(other, out, resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        run(SINUSOID, tmp_path / "full")
    with pytest.raises(ValueError, match="cannot be written"):
        run(SINUSOID, tmp_path / "full" / "letter.txt" / "below")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    wild = dataclasses.replace(SINUSOID, inner_rate=1e30)
    with pytest.raises(Diverged, match=r"at step 1; no checkpoint was made\. Lower --rate"):
        run(wild, tmp_path / "wild")


def test_the_last_good_checkpoint_is_kept(tmp_path):
    wild = dataclasses.replace(
        *(SINUSOID,), optimizer="sgd", rate=3.0, schedule="constant", validate_every=2, log_every=1
    )
    out = tmp_path / "wild"
    with pytest.raises(Diverged, match=r"the checkpoint of step \d+ is kept"):
        run(wild, out)
    parts, params, _ = load_run(out)
    assert parts.config == wild
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_a_validation_that_is_not_finite_is_never_the_best(tmp_path):
    parts = programs.parts(SINUSOID)
    state = programs.initial_state(parts)
    (tmp_path / "checkpoints").mkdir()

    def best_after(best, value, *, state=state):
        def validate(state):
            return {"validation": value, "ci95": value}

        return loop._validated(parts, tmp_path, state, 4, best, validate, lambda event: None)

    assert best_after(loop.Best(2, 0.5), None) == loop.Best(2, 0.5)
    assert best_after(loop.Best(0, None), None) == loop.Best(4, None)
    assert best_after(loop.Best(2, None), 9.0) == loop.Best(4, 9.0)
    broken = state._replace(params=jax.tree.map(lambda leaf: leaf * np.nan, state.params))
    with pytest.raises(Diverged, match="a parameter is not finite at step 4"):
        best_after(loop.Best(2, 0.5), 1.0, state=broken)

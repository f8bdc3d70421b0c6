"""Whole runs: what they write, that they repeat, resume and stop well."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from quick import SINUSOID

from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _memory as memory
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.train import Diverged, Interrupted, completed, evaluate_run, experiment, load_run, run


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
    names = {
        ".lock",
        "episodes.csv",
        "config.json",
        "data.json",
        "metrics.jsonl",
        "checkpoints",
        "result.json",
    }
    model = {"model.safetensors", "README.md"}
    assert {path.name for path in out.iterdir()} == {*names, *model, "curves.png", "episode.png"}
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
    assert records.read_config(out) == completed(SINUSOID)
    for picture in ("curves.png", "episode.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")


def test_the_same_experiment_gives_the_same_result(finished, tmp_path, no_pictures):
    run(SINUSOID, tmp_path / "again")
    same(tmp_path / "again", finished)


def test_another_seed_gives_another_result(finished, tmp_path, no_pictures):
    other = run(experiment(start=SINUSOID, seed=1), tmp_path / "other")
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


def test_metrics_that_are_gone_are_told(finished, tmp_path, no_pictures):
    out = Path(shutil.copytree(finished[0], tmp_path / "copy"))
    (out / "metrics.jsonl").unlink()
    with pytest.warns(UserWarning, match=r"metrics.jsonl is missing: the lines of the first 8 upd"):
        run(SINUSOID, out, resume=True)


def test_resuming_a_finished_run_changes_nothing(finished, tmp_path, no_pictures):
    out = tmp_path / "run"
    run(SINUSOID, out)
    run(SINUSOID, out, resume=True)
    same(out, finished)


class Held(NamedTuple):
    """Losses that arrive only when something else has happened."""

    values: np.ndarray
    until: threading.Event

    def __array__(self, *_: object) -> np.ndarray:
        assert self.until.wait(60), "the host waited for a dispatch before it sent the next one"
        return np.asarray(self.values)


@pytest.fixture
def send_by(monkeypatch) -> Callable:
    """Put a function in the place of a run's dispatch; it is given the real one."""

    def put(wrapped: Callable) -> None:
        real = programs.dispatch

        def dispatch(parts: programs.Parts) -> Callable:
            advance = real(parts)
            made = partial(wrapped, advance)
            made.lower = advance.lower
            return made

        monkeypatch.setattr(programs, "dispatch", dispatch)
        monkeypatch.setattr(memory, "check", lambda *args, **options: None)

    return put


def test_the_next_dispatch_is_sent_before_the_last_is_read(tmp_path, send_by, no_pictures):
    sent = [threading.Event() for _ in range(4)]

    def send(advance, state, *, pool, length):
        state, (losses, scores) = advance(state, pool=pool, length=length)
        number = sum(event.is_set() for event in sent)
        sent[number].set()
        at_once = number in (0, 3)  # then validation is compiled, and due
        following = sent[number if at_once else number + 1]
        return state, (Held(losses, following), scores)

    send_by(send)
    run(experiment(start=SINUSOID, steps=4), tmp_path / "run")
    assert all(event.is_set() for event in sent)


def test_rates_are_of_the_time_between_dispatches(tmp_path, send_by, no_pictures):
    """On a GPU, to send a program that holds a loop blocks the host until it is nearly done."""
    pause, told = 0.2, list[dict]()

    def send(advance, state, *, pool, length):
        state, results = advance(state, pool=pool, length=length)
        jax.block_until_ready(results)
        time.sleep(pause)
        return state, results

    send_by(send)
    begun = time.perf_counter()
    run(experiment(start=SINUSOID, steps=4), tmp_path / "run", progress=told.append)
    elapsed = time.perf_counter() - begun
    seconds = [event["seconds"] for event in told if event["event"] == "train"]
    assert len(seconds) == 4 and sum(seconds) < elapsed
    assert min(seconds) > pause / 2  # none has its time counted for a neighbour


def test_no_dispatch_is_compiled_twice_or_in_the_time_of_another(tmp_path, caplog, no_pictures):
    """Dispatches of 3, 2 and 1 updates are three programs."""
    one = experiment(start=SINUSOID, steps=6, log_every=3, validate_every=5)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        run(one, tmp_path / "run")
    made = [each.message for each in caplog.records if "Finished XLA compilation" in each.message]
    assert sum("jit(updates)" in message for message in made) == 3


def test_folders_that_cannot_be_used_are_refused(finished, tmp_path):
    out, _ = finished
    with pytest.raises(ValueError, match="holds a run already"):
        run(SINUSOID, out)
    other = experiment(start=SINUSOID, tasks=4, seed=3)
    with pytest.raises(ValueError, match="tasks is 2 there and 4 here; seed is 0 there and 3"):
        run(other, out, resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        run(SINUSOID, tmp_path / "full")
    with pytest.raises(ValueError, match="cannot be written"):
        run(SINUSOID, tmp_path / "full" / "letter.txt" / "below")


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    wild = experiment(start=SINUSOID, inner_rate=1e30)
    with pytest.raises(Diverged, match=r"at step 1; no checkpoint was made\. Lower --rate"):
        run(wild, tmp_path / "wild")


def test_the_last_good_checkpoint_is_kept(tmp_path):
    wild = experiment(
        start=SINUSOID, optimizer="sgd", rate=3.0, schedule="constant", validate_every=2
    )
    out = tmp_path / "wild"
    with pytest.raises(Diverged, match=r"the checkpoint of step \d+ is kept"):
        run(wild, out)
    parts, params, _ = load_run(out)
    assert parts.experiment == completed(wild)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def validations(out: Path) -> dict[int, float | None]:
    """Step -> what metrics.jsonl says of its validation."""
    return {one["step"]: one["validation"] for one in records.read(out) if "validation" in one}


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([0.5, np.inf, 0.7, 0.6], {"step": 2, "value": 0.5}),
        ([np.nan, 9.0, 9.5, np.inf], {"step": 4, "value": 9.0}),
        ([np.nan, np.inf, np.nan, np.nan], {"step": 8, "value": None}),
    ],
)
def test_a_validation_that_is_not_finite_is_never_the_best(
    values, best, tmp_path, monkeypatch, no_pictures
):
    """Adaptation that diverges on one task makes a mean infinite."""
    told = iter(values)
    real = programs.predict

    class Told(programs.Predict):
        def __call__(self, params, pool, key):
            return np.full((4, 5, 1), np.sqrt(next(told))), np.zeros((4, 5, 1))

    def predict(parts, learner, *, episodes, **options):
        found = real(parts, learner, episodes=episodes, **options)
        if episodes == parts.experiment.budget.validation_episodes:
            found.__class__ = Told
        return found

    monkeypatch.setattr(programs, "predict", predict)
    result = run(experiment(start=SINUSOID, validate_every=2), tmp_path / "run")
    found = result["best"]
    assert found["step"] == best["step"] and found["value"] == pytest.approx(best["value"])
    said = [value if np.isfinite(value) else None for value in values]
    assert list(validations(tmp_path / "run").values()) == pytest.approx(said)


def test_test_episodes_that_diverge_are_counted(tmp_path, no_pictures):
    run(experiment(start=SINUSOID, inner_rate=5.0, rate=0.0), tmp_path / "run")
    with pytest.warns(UserWarning, match=r"[1-8] of 8 test episodes have predictions .* not fini"):
        found = evaluate_run(tmp_path / "run", inner_steps=400)
    assert 1 <= found["episodes_not_finite"] <= 8


def test_a_parameter_that_is_not_finite_stops_the_run(tmp_path, send_by, no_pictures):
    def send(advance, state, *, pool, length):
        state, results = advance(state, pool=pool, length=length)
        if int(state.step) < 8:
            return state, results
        params = jax.tree.map(lambda leaf: leaf * np.nan, state.params)
        return state._replace(params=params), results

    send_by(send)
    with pytest.raises(Diverged, match="a parameter is not finite at step 8; the checkpoint of st"):
        run(SINUSOID, tmp_path / "run")
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [4]


def test_a_finished_run_is_trained_longer(finished, tmp_path, no_pictures):
    """The schedule knows how long a run is, so the rate is constant here."""
    short, out = experiment(start=SINUSOID, schedule="constant"), tmp_path / "run"
    run(short, out)
    with pytest.raises(ValueError, match=r"steps is 8 there and 4 here; .*only --steps may be la"):
        run(experiment(start=short, steps=4), out, resume=True)
    longer = experiment(start=short, steps=12)
    result = run(longer, out, resume=True)
    assert records.read_config(out).budget.steps == 12 and result["best"]["step"] in (4, 8, 12)
    assert checkpoint.steps(out / "checkpoints")[-1] == 12
    run(longer, tmp_path / "undisturbed")
    assert final(out) == final(tmp_path / "undisturbed")
    assert lines(out) == lines(tmp_path / "undisturbed")
    with pytest.raises(ValueError, match="steps is 12 there and 8 here"):
        run(short, out, resume=True)
    with pytest.raises(ValueError, match="tasks is 2 there and 4 here"):  # longer alone
        run(experiment(start=short, steps=16, tasks=4), out, resume=True)

"""Whole runs: what they write, that they repeat, resume and stop well, and that they learn."""

import dataclasses
import functools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from realdata import require

from jmeta import data
from jmeta.train import (
    PRESETS,
    Config,
    Diverged,
    Interrupted,
    build,
    checkpoint,
    evaluate_run,
    load_run,
    loop,
    memory,
    plots,
    programs,
    records,
    report,
    run,
)
from jmeta.train.config import GROUPS, differences, from_json, to_json

SINUSOID = Config(
    algorithm="maml",
    dataset="sinusoid",
    network="mlp",
    norm="none",
    hidden=(8,),
    inner_rate=0.01,
    queries=5,
    steps=8,
    tasks=2,
    devices=1,
    validate_every=4,
    validation_episodes=4,
    log_every=1,
    episodes=8,
)
LEARN = {"steps": 120, "validate_every": 120, "log_every": 120, "validation_episodes": 64}


@pytest.fixture(scope="module", autouse=True)
def _compiled_once(tmp_path_factory):
    """Compile equal programs once a module: runs here repeat each other's."""
    names = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in names}
    for name, value in names.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def no_pictures(monkeypatch):
    for name in ("curves", "episode"):
        monkeypatch.setattr(plots, name, lambda *args, **options: None)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Config:
    """Protonet on 20 easy classes of 16x16 images: a pattern each, and noise."""
    random = np.random.default_rng(0)
    pattern = np.repeat(random.uniform(40, 215, (20, 1, 16, 16)), 8, axis=1)
    x = np.clip(pattern + random.normal(0, 20, pattern.shape), 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("images") / "easy.npz"
    np.savez(path, x=x.reshape(-1, 16, 16), y=np.repeat(np.arange(20), 8))
    return Config(
        dataset=f"arrays:{path}",
        split="0.5,0.25,0.25",
        ways=3,
        queries=2,
        filters=4,
        steps=4,
        devices=1,
        validate_every=2,
        log_every=2,
        validation_episodes=4,
        episodes=8,
    )


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


@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile"])
def test_gradient_based_learners_learn_the_sinusoid(algorithm, tmp_path, no_pictures):
    config = dataclasses.replace(
        SINUSOID,
        **LEARN,
        algorithm=algorithm,
        shots=10,
        hidden=(32,),
        inner_steps=2 if algorithm == "reptile" else 1,
        inner_rate=0.003,
        tasks=8,
        rate=1e-2,
    )
    run(config, tmp_path / "run")
    before = initial_score(config)
    after = records.read(tmp_path / "run")[-1]["validation"]
    assert after < 0.95 * before


def initial_score(config: Config) -> float:
    """The validation figure of the untrained network."""
    parts = programs.parts(config)
    state = programs.initial_state(parts)
    validate = loop._validator(parts)
    assert validate is not None
    return validate(state)["validation"]


@pytest.mark.slow
def test_images_are_learned_and_both_figures_reported(images, tmp_path, no_pictures):
    config = dataclasses.replace(
        images, filters=8, steps=20, rate=1e-2, validate_every=20, log_every=20, episodes=30
    )
    result = run(config, tmp_path / "run")
    assert result["metrics"]["accuracy"]["mean"] > 0.6  # chance is 1/3
    assert result["protocol"]["transductive"] is True
    assert result["inductive"]["metrics"]["accuracy"]["episodes"] == 30
    assert result["inductive"]["metrics"]["accuracy"]["mean"] > 0.4
    assert result["inductive"]["statistics"] == "population statistics of training images"


def test_gradient_based_learners_have_an_inductive_figure_too(images):
    parts = programs.parts(dataclasses.replace(images, algorithm="maml", queries=1))
    tested = report.test(parts, programs.initial_state(parts).params)
    assert tested["inductive"]["statistics"] == "the support set and the one query"
    assert set(tested["inductive"]["metrics"]) == set(tested["metrics"])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile"])
def test_gradient_based_learners_learn_images(algorithm, images, tmp_path, no_pictures):
    config = dataclasses.replace(
        images,
        algorithm=algorithm,
        filters=8,
        inner_steps=5,
        inner_rate=0.1,
        train_shots=3 if algorithm == "reptile" else None,
        steps=200,
        rate=3e-3,
        validate_every=100,
        episodes=100,
    )
    accuracy = run(config, tmp_path / "run")["metrics"]["accuracy"]
    assert accuracy["mean"] - accuracy["ci95"] > 0.6  # chance is 1/3


def test_a_run_is_evaluated_on_other_episodes(images, tmp_path):
    out = tmp_path / "run"
    plain = dataclasses.replace(images, norm="layer", network="mlp", hidden=(8,))
    trained = run(plain, out)
    assert "inductive" not in trained and (out / "episode.png").exists()
    again = evaluate_run(out)
    assert again["metrics"] == trained["metrics"] and again["best"] == trained["best"]
    other = evaluate_run(out, ways=4, shots=2, queries=3, episodes=6)
    protocol = other["protocol"]
    asked = ("ways", "shots", "queries", "episodes")
    assert [protocol[name] for name in asked] == [4, 2, 3, 6]
    with pytest.raises(ValueError, match="classes"):
        evaluate_run(out, ways=400)


def test_a_learner_with_an_output_a_class_refuses_other_ways(images, tmp_path):
    wide = dataclasses.replace(images, algorithm="maml", train_ways=4)
    with pytest.raises(ValueError, match="train_ways must equal ways"):
        run(wide, tmp_path / "run")


@pytest.mark.slow
def test_glyphs_train_in_the_default_shape(tmp_path, no_pictures):
    config = Config(
        *("protonet", "glyphs"),
        ways=2,
        queries=1,
        filters=2,
        norm="layer",
        steps=2,
        validate_every=2,
        validation_episodes=2,
        log_every=2,
        episodes=2,
    )
    result = run(config, tmp_path / "run")
    assert result["protocol"]["dataset"] == "glyphs" and result["protocol"]["split_hash"]


_load_once = functools.cache(data.load)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds(name, monkeypatch):
    config = PRESETS[name]
    if config.dataset == "omniglot":
        require("omniglot")
    monkeypatch.setattr(data, "load", _load_once)
    built = build.problem(config)
    net = build.model(config, built)
    learner = build.eval_learner(config, net)
    params = jax.eval_shape(lambda key: learner.init(net.init(key)), jax.random.key(0))
    task = jax.eval_shape(built.sample_train, jax.random.key(0), built.train)
    loss, outputs = jax.eval_shape(build.train_loss(config, net), params, task)
    assert loss.shape == ()
    assert all(leaf.shape[0] == task.query.y.shape[0] for leaf in jax.tree.leaves(outputs))
    jax.eval_shape(build.outer_optimizer(config).init, params)
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


def test_the_groups_of_options_hold_every_option_once():
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(field.name for field in dataclasses.fields(Config))


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("algorithm", "mamll", "did you mean maml"),
        ("ways", 0, "ways must be at least 1, but got 0"),
        ("rotations", 2, "rotations must be 1 or 4"),
        ("rate", float("nan"), "rate must be finite"),
        ("inner_rate", -1.0, "inner_rate must be finite and not negative"),
        ("hidden", (), "hidden must be layer widths"),
        ("inner_steps", -1, "must not be negative"),
        ("seed", -1, "seed must be at least 0"),
    ],
)
def test_impossible_options_are_refused(option, value, says):
    with pytest.raises(ValueError, match=says):
        Config(**{option: value})


def test_differences_name_the_option():
    assert differences(Config(), Config()) == []
    assert differences(Config(), Config(clip=1.0)) == ["clip is None there and 1.0 here"]

"""Runs that learn: better than before and than chance, judged by both figures."""

import dataclasses

import numpy as np
import pytest
from quick import SINUSOID

from jmeta.train import Config, evaluate_run, run
from jmeta.runs import _loop as loop
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs import _report as report

pytestmark = pytest.mark.usefixtures("compiled_once")

LEARN = {"steps": 120, "validate_every": 120, "log_every": 120, "validation_episodes": 64}


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


def test_a_run_on_validation_classes_too_keeps_its_last_checkpoint(images, tmp_path):
    plain = dataclasses.replace(images, norm="layer", network="mlp", hidden=(8,))
    trained = run(dataclasses.replace(plain, train_on_val=True), tmp_path / "run")
    assert trained["best"] == {"step": plain.steps, "value": None}
    assert trained["protocol"]["trained_on"] == "train and val"
    assert evaluate_run(tmp_path / "run")["metrics"] == trained["metrics"]


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

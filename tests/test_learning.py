"""Runs that learn: every algorithm of the table, better than before and than chance."""

from typing import Any

import numpy as np
import pytest
from quick import SINUSOID

from jmeta.experiments._options import options_of
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs import _report as report
from jmeta.train import ALGORITHMS, Experiment, evaluate_run, experiment, run

EVERY = {
    "devices": 1,
    "validation_episodes": 48,
    "episodes": 2,
    "steps": 100,
    "log_every": 100,
    "tasks": 8,
    "rate": 1e-2,
    "schedule": "constant",
    "network": "mlp",
    "norm": "none",
}
CLASSES = {"split": "0.5,0.3,0.2", "ways": 3, "queries": 3, "train_queries": 3, "hidden": (16,)}
NUMBERS = {"shots": 10, "queries": 10, "train_queries": 10, "hidden": (32,)}
DESCENT = {
    "classes": {"inner_rate": 0.2, "inner_steps": 3},
    "numbers": {"inner_rate": 0.003, "inner_steps": 1},
}
# What an algorithm needs to learn within seconds, where that is not what the others need.
OWN: dict[tuple[str, str], dict[str, Any]] = {
    ("reptile", "numbers"): {"inner_steps": 2},
    ("reptile", "classes"): {"inner_steps": 5, "train_shots": 3},
    ("cavia", "classes"): {"inner_rate": 1.0, "context": 16, "steps": 300},
    ("snail", "classes"): {"steps": 300, "rate": 3e-3},
    ("cavia", "numbers"): {"inner_rate": 0.1},
    ("imaml", "numbers"): {"strength": 100.0},  # of the order of the curvature
}
# They compile for longer than they learn, or learn as another of their family does.
LONG = (
    *("snail", "meta-network", "mann", "matching-fce", "matching", "siamese", "lrd2"),
    *("metaopt-net", "maml++", "meta-sgd", "anil", "proto-maml", "np", "anp"),
)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory) -> str:
    """30 easy classes of vectors: 8 entries that tell them apart, and 16 of noise."""
    random = np.random.default_rng(0)
    centre = np.repeat(random.normal(size=(30, 1, 8)), 8, axis=1)
    seen = centre + 0.3 * random.normal(size=centre.shape)
    x = np.concatenate([seen, random.normal(size=(30, 8, 16))], -1).reshape(-1, 24)
    path = tmp_path_factory.mktemp("vectors") / "easy.npz"
    np.savez(path, x=x.astype(np.float32), y=np.repeat(np.arange(30), 8))
    return f"arrays:{path}"


@pytest.fixture(scope="module")
def patterns(tmp_path_factory) -> str:
    """20 easy classes of 16x16 images: a pattern each, and noise."""
    random = np.random.default_rng(0)
    pattern = np.repeat(random.uniform(40, 215, (20, 1, 16, 16)), 8, axis=1)
    x = np.clip(pattern + random.normal(0, 20, pattern.shape), 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("images") / "easy.npz"
    np.savez(path, x=x.reshape(-1, 16, 16), y=np.repeat(np.arange(20), 8))
    return f"arrays:{path}"


@pytest.fixture(scope="module")
def images(patterns) -> Experiment:
    """Protonet on the patterns."""
    return experiment(
        "protonet",
        dataset=patterns,
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


def validated(made: Experiment) -> tuple[float, float, bool]:
    """The validation figure before training and after it, and whether higher is better."""
    parts = programs.parts(made)
    domain, budget = parts.domain, made.budget
    predict = programs.predict(parts, parts.method.learner, episodes=budget.validation_episodes)
    state, key = programs.initial_state(parts), programs.keys(budget.seed).val

    def figure(state: Any) -> float:
        return float(domain.report(*predict(state.params, domain.val, key))[domain.metric].mean)

    before, advance = figure(state), programs.dispatch(parts)
    for _ in range(budget.steps // budget.log_every):
        state, (losses, _) = advance(state, domain.train, length=budget.log_every)
        assert np.isfinite(losses).all()
    return before, figure(state), domain.higher_is_better


def kinds() -> list:
    """Every algorithm with each kind of target that it learns; a second kind is slow."""
    pairs = [(name, kind) for name, each in ALGORITHMS.items() for kind in each.kinds]
    second = {(n, k) for n, k in pairs if k != ALGORITHMS[n].kinds[0]} - {("maml", "numbers")}
    slow = second | {(name, kind) for name, kind in pairs if name in LONG}
    return [pytest.param(*p, marks=[pytest.mark.slow] * (p in slow)) for p in pairs]


@pytest.mark.parametrize(("name", "kind"), kinds())
def test_every_algorithm_learns(name: str, kind: str, vectors: str) -> None:
    both = kind == "numbers" and "classes" in ALGORITHMS[name].kinds
    dataset = vectors if kind == "classes" else "sinusoid" if both else "gp"
    options = {"dataset": dataset, **EVERY, **(CLASSES if kind == "classes" else NUMBERS)}
    if "inner_steps" in dict(options_of(ALGORITHMS[name])):
        options |= DESCENT[kind]
    made = experiment(name, **{**options, **OWN.get((name, kind), {})})
    before, after, higher = validated(made)
    if kind == "classes":
        assert higher and 1 - after < 0.75 * (1 - before) and after > 0.6, (before, after)
    elif both:
        assert not higher and after < 0.9 * before, (before, after)
    else:  # a negative log likelihood
        assert not higher and after < before - 0.2, (before, after)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile"])
def test_gradient_based_learners_learn_the_sinusoid(algorithm, tmp_path, no_pictures):
    made = experiment(
        algorithm,
        start=SINUSOID,
        **{"steps": 120, "validate_every": 120, "log_every": 120, "validation_episodes": 64},
        shots=10,
        hidden=(32,),
        inner_steps=2 if algorithm == "reptile" else 1,
        inner_rate=0.003,
        tasks=8,
        rate=1e-2,
    )
    out = tmp_path / "run"
    told: list[float] = []
    with pytest.raises(RuntimeError, match="enough"):  # a rate of 0 is no training at all
        run(experiment(start=made, rate=0.0), tmp_path / "still", progress=stopping(told))
    run(made, out)
    assert records.read(out)[-1]["validation"] < 0.95 * told[0]


def stopping(told: list[float]) -> Any:
    """A listener that notes the first validation and stops the run there."""

    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "validation":
            told.append(event["validation"])
            raise RuntimeError("enough")

    return listen


@pytest.mark.slow
def test_images_are_learned_and_both_figures_reported(images, tmp_path, no_pictures):
    made = experiment(
        start=images, filters=8, steps=20, rate=1e-2, validate_every=20, log_every=20, episodes=30
    )
    result = run(made, tmp_path / "run")
    assert result["metrics"]["accuracy"]["mean"] > 0.6  # chance is 1/3
    assert result["protocol"]["transductive"] is True
    assert result["inductive"]["metrics"]["accuracy"]["episodes"] == 30
    assert result["inductive"]["metrics"]["accuracy"]["mean"] > 0.4
    assert result["inductive"]["statistics"] == "population statistics of training images"


def test_gradient_based_learners_have_an_inductive_figure_too(images):
    small = {"network": "mlp", "hidden": (8,)}
    parts = programs.parts(experiment("maml", start=images, queries=1, **small))
    tested = report.tested(parts, programs.initial_state(parts).params).record
    assert tested["inductive"]["statistics"] == "the support set and the one query"
    assert set(tested["inductive"]["metrics"]) == set(tested["metrics"])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile"])
def test_gradient_based_learners_learn_images(algorithm, images, tmp_path, no_pictures):
    made = experiment(
        algorithm,
        start=images,
        filters=8,
        inner_steps=5,
        inner_rate=0.1,
        train_shots=3 if algorithm == "reptile" else None,
        steps=200,
        rate=3e-3,
        validate_every=100,
        episodes=100,
    )
    accuracy = run(made, tmp_path / "run")["metrics"]["accuracy"]
    assert accuracy["mean"] - accuracy["ci95"] > 0.6  # chance is 1/3


def test_a_run_is_evaluated_on_other_episodes(images, tmp_path):
    out = tmp_path / "run"
    trained = run(experiment(start=images, network="mlp", norm="layer", hidden=(8,)), out)
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
    options = {"network": "mlp", "norm": "layer", "hidden": (8,), "train_on_val": True}
    trained = run(experiment(start=images, **options), tmp_path / "run")
    assert trained["best"] == {"step": images.budget.steps, "value": None}
    assert trained["protocol"]["trained_on"] == "train and val"
    assert evaluate_run(tmp_path / "run")["metrics"] == trained["metrics"]


def test_a_learner_with_an_output_a_class_refuses_other_ways(images):
    with pytest.raises(ValueError, match="tested with as many ways as it was trained with"):
        experiment("maml", start=images, train_ways=4)


@pytest.mark.slow
def test_glyphs_train_in_the_default_shape(tmp_path, no_pictures):
    made = experiment(
        *("protonet",),
        dataset="glyphs",
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
    result = run(made, tmp_path / "run")
    assert result["protocol"]["dataset"] == "glyphs" and result["protocol"]["split_hash"]

"""Every algorithm that reads its support set, as a run from a config: all parts fit together."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from jmeta import nn
from jmeta.train import Config, build, run
from jmeta.runs import _programs as programs
from jmeta.runs import _report as report
from jmeta.train.config import ALGORITHMS, CLOSED_FORM, CONDITIONAL, GRADIENT_BASED, MEMORY, METRIC

CLASSIFIERS = (*METRIC, *CLOSED_FORM, *MEMORY)
TINY = {
    "steps": 2,
    "tasks": 2,
    "log_every": 2,
    "validate_every": 2,
    "validation_episodes": 2,
    "episodes": 4,
    "ways": 3,
    "queries": 2,
    "train_queries": 2,
    "network": "mlp",
    "hidden": (8,),
}


def _config(algorithm: str, **options) -> Config:
    return replace(Config(algorithm, **TINY), **options)


def _curves(algorithm: str, **options) -> Config:
    given = {"dataset": "gp", "shots": 4, "hidden": (8, 8), "norm": "none", **options}
    return _config(algorithm, **given)


def few(algorithms: tuple[str, ...], *quick: str) -> list:
    """All of them; those that are not named are slow."""
    marks = {True: [], False: [pytest.mark.slow]}
    return [pytest.param(name, marks=marks[name in quick]) for name in algorithms]


@pytest.mark.parametrize(
    "algorithm", few(CLASSIFIERS, "siamese", "relation", "metaopt-net", "meta-network")
)
def test_every_classifier_trains_and_is_tested(algorithm: str) -> None:
    parts = programs.parts(_config(algorithm))
    state = programs.initial_state(parts)
    state, (losses, scores) = programs.dispatch(parts)(state, pool=parts.built.train, length=2)
    assert np.isfinite(losses).all() and (0 <= scores).all() and (scores <= 1).all()
    found = report.test(parts, state.params)
    for figure in (found, found["inductive"]):
        assert 0 <= figure["metrics"]["accuracy"]["mean"] <= 1
        assert np.isfinite(figure["metrics"]["nll"]["mean"])


@pytest.mark.parametrize("algorithm", few(CONDITIONAL, "anp"))
def test_every_neural_process_trains_and_draws_its_bands(algorithm: str, tmp_path: Path) -> None:
    result = run(_curves(algorithm), tmp_path / "run")
    assert np.isfinite([result["metrics"][name]["mean"] for name in ("nll", "mse")]).all()
    assert result["protocol"]["transductive"] is False
    assert (tmp_path / "run" / "episode.png").stat().st_size > 1000


@pytest.mark.parametrize("algorithm", CLASSIFIERS)
def test_every_classifier_builds_with_a_convolution(algorithm: str) -> None:
    config = _config(algorithm, network="conv4", filters=4, shots=2)
    built = build.problem(config)
    net = build.model(config, built)
    learner = build.eval_learner(config, net)
    params = jax.eval_shape(lambda key: learner.init(net.init(key)), jax.random.key(0))
    task = jax.eval_shape(built.sample_train, jax.random.key(1), built.train)
    loss, outputs = jax.eval_shape(build.train_loss(config, net), params, task)
    assert (loss.shape, outputs.shape) == ((), (6, 3))


FIXED = ("relation", "siamese", "matching-fce", "r2d2", "snail")


@pytest.mark.parametrize("algorithm", few(FIXED, "relation"))
def test_fixed_moments_make_predictions_independent_of_other_queries(algorithm: str) -> None:
    config = _config(algorithm, hidden=(8, 8))  # normalised between them
    parts = programs.parts(config)
    learner = build.eval_learner(config, parts.net)
    task = jax.jit(parts.built.sample_eval)(jax.random.key(2), parts.built.test)
    tasks = jax.tree.map(lambda leaf: leaf[None], task)
    params = jax.jit(lambda key: learner.init(parts.net.init(key)))(jax.random.key(0))
    fixed = build.with_fixed_moments(parts.net, params, tasks)

    @jax.jit
    def apart(params):
        adapted = learner.adapt(params, task.support)
        two, every = (learner.predict(adapted, x) for x in (task.query.x[:2], task.query.x))
        return abs(two - every[:2]).max()

    assert apart(params) > 1e-3 > 1e-5 > apart(fixed)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"algorithm": "protonet", "network": "none"}, "network none is for snail and mann"),
        ({"algorithm": "snail", "train_ways": 5}, "one output a class"),
        ({"algorithm": "cnp"}, "cnp predicts numbers, but glyphs has classes"),
        ({"algorithm": "snail", "dataset": "sinusoid"}, "but snail classifies"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict, said: str) -> None:
    config = replace(Config("protonet", **TINY), **options)
    with pytest.raises(ValueError, match=said):
        build.model(config, build.problem(config))


def test_pixels_alone_are_read_by_a_memory() -> None:
    config = _config("mann", network="none")
    parts = programs.parts(config)
    assert parts.net.fix is None
    assert report.protocol(parts)["normalisation"] == "none"


def test_every_algorithm_belongs_to_one_family() -> None:
    families = (*GRADIENT_BASED, *CLASSIFIERS, *CONDITIONAL)
    assert sorted(families) == sorted(ALGORITHMS) and len(set(families)) == len(families)


def test_maps_are_pooled_twice() -> None:
    model, x = (
        nn.Conv4(None, filters=2, form="maxpool", maps=True),
        np.ones((1, 28, 28, 1), np.float32),
    )
    maps, _ = jax.jit(model.init_with_output)(jax.random.key(0), x)
    assert maps.shape == (1, 7, 7, 2)
    with pytest.raises(ValueError, match="gives maps"):
        nn.Conv4(5, maps=True).init(jax.random.key(0), x)

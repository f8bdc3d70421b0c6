"""Every algorithm that reads its support set, as a run of an experiment: all parts fit together."""

from pathlib import Path

import jax
import numpy as np
import pytest
from quick import few

from jmeta import nn
from jmeta.runs import _programs as programs
from jmeta.runs import _report as report
from jmeta.train import (
    ALGORITHMS,
    Experiment,
    completed,
    example_task,
    experiment,
    open_experiment,
    run,
)

# `steps` of a method: inner steps of testing, of the gradient-based alone
CLASSIFIERS = [n for n, kind in ALGORITHMS.items() if kind.kinds == ("classes",)]
CLASSIFIERS.remove("proto-maml")
CONDITIONAL = [n for n, kind in ALGORITHMS.items() if kind.kinds == ("numbers",)]
GRADIENT_BASED = [n for n in ALGORITHMS if n not in (*CLASSIFIERS, *CONDITIONAL)]
TINY = {
    "steps": 2,
    "tasks": 2,
    "log_every": 2,
    "validate_every": 2,
    "validation_episodes": 2,
    "episodes": 4,
    "queries": 2,
    "train_queries": 2,
}
MLP = {"network": "mlp", "hidden": (8,)}


def _classes(algorithm: str, **options) -> Experiment:
    given = {"ways": 3, **TINY, **(options if "network" in options else MLP | options)}
    return experiment(algorithm, **given)


def _curves(algorithm: str) -> Experiment:
    options = {"dataset": "gp", "shots": 4, "network": "mlp", "hidden": (8, 8), "norm": "none"}
    return experiment(algorithm, **TINY, **options)


@pytest.mark.parametrize("algorithm", few(CLASSIFIERS, "siamese"))
def test_every_classifier_trains_and_is_tested(algorithm: str) -> None:
    parts = programs.parts(_classes(algorithm))
    state = programs.initial_state(parts)
    state, (losses, scores) = programs.dispatch(parts)(state, pool=parts.domain.train, length=2)
    assert np.isfinite(losses).all() and (0 <= scores).all() and (scores <= 1).all()
    found = report.tested(parts, state.params).record
    for figure in (found, found["inductive"]):
        assert 0 <= figure["metrics"]["accuracy"]["mean"] <= 1
        assert np.isfinite(figure["metrics"]["nll"]["mean"])


@pytest.mark.parametrize("algorithm", few(CONDITIONAL, "cnp"))
def test_every_neural_process_trains_and_draws_its_bands(algorithm: str, tmp_path: Path) -> None:
    result = run(_curves(algorithm), tmp_path / "run")
    assert np.isfinite([result["metrics"][name]["mean"] for name in ("nll", "mse")]).all()
    assert result["protocol"]["transductive"] is False
    assert (tmp_path / "run" / "episode.png").stat().st_size > 1000


@pytest.mark.parametrize("algorithm", [*CLASSIFIERS, "proto-maml", "maml", "maml++", "cavia"])
def test_every_classifier_builds_with_a_convolution(algorithm: str) -> None:
    made = _classes(algorithm, network="conv4", filters=4, shots=2)
    domain, method = open_experiment(completed(made))
    example = example_task(domain)
    params = jax.eval_shape(lambda key: method.learner.init(key, example), jax.random.key(0))
    task = jax.eval_shape(domain.sample_train, jax.random.key(1), domain.train)
    loss, outputs = jax.eval_shape(method.loss(0), params, task)
    batch = (64, 1558)  # supervised training: the images of a batch, all training classes
    wanted = batch if algorithm in ("pretrain", "fine-tuning") else (6, 3)
    assert (loss.shape, outputs.shape) == ((), wanted)


FIXED = ("relation", "siamese", "matching-fce", "feat", "r2d2", "snail")


@pytest.mark.parametrize("algorithm", few(FIXED, "r2d2"))
def test_fixed_moments_make_predictions_independent_of_other_queries(algorithm: str) -> None:
    made = _classes(algorithm, hidden=(8, 8))  # normalised between them
    parts = programs.parts(made)
    learner, domain = parts.method.learner, parts.domain
    task = jax.jit(domain.sample_eval)(jax.random.key(2), domain.test)
    tasks = jax.tree.map(lambda leaf: leaf[None], task)
    params = jax.jit(lambda key: learner.init(key, task))(jax.random.key(0))
    assert parts.method.fix is not None
    fixed = parts.method.fix(params, tasks)

    @jax.jit
    def apart(params):
        adapted = learner.adapt(params, task.support)
        two, every = (learner.predict(adapted, x) for x in (task.query.x[:2], task.query.x))
        return abs(two - every[:2]).max()

    assert apart(params) > 1e-3 > 1e-5 > apart(fixed)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"algorithm": "protonet", "network": "none"}, "network none is for snail and mann"),
        ({"algorithm": "snail", "train_ways": 5}, "one output a class"),
        ({"algorithm": "cnp"}, "cnp learns numbers, but the targets of glyphs are labels"),
        ({"algorithm": "snail", "dataset": "sinusoid"}, "snail learns labels, but the targets of"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        experiment(start=_classes("protonet"), **options)


@pytest.mark.parametrize("options", [{"network": "conv4"}, {"norm": "batch"}])
def test_neural_processes_need_layers_without_normalisation(options: dict) -> None:
    made = completed(experiment(start=_curves("cnp"), **options))
    with pytest.raises(ValueError, match=r"cnp needs .*: choose --network mlp --norm none\."):
        open_experiment(made)


def test_pixels_alone_are_read_by_a_memory() -> None:
    parts = programs.parts(_classes("mann", network="none"))
    assert parts.method.fix is None
    assert report.protocol(parts)["normalisation"] == "none"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_only_the_gradient_based_have_inner_steps_and_curves(name: str) -> None:
    made = _curves(name) if name in CONDITIONAL else _classes(name)
    _, method = open_experiment(completed(made))
    descends = name in (*GRADIENT_BASED, "fine-tuning")
    assert (method.steps is not None, method.curve is not None) == (descends, descends)


def test_tasks_are_differentiated_one_at_a_time_where_a_network_convolves() -> None:
    """XLA's derivatives of grouped convolutions are slow on a CPU."""
    sizes = {"filters": 4}
    for network, options, chunk in (
        ("conv4", sizes, 1),
        ("conv4-strided", sizes, 1),
        ("resnet12", sizes, 1),
        ("mlp", {}, None),
    ):
        made = completed(experiment(network=network, **options))
        assert programs.chunk_for(made) == chunk
        assert programs.chunk_for(experiment(start=made, chunk=2)) == 2


def test_maps_are_pooled_twice() -> None:
    model, x = (
        nn.Conv4(None, filters=2, form="maxpool", maps=True),
        np.ones((1, 28, 28, 1), np.float32),
    )
    maps, _ = jax.jit(model.init_with_output)(jax.random.key(0), x)
    assert maps.shape == (1, 7, 7, 2)
    with pytest.raises(ValueError, match="feature maps need"):
        nn.Conv4(5, maps=True).init(jax.random.key(0), x)

"""Every algorithm as a run: presets train, resume, anneal, and have adaptation curves."""

import json

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from quick import few

from jmeta.cli import main
from jmeta.experiments._options import options_of
from jmeta.runs import _programs as programs
from jmeta.train import (
    ALGORITHMS,
    PRESETS,
    Experiment,
    adaptation_curve,
    completed,
    example_task,
    experiment,
    open_experiment,
    run,
)

GRADIENT_BASED = [n for n, kind in ALGORITHMS.items() if "inner_steps" in dict(options_of(kind))]
FAMILY = [name for name, preset in PRESETS.items() if preset.algorithm.name in GRADIENT_BASED]
TINY = {
    "steps": 200,
    "tasks": 2,
    "log_every": 100,
    "validate_every": 200,
    "validation_episodes": 4,
    "episodes": 4,
}


@pytest.mark.parametrize("name", few(FAMILY, "sinusoid-maml"))
def test_every_preset_of_the_family_trains_200_steps(name: str) -> None:
    made = experiment(start=PRESETS[name], **TINY)
    if made.source.label == "omniglot":  # its network and episodes, on characters that are built in
        made = experiment(start=made, dataset="glyphs", filters=4, queries=1, size=16)
    parts = programs.parts(made)
    advance = programs.dispatch(parts)
    state, (losses, scores) = advance(
        programs.initial_state(parts), pool=parts.domain.train, length=200
    )
    assert np.isfinite(losses).all() and np.isfinite(scores).all() and int(state.step) == 200


def _sinusoid(algorithm: str, **options) -> Experiment:
    start = PRESETS["sinusoid-maml"]
    return experiment(algorithm, start=start, **{**TINY, "inner_steps": 2, **options})


@pytest.mark.parametrize(
    "algorithm",
    ["maml", *(pytest.param(name, marks=pytest.mark.slow) for name in ("maml++", "imaml"))],
)
def test_an_adaptation_curve_goes_beyond_the_trained_steps(
    algorithm: str, tmp_path, no_pictures
) -> None:
    made = _sinusoid(algorithm, episodes=8, steps=20, log_every=10, validate_every=20)
    result = run(made, tmp_path / "run")
    found = adaptation_curve(tmp_path / "run", steps=12)
    assert found["steps"] == list(range(13)) and len(found["metrics"]["mse"]) == 13
    if algorithm != "imaml":  # whose trained learner stops where its curve goes on
        np.testing.assert_allclose(
            found["metrics"]["mse"][10]["mean"], result["metrics"]["mse"]["mean"], rtol=1e-5
        )


@pytest.mark.slow
def test_a_curve_from_the_command_line(tmp_path, capsys) -> None:
    run(_sinusoid("maml", steps=4, log_every=2, validate_every=4), tmp_path / "run")
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(tmp_path / "run"), "--curve", "3"])
    assert stop.value.code == 0 and "adaptation.json" in capsys.readouterr().out
    record = json.loads((tmp_path / "run" / "adaptation.json").read_text())
    assert record["protocol"]["inner_steps"] == 3
    assert (tmp_path / "run" / "adaptation.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="at least 1 step"):
        adaptation_curve(tmp_path / "run", steps=0)


def test_learners_without_steps_have_no_curve(tmp_path, no_pictures) -> None:
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(60) % 15)
    sizes = {"ways": 2, "queries": 1, "train_queries": 1, "steps": 1, "hidden": (2,)}
    made = experiment(dataset=f"arrays:{tmp_path}/a.npz", **{**TINY, **sizes})
    run(made, tmp_path / "run")
    with pytest.raises(ValueError, match="protonet takes no inner steps, so it has no adaptation"):
        adaptation_curve(tmp_path / "run", steps=2)


def test_first_order_updates_come_first() -> None:
    made = _sinusoid("maml", first_order_until=10, inner_rate=0.1)
    domain, method = open_experiment(completed(made))
    example = example_task(domain)
    params = jax.jit(lambda key: method.learner.init(key, example))(jax.random.key(0))
    task = jax.jit(domain.sample_train)(jax.random.key(1), ())

    def gradient(made: Experiment, step: int):
        _, method = open_experiment(completed(made))
        loss = method.loss(jnp.asarray(step))
        found = jax.jit(jax.grad(lambda p: loss(p, task)[0]))(params)
        return jax.flatten_util.ravel_pytree(found)[0]

    first = gradient(_sinusoid("fomaml", inner_rate=0.1), 0)
    second = gradient(experiment(start=made, first_order_until=0), 0)
    np.testing.assert_allclose(gradient(made, 9), first, rtol=1e-5)
    np.testing.assert_allclose(gradient(made, 10), second, rtol=1e-5)
    assert np.linalg.norm(first - second) > 1e-3 * np.linalg.norm(second)


@pytest.mark.parametrize(
    ("algorithm", "options", "says"),
    [
        ("mamml", {}, "did you mean maml"),
        ("imaml", {"linear_solve": "lu"}, "cg, neumann"),
        ("maml", {"inner_optimizer": "adam", "inner_beta1": 1.0}, "must be below 1, but got 1"),
        ("maml", {"inner_beta1": 0.5}, "inner_beta1 is for an inner_optimizer of adam or adamw"),
        ("maml", {"first_order_until": -1}, "first_order_until must be at least 0, but got -1"),
        ("imaml", {"strength": -1.0}, "strength must be at least 0"),
        ("imaml", {"strength": float("inf")}, "strength must be finite"),
        ("fomaml", {"first_order_until": 3}, "belongs to maml, anil, .*; fomaml has no such"),
        ("meta-sgd", {"inner_optimizer": "adam"}, "meta-sgd has no such option"),
    ],
)
def test_impossible_options_are_refused(algorithm: str, options: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        experiment(algorithm, **options)


def test_cavia_needs_a_network_with_a_context() -> None:
    made = experiment("cavia", network="resnet12", filters=4)
    with pytest.raises(ValueError, match="mlp or conv4"):
        open_experiment(completed(made))

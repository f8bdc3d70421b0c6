"""Every algorithm as a run: presets train, resume, anneal, and have adaptation curves."""

import json
from dataclasses import replace

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta.cli import main
from jmeta.train import PRESETS, Config, build, run
from jmeta.runs import _programs as programs
from jmeta.runs._adaptation import adaptation_curve
from jmeta.train.config import GRADIENT_BASED

FAMILY = [name for name, config in PRESETS.items() if config.algorithm in GRADIENT_BASED]
TINY = {
    "steps": 200,
    "tasks": 2,
    "log_every": 100,
    "validate_every": 200,
    "validation_episodes": 4,
    "episodes": 4,
}


@pytest.mark.parametrize("name", FAMILY)
def test_every_preset_of_the_family_trains_200_steps(name: str) -> None:
    config = replace(PRESETS[name], **TINY)
    if config.dataset == "omniglot":  # its network and episodes, on characters that are built in
        config = replace(config, dataset="glyphs", split=None, filters=4, queries=1, size=16)
    parts = programs.parts(config)
    advance = programs.dispatch(parts)
    state, (losses, scores) = advance(
        programs.initial_state(parts), pool=parts.built.train, length=200
    )
    assert np.isfinite(losses).all() and np.isfinite(scores).all() and int(state.step) == 200


def _sinusoid(algorithm: str, **options) -> Config:
    changed = {**TINY, "algorithm": algorithm, "inner_steps": 2, **options}
    return replace(PRESETS["sinusoid-maml"], **changed)


@pytest.mark.parametrize(
    "algorithm",
    ["maml", *(pytest.param(name, marks=pytest.mark.slow) for name in ("maml++", "imaml"))],
)
def test_an_adaptation_curve_goes_beyond_the_trained_steps(algorithm: str, tmp_path) -> None:
    config = _sinusoid(algorithm, episodes=8)
    config = replace(config, steps=20, log_every=10, validate_every=20)
    result = run(config, tmp_path / "run")
    found = adaptation_curve(tmp_path / "run", steps=12)
    assert found["steps"] == list(range(13)) and len(found["metrics"]["mse"]) == 13
    if algorithm != "imaml":  # whose trained learner stops where its curve goes on
        np.testing.assert_allclose(
            found["metrics"]["mse"][10]["mean"], result["metrics"]["mse"]["mean"], rtol=1e-5
        )


def test_a_curve_from_the_command_line(tmp_path, capsys) -> None:
    config = replace(_sinusoid("maml"), steps=4, log_every=2, validate_every=4)
    run(config, tmp_path / "run")
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(tmp_path / "run"), "--curve", "3"])
    assert stop.value.code == 0 and "adaptation.json" in capsys.readouterr().out
    record = json.loads((tmp_path / "run" / "adaptation.json").read_text())
    assert record["protocol"]["inner_steps"] == 3
    assert (tmp_path / "run" / "adaptation.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="at least 1 step"):
        adaptation_curve(tmp_path / "run", steps=0)


def test_learners_without_steps_have_no_curve() -> None:
    with pytest.raises(ValueError, match="no inner steps"):
        build.curve_learner(Config(), lambda params, x: x, steps=3)


def test_first_order_updates_come_first() -> None:
    config = replace(_sinusoid("maml"), first_order_until=10, inner_rate=0.1)
    built = build.problem(config)
    net = build.model(config, built)
    params, task = net.init(jax.random.key(0)), built.sample_train(jax.random.key(1), ())

    def gradient(config: Config, step: int):
        loss = build.train_loss(config, net, jnp.asarray(step))
        return jax.flatten_util.ravel_pytree(jax.jit(jax.grad(lambda p: loss(p, task)[0]))(params))[
            0
        ]

    first = gradient(replace(config, algorithm="fomaml", first_order_until=0), 0)
    second = gradient(replace(config, first_order_until=0), 0)
    np.testing.assert_allclose(gradient(config, 9), first, rtol=1e-5)
    np.testing.assert_allclose(gradient(config, 10), second, rtol=1e-5)
    assert np.linalg.norm(first - second) > 1e-3 * np.linalg.norm(second)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"algorithm": "mamml"}, "did you mean maml"),
        ({"linear_solve": "lu"}, "cg, neumann"),
        ({"inner_beta1": 1.0}, "below 1"),
        ({"first_order_until": -1}, "not be negative"),
        ({"strength": -1.0}, "strength must be finite"),
    ],
)
def test_impossible_options_are_refused(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Config(**options)


def test_cavia_needs_a_network_with_a_context() -> None:
    config = Config(algorithm="cavia", network="resnet12", filters=4)
    with pytest.raises(ValueError, match="mlp or conv4"):
        build.model(config, build.problem(config))

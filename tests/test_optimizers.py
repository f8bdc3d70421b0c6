"""Every optax optimizer inside the loop is differentiable, or refused with a reason."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta.core import clip_by_global_norm

SMOOTH = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.1, eps_root=1e-8),
    "adamw": optax.adamw(0.1, eps_root=1e-8),
    "amsgrad": optax.amsgrad(0.1, eps_root=1e-8),
    "nadam": optax.nadam(0.1, eps_root=1e-8),
    "adabelief": optax.adabelief(0.1),
    "adadelta": optax.adadelta(0.1),
    "adagrad": optax.adagrad(0.1),
    "adamax": optax.adamax(0.1),
    "fromage": optax.fromage(0.1),
    "lion": optax.lion(0.1),
    "rmsprop": optax.rmsprop(0.1),
    "sign_sgd": optax.sign_sgd(0.1),
    "sm3": optax.sm3(0.1),
    "yogi": optax.yogi(0.1),
    "schedule": optax.sgd(optax.cosine_decay_schedule(0.1, 10)),
    "clip": optax.chain(optax.clip(1.0), optax.sgd(0.1)),
    "smooth clip by norm": optax.chain(clip_by_global_norm(1.0), optax.sgd(0.1)),
    "weight decay": optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)),
    "accumulation": optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation(),
    "hyperparameters in the state": optax.inject_hyperparams(optax.sgd)(0.1),
    "masked": optax.masked(optax.sgd(0.1), {"w": True, "b": False}),
    "first order": optax.chain(jmeta.first_order(), optax.adam(0.1)),
}
SINGULAR = {
    "adam": optax.adam(0.1),
    "adamw": optax.adamw(0.1),
    "amsgrad": optax.amsgrad(0.1),
    "nadam": optax.nadam(0.1),
    "radam": optax.radam(0.1),
    "lamb": optax.lamb(0.1),
    "lars": optax.lars(0.1),
    "lamb, even with eps_root": optax.lamb(0.1, eps_root=1e-8),
    "novograd": optax.novograd(0.1),
    "adafactor": optax.adafactor(0.1),
    "clip by norm": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)),
    "adaptive clip": optax.chain(optax.adaptive_grad_clip(0.1), optax.sgd(0.1)),
}
PARAMS = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}


def _loss(params, k=0):
    return jnp.sum((jax.nn.relu(params["w"].sum(0)) + params["b"]) ** 2)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_optimizers_have_finite_meta_gradients_at_zero_gradients(name: str) -> None:
    solve = jmeta.unrolled(SMOOTH[name], 3)
    gradient = jax.jit(jax.grad(lambda params: _loss(solve(_loss, params).final)))
    for start in (PARAMS, {**PARAMS, "w": -PARAMS["w"]}):  # the second has nothing but zeros
        for leaf in jax.tree.leaves(gradient(start)):
            assert np.isfinite(leaf).all()


@pytest.mark.parametrize("name", SINGULAR)
def test_singular_optimizers_are_refused_with_a_remedy(name: str) -> None:
    with pytest.raises(ValueError, match=r"no finite derivative.*eps_root.*first_order"):
        jmeta.unrolled(SINGULAR[name], 3)(_loss, PARAMS)
    with pytest.raises(ValueError, match="no finite derivative"):
        jax.jit(jmeta.unrolled(SINGULAR[name], 3), static_argnums=0)(_loss, PARAMS)


def test_an_implicit_solver_takes_any() -> None:
    solve = jmeta.implicit(optax.adam(0.1), 5, strength=1.0)
    found = jax.jit(jax.grad(lambda params: _loss(solve(_loss, params).final)))(PARAMS)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_optimizers_that_ask_for_the_value_get_it() -> None:
    inner = jmeta.unrolled(optax.chain(jmeta.first_order(), optax.polyak_sgd()), 5)
    assert _loss(jax.jit(inner, static_argnums=0)(_loss, PARAMS).final) < 0.1 * _loss(PARAMS)
    tx = optax.chain(optax.sgd(0.01), optax.contrib.reduce_on_plateau(patience=1, factor=0.5))
    update = jax.jit(jmeta.step(lambda params, task: (_loss(params), task), tx))
    state, tasks = jmeta.train_state(PARAMS, tx), jnp.zeros(2)
    state, _ = update(state, tasks)
    assert state.step == 1


def test_a_learned_rate_stands_for_any_value() -> None:
    def solved(rate):
        return _loss(jmeta.unrolled(optax.adam(rate, eps_root=1e-8), 2)(_loss, PARAMS).final)

    assert np.isfinite(jax.jit(jax.grad(solved))(0.1))
    with pytest.raises(ValueError, match="no finite derivative"):
        jax.grad(lambda rate: _loss(jmeta.unrolled(optax.adam(rate), 2)(_loss, PARAMS).final))(0.1)

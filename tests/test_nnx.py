"""Flax NNX modules as pure functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jmeta import nn


class _Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.rest = nnx.List([nnx.Linear(4, 2, rngs=rngs)])
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.rest[0](self.drop(jnp.tanh(self.norm(self.first(x)))))


def test_equals_the_module_and_is_pure():
    module = _Net(nnx.Rngs(0))
    module.eval()
    apply, params = nn.from_nnx(module)
    x = jax.random.normal(jax.random.key(1), (5, 3))
    want = module(x)
    np.testing.assert_allclose(jax.jit(apply)(params, x), want, rtol=1e-5)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))

    module.first.kernel[...] = module.first.kernel[...] * 0  # the pure function keeps its own
    np.testing.assert_allclose(apply(params, x), want, rtol=1e-5)
    half = jax.tree.map(lambda p: p * 0.5, params)
    assert jnp.any(apply(half, x) != want)
    np.testing.assert_allclose(apply(params, x), want, rtol=1e-5)


def test_second_order_under_jit_and_vmap():
    apply, params = nn.from_nnx(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    linear = linen.Dense(2)

    def loss(apply, params, x):
        gradient = jax.grad(lambda p: jnp.sum(apply(p, x) ** 2))(params)
        adapted = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
        return jnp.sum(apply(adapted, x) ** 2)

    x = jax.random.normal(jax.random.key(1), (4, 5, 3))

    def gradients(apply, params):
        return jax.jit(jax.vmap(lambda x: jax.grad(lambda p: loss(apply, p, x))(params)))(x)

    got, want = gradients(apply, params), gradients(linear.apply, {"params": params})["params"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), got, want)


def test_refuses_changing_state_and_other_things():
    module = _Net(nnx.Rngs(0))
    apply, params = nn.from_nnx(module)
    with pytest.raises(ValueError, match=r"norm\.mean.*module\.eval"):
        jax.jit(apply)(params, jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="Linen"):
        nn.from_nnx(linen.Dense(2))
    with pytest.raises(ValueError, match=r"no|any nnx\.Param"):
        nn.from_nnx(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))

"""Adapters: functions, Flax NNX, Equinox and Linen modules with dropout as networks."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jmeta import nn

KEY = jax.random.key(0)


class _Net(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.rest = nnx.List([nnx.Linear(4, 2, rngs=rngs)])
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.rest[0](self.drop(jnp.tanh(self.norm(self.first(x)))))

    def double(self, x):
        return 2 * self(x)


def _evaluating(rngs):
    module = _Net(rngs)
    module.eval()
    return module


def _close(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), got, want)


# Functions


def test_functions_with_methods():
    def init(key, x):
        return jax.random.normal(key, x.shape[1:])

    def decode(w, state, x):
        return state + x @ w

    net = nn.from_functions(init, lambda w, x: x @ w, decode=decode)
    x = jnp.ones((4, 3))
    w = net.init(KEY, x)
    assert (net.apply(w, x) == x @ w).all()
    assert (net.apply(w, 2.0, x, method="decode") == 2.0 + x @ w).all()
    assert not net.stochastic and hash(net) == hash(net) and net == net
    with pytest.raises(AttributeError):
        net.stochastic = True
    assert nn.from_functions(init, decode, stochastic=True).stochastic
    with pytest.raises(ValueError, match=r"no method 'encode', only \['decode'\]"):
        net.apply(w, x, method="encode")
    with pytest.raises(ValueError, match="init is of type dict"):
        nn.from_functions({}, decode)


# Flax NNX


def test_nnx_equals_the_module_and_is_pure():
    module = _evaluating(nnx.Rngs(0))
    net = nn.from_nnx(module)
    x = jax.random.normal(jax.random.key(1), (5, 3))
    params, want = net.init(KEY, x), module(x)
    _close(jax.jit(net.apply)(params, x), want)
    _close(net.apply(params, x, method="double"), 2 * want)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))
    _close(net.init(jax.random.key(5), x), params)

    module.first.kernel[...] = module.first.kernel[...] * 0  # the network keeps its own
    _close(net.apply(params, x), want)
    half = jax.tree.map(lambda p: p * 0.5, params)
    assert jnp.any(net.apply(half, x) != want)
    _close(net.apply(params, x), want)


def test_nnx_function_makes_fresh_parameters():
    net, x = nn.from_nnx(_evaluating), jnp.ones((5, 3))
    first, again, other = (net.init(jax.random.key(seed), x) for seed in (0, 0, 1))
    _close(first, again)
    assert jnp.any(first["first"]["kernel"] != other["first"]["kernel"])
    _close(jax.jit(net.init)(KEY, x), first)
    shapes = jax.eval_shape(net.init, KEY, x)
    assert jax.tree.map(jnp.shape, first) == jax.tree.map(lambda s: s.shape, shapes)
    _close(net.apply(first, x), _evaluating(nnx.Rngs(KEY))(x))
    stacked = jax.vmap(lambda key: net.init(key, x))(jax.random.split(KEY, 3))
    assert jax.vmap(net.apply, (0, None))(stacked, x).shape == (3, 5, 2)


def test_nnx_second_order_under_jit_and_vmap():
    net = nn.from_nnx(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    params, linear = net.init(KEY), linen.Dense(2)

    def loss(apply, params, x):
        gradient = jax.grad(lambda p: jnp.sum(apply(p, x) ** 2))(params)
        adapted = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
        return jnp.sum(apply(adapted, x) ** 2)

    x = jax.random.normal(jax.random.key(1), (4, 5, 3))

    def gradients(apply, params):
        return jax.jit(jax.vmap(lambda x: jax.grad(lambda p: loss(apply, p, x))(params)))(x)

    got, want = gradients(net.apply, params), gradients(linear.apply, {"params": params})
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), got, want["params"])


def test_nnx_refuses_changing_state_and_other_things():
    net, x = nn.from_nnx(_Net), jnp.ones((2, 3))
    params = net.init(KEY, x)
    with pytest.raises(ValueError, match=r"norm\.mean.*module\.eval"):
        jax.jit(net.apply)(params, x)
    for other in (linen.Dense(2), 3, lambda rngs: 3):
        with pytest.raises(ValueError, match="Linen module is a network"):
            nn.from_nnx(other)
    with pytest.raises(ValueError, match=r"without any nnx\.Param"):
        nn.from_nnx(nnx.Dropout(0.5, rngs=nnx.Rngs(0)))


# Equinox


def test_equinox_module_with_functions_among_its_leaves():
    eqx = pytest.importorskip("equinox")
    module, x = eqx.nn.MLP(3, 2, 8, 1, key=KEY), jax.random.normal(KEY, (5, 3))
    net = nn.from_equinox(module)
    params = net.init(jax.random.key(7), x)
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params))
    _close(jax.jit(net.apply)(params, x), jnp.stack([module(row) for row in x]))

    def second(params):
        inner = jax.grad(lambda p: jnp.sum(net.apply(p, x) ** 2))
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(inner(params)))

    gradients = jax.tree.leaves(jax.jit(jax.grad(second))(params))
    assert len(gradients) == 4 and all(jnp.isfinite(g).all() for g in gradients)


def test_equinox_function_makes_fresh_parameters():
    eqx = pytest.importorskip("equinox")
    net = nn.from_equinox(lambda key: eqx.nn.MLP(3, 2, 8, 1, key=key))
    x = jnp.ones((5, 3))
    first, other = (net.init(jax.random.key(seed), x) for seed in (0, 1))
    assert jnp.any(first.layers[0].weight != other.layers[0].weight)
    _close(jax.jit(net.init)(KEY, x), first)
    shapes = jax.eval_shape(net.init, KEY, x)
    assert jax.tree.structure(shapes) == jax.tree.structure(first)
    _close(net.apply(first, x), jax.vmap(eqx.nn.MLP(3, 2, 8, 1, key=KEY))(x))
    with pytest.raises(ValueError, match="but got int"):
        nn.from_equinox(3)
    with pytest.raises(ValueError, match="no parameters"):
        nn.from_equinox(eqx.nn.Identity())


def test_equinox_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "equinox", None)
    with pytest.raises(ValueError, match="pip install equinox"):
        nn.from_equinox(lambda key: None)


# Dropout


class _Dropping(linen.Module):
    @linen.compact
    def __call__(self, x, *, train=False):
        return linen.Dropout(0.5)(linen.Dense(16)(x), deterministic=not train)


def test_dropout_is_stochastic_and_shares_the_plain_parameters():
    module, x = _Dropping(), jnp.ones((4, 3))
    net = nn.with_dropout(module, train=True)
    params, plain = net.init(KEY, x, jax.random.key(1)), module.init(KEY, x)
    assert net.stochastic
    _close(params, plain)
    one, same, other = (net.apply(params, x, jax.random.key(seed)) for seed in (1, 1, 2))
    assert (one == same).all() and jnp.any(one != other)
    rngs = {"dropout": jax.random.key(1)}
    assert (one == module.apply(params, x, rngs=rngs, train=True)).all()
    assert (module.apply(params, x) != 0).all() and (one == 0).any()


@pytest.mark.slow
def test_dropout_of_resnet_by_the_default_keyword():
    module = nn.ResNet12(5, widths=(2, 3, 4, 6), drop_rate=0.5, impl="native")
    net, x = nn.with_dropout(module), jnp.ones((2, 16, 16, 1))
    params = jax.jit(net.init)(KEY, x, KEY)
    apply = jax.jit(net.apply)
    assert jnp.any(apply(params, x, jax.random.key(1)) != apply(params, x, jax.random.key(2)))


def test_dropout_asks_for_its_key():
    net, x = nn.with_dropout(_Dropping(), train=True), jnp.ones((4, 3))
    params = net.init(KEY, x, KEY)
    for inputs in ((), (x,)):
        with pytest.raises(ValueError, match="PRNG key as its last input"):
            net.apply(params, *inputs)
    with pytest.raises(ValueError, match="Linen module"):
        nn.with_dropout(nn.from_functions(lambda key: 0, lambda p: p))

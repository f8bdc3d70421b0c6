"""Max-pooling that keeps the places of the maxima, and its derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jmeta import nn


def images(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float64)


def plain(x, *, relu=False):
    out = linen.max_pool(x, (2, 2), strides=(2, 2))
    return linen.relu(out) if relu else out


def derivatives(pool):
    """Value, gradient, gradient of a function of the gradient, forward over reverse."""

    def value(x):
        return jnp.sum(jnp.sin(pool(x * x - 0.5)))

    def second(x):
        return jnp.sum(jax.grad(value)(x) ** 3)

    def of_all(x):
        forward = jax.jvp(jax.grad(value), (x,), (jnp.cos(x),))[1]
        return pool(x), jax.grad(value)(x), jax.grad(second)(x), forward

    return jax.jit(of_all)


def close(ours, theirs):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), ours, theirs
    )


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (1, 5, 7, 2)])
def test_derivatives_equal_those_of_reduce_window(shape, relu):
    with jax.enable_x64(True):
        x = images(0, *shape)
        ours = derivatives(lambda x: nn.max_pool(x, relu=relu))(x)
        close(ours, derivatives(lambda x: plain(x, relu=relu))(x))


def test_vmap_equals_loop():
    with jax.enable_x64(True):
        x = images(1, 3, 2, 4, 4, 2)
        run = derivatives(lambda x: nn.max_pool(x, relu=True))
        loop = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(run(one) for one in x))
        close(jax.jit(jax.vmap(run))(x), loop)


def test_equal_maxima_pass_the_derivative_to_the_first():
    gradient = jax.grad(lambda x: nn.max_pool(x).sum())(jnp.ones((1, 2, 2, 1)))
    assert gradient.ravel().tolist() == [1, 0, 0, 0]
    cut = jax.grad(lambda x: nn.max_pool(x, relu=True).sum())(-jnp.ones((1, 2, 2, 1)))
    assert cut.ravel().tolist() == [0, 0, 0, 0]


def test_not_a_number_stays_one():
    x = jnp.ones((1, 2, 2, 1)).at[0, 1, 1, 0].set(jnp.nan)
    assert np.isnan(nn.max_pool(x, relu=True)).all()


def test_under_shard_map():
    """Its mesh axes are checked: a replicated cotangent meets places that vary."""
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))

    def local(x, scale):
        scale = jax.lax.pcast(scale, "d", to="varying")
        gradient = jax.grad(lambda x: jnp.sum(nn.max_pool(x, relu=True)) * scale)(x)
        return gradient

    x = jnp.asarray(np.random.default_rng(2).normal(size=(4, 4, 4, 2)), jnp.float32)
    sharded = jax.shard_map(local, mesh=mesh, in_specs=(P("d"), P()), out_specs=P("d"))
    close(jax.jit(sharded)(x, 2.0), local_alone(x))


def local_alone(x):
    return jax.grad(lambda x: jnp.sum(nn.max_pool(x, relu=True)) * 2.0)(x)


@pytest.mark.parametrize("kind", ["batch", "group", "none"])
@pytest.mark.parametrize("padded", [False, True])
def test_pooling_before_normalising_is_pooling_after_it(kind, padded):
    """Also in the second order, with scales of both signs, and with a large mean."""
    norm = nn.Norm(kind, groups=2)

    def before(params, x, real):
        return norm.apply(params, x, real, pool=True)

    def after(params, x, real):
        return nn.max_pool(norm.apply(params, x, real), relu=True)

    def derivatives(run, *args):
        def value(params, x, real):
            return jnp.sum(jnp.sin(run(params, x, real)))

        def slope(*args):
            return sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(value, (0, 1))(*args)))

        return run(*args), [jax.grad(f, (0, 1))(*args) for f in (value, slope)]

    with jax.enable_x64(True):
        x = 30 + images(5, 3, 4, 5, 4)
        real = jnp.array([True, True, False]) if padded else None
        scale = jnp.array([1.5, -0.7, 0.4, -2.0], jnp.float64)
        params = {} if kind == "none" else {"params": {"scale": scale, "bias": 0.3 * scale + 0.1}}
        made = (jax.jit(functools.partial(derivatives, run)) for run in (before, after))
        ours, theirs = (run(params, x, real) for run in made)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-7, 1e-7), ours, theirs)

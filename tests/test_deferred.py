"""A first convolution that is never written: its moments, its pooled values, all derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import export
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jmeta import nn
from jmeta.bench import operations
from jmeta.nn import _conv, _picked
from jmeta.nn import _roles as roles
from jmeta.nn._deferred import Deferred, defers
from jmeta.nn._pool import max_pool


class Block(linen.Module):
    """The first block of a network."""

    filters: int

    @linen.compact
    def __call__(self, x, real=None):
        conv = nn.Conv(self.filters, use_bias=False)
        return nn.Norm("batch")(conv(x, defer=True), real, pool=True)


def block(images, channels, *, filters=32, seed=0):
    """A network whose convolution is deferred, its parameters and images, in float64."""
    draw = np.random.default_rng(seed).normal
    net = Block(filters)
    x = jnp.asarray(draw(size=(6, *images, channels)))
    params = jax.eval_shape(net.init, jax.random.key(0), x)
    return net, jax.tree.map(lambda leaf: jnp.asarray(draw(size=leaf.shape)), params), x


def every_order(net, params, x, real):
    """Value, gradients, gradients of the gradients; and these for a kernel in each of two tasks."""

    def value(params, x):
        return jnp.sum(jnp.sin(net.apply(params, x, real=real)))

    def second(params, x):
        found = jax.grad(value, (0, 1))(params, x)
        return sum(jnp.sum(jnp.cos(leaf)) for leaf in jax.tree.leaves(found))

    def adapted(params, scale):
        return second(jax.tree.map(lambda leaf: leaf * scale, params), x * scale)

    def tasks(params):
        return jnp.sum(jax.vmap(adapted, (None, 0))(params, jnp.asarray([0.9, 1.1])))

    def shared(params):
        return jnp.sum(jax.vmap(second, (None, 0))(params, jnp.stack([x, x / 2])))

    gradients = jax.grad(value, (0, 1))(params, x), jax.grad(second, (0, 1))(params, x)
    return value(params, x), *gradients, jax.grad(tasks)(params), jax.grad(shared)(params)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("images", "channels", "chunks"),
    [((16, 18), 1, False), ((17, 21), 3, False), ((6, 7), 1, True)],
)
def test_every_derivative_equals_that_of_the_written_convolution(
    images, channels, chunks, padded, monkeypatch
):
    if chunks:
        monkeypatch.setattr(roles, "CACHED_ELEMENTS", 1)  # an image at a time
    real = jnp.asarray([True, True, False, True, True, True]) if padded else None
    with jax.enable_x64(True):
        net, params, x = block(images, channels)
        found = jax.jit(lambda *given: every_order(net, *given, real))(params, x)
        monkeypatch.setattr(_conv, "defers", lambda *_: False)
        exact = jax.jit(lambda *given: every_order(net, *given, real))(params, x)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8), found, exact
        )


def deferred(x, kernel):
    return Deferred(x, kernel, _conv._geometry(x, kernel, 1, "SAME"))


def test_moments_are_those_of_the_output_far_from_zero():
    x, kernel = np.random.default_rng(1).normal(size=(4, 9, 8, 3)), np.ones((3, 3, 3, 5))
    kernel *= np.random.default_rng(2).normal(size=kernel.shape)
    x = (1000 + x).astype(np.float32)  # a variance that float32 loses where means are subtracted
    mean, variance = deferred(x, jnp.asarray(kernel, jnp.float32)).moments(None)
    with jax.enable_x64(True):
        out = np.asarray(nn.conv2d(jnp.asarray(x, jnp.float64), jnp.asarray(kernel)))
    np.testing.assert_allclose(mean.ravel(), out.mean((0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(variance.ravel(), out.var((0, 1, 2)), rtol=1e-3)


def test_moments_of_no_images_and_of_more_pixels_than_an_int32_counts():
    kernel = jnp.ones((3, 3, 1, 16))
    mean, variance = deferred(jnp.zeros((0, 6, 6, 1)), kernel).moments(None)
    assert not mean.any() and not variance.any()
    many = jax.ShapeDtypeStruct((320_000, 84, 84, 1), jnp.float32)
    found = jax.eval_shape(lambda x: deferred(x, kernel).moments(None), many)
    assert [each.shape for each in found] == [(1, 1, 1, 16)] * 2


def test_operations_are_counted_as_those_of_the_written_convolution():
    x, kernel = jnp.ones((2, 3, 7, 6, 1)), jnp.ones((2, 3, 3, 1, 16))  # two tasks

    def counted(pooled):
        def loss(kernel):
            return jnp.sum(jax.vmap(pooled)(x, kernel) ** 2)

        def meta(kernel):
            return jnp.sum(jax.grad(loss)(kernel) ** 2)

        return operations(jax.make_jaxpr(jax.value_and_grad(meta))(kernel))

    ours = counted(lambda x, kernel: deferred(x, kernel).pooled(jnp.ones(16)))
    assert ours == counted(lambda x, kernel: max_pool(nn.conv2d(x, kernel))) > 0


def test_the_first_of_equal_maxima_has_the_derivative():
    x, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((1, 1, 1, 2))

    def plain(x):
        return jnp.sum(max_pool(nn.conv2d(x, kernel)))

    def ours(x):
        return jnp.sum(deferred(x, kernel).pooled(jnp.ones(2)))

    assert jax.grad(ours)(x).tolist() == jax.grad(plain)(x).tolist()


def test_inside_shard_map_with_shared_weights():
    mesh = jax.make_mesh((1,), ("tasks",), axis_types=(AxisType.Auto,))
    net, params, x = block((16, 16), 1, filters=16)
    params, x = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, x))

    def loss(params, x):
        return jax.lax.psum(jnp.sum(net.apply(params, x) ** 2), "tasks")

    sharded = jax.shard_map(loss, mesh=mesh, in_specs=(P(), P("tasks")), out_specs=P())
    found = jax.jit(jax.grad(sharded))(params, x)
    exact = jax.jit(jax.grad(lambda *given: jnp.sum(net.apply(*given) ** 2)))(params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), found, exact)


def test_any_number_of_images_can_be_exported():
    net, params, x = block((16, 16), 1, filters=16)
    params, x = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, x))
    fixed = nn.population_statistics(net, params, x)
    count = export.symbolic_shape("n")[0]
    images = jax.ShapeDtypeStruct((count, *x.shape[1:]), jnp.float32)
    whole = export.export(jax.jit(lambda x: net.apply(fixed, x)))(images)
    np.testing.assert_allclose(whole.call(x[:4]), net.apply(fixed, x[:4]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "stride", "dtype", "height", "expected"),
    [
        ((3, 3, 1, 64), 1, jnp.float32, 8, True),
        ((3, 3, 3, 32), 1, jnp.float64, 8, True),
        ((3, 3, 1, 64), 1, jnp.bfloat16, 8, False),
        ((3, 3, 3, 16), 1, jnp.float32, 8, False),  # fewer channels than weights
        ((3, 3, 1, 64), 2, jnp.float32, 8, False),
        ((5, 5, 3, 128), 1, jnp.float32, 8, False),
        ((3, 3, 1, 64), 1, jnp.float32, 1, False),  # nothing to pool, which max_pool refuses
    ],
)
def test_few_weights_for_each_channel_are_deferred(kernel, stride, dtype, height, expected):
    x = jax.ShapeDtypeStruct((2, height, 8, kernel[2]), dtype)
    geometry = _conv._geometry(x, jax.ShapeDtypeStruct(kernel, dtype), stride, "SAME")
    assert defers(kernel, jnp.dtype(dtype), geometry) is expected


def test_a_variance_of_almost_nothing_is_not_negative():
    draw, tint = np.random.default_rng(0), np.array([1, 0.7, 0.3])
    x = draw.uniform(0, 255, size=(10, 16, 16, 1)) * tint
    kernel = draw.normal(size=(3, 3, 3, 32))  # made orthogonal to the one colour of the images
    kernel -= np.einsum("abcf,c,d->abdf", kernel, tint, tint) / (tint @ tint)
    x, kernel = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    params = {"params": {"scale": jnp.ones(32), "bias": jnp.zeros(32)}}

    def value(kernel):
        return jnp.sum(nn.Norm("batch").apply(params, deferred(x, kernel), pool=True) ** 2)

    assert float(deferred(x, kernel).moments(None)[1].min()) >= 0
    assert np.isfinite(jax.grad(value)(kernel)).all()


def test_gradients_keep_the_precision_around_the_call():
    x, kernel = jnp.ones((2, 4, 4, 1)), jnp.ones((3, 3, 1, 16))

    def loss(kernel):
        with nn.products("float32"):
            return jnp.sum(deferred(x, kernel).pooled(jnp.ones(16)))

    text = jax.jit(jax.grad(loss)).lower(kernel).as_text()
    assert "HIGHEST" in text and "[DEFAULT" not in text


def test_nothing_and_eagerly():
    net, params, x = block((16, 16), 1, filters=16)
    params, x = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (params, x))
    fixed = nn.population_statistics(net, params, x)
    assert net.apply(fixed, x[:0]).shape == (0, 8, 8, 16)
    assert jax.vmap(net.apply, (None, 0))(fixed, jnp.ones((0, 2, 16, 16, 1))).size == 0
    expected = net.apply(params, x)
    with jax.disable_jit():
        np.testing.assert_allclose(net.apply(params, x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "pool"), [("batch", False), ("group", True), ("none", True)])
def test_only_pooled_batch_statistics_take_a_deferred_convolution(kind, pool):
    found = deferred(jnp.ones((2, 4, 4, 1)), jnp.ones((3, 3, 1, 16)))
    with pytest.raises(ValueError, match="without defer=True"):
        nn.Norm(kind).init(jax.random.key(0), found, pool=pool)


def test_nothing_of_the_size_of_the_convolution_is_computed_forward():
    net, x = nn.Conv4(3, filters=64), jnp.ones((6, 28, 28, 1))
    params = jax.eval_shape(net.init, jax.random.key(0), x)
    text = jax.jit(net.apply).lower(params, x).as_text()
    assert "6x28x28x64" not in text and "6x14x14x64" in text


def test_gradient_by_the_images_of_one_kernel_for_several_tasks():
    draw = np.random.default_rng(3).normal
    x, kernel = draw(size=(2, 3, 6, 6, 1)), draw(size=(3, 3, 1, 16))
    geometry = _conv._geometry(x[0], kernel, 1, "SAME")

    def ours(x):
        return jnp.sum(jnp.sin(_picked.pooled(x, kernel, geometry)))

    def plain(x):
        return jnp.sum(jnp.sin(max_pool(nn.conv2d(x, kernel))))

    with jax.enable_x64(True):
        found, exact = (jax.vmap(jax.grad(f))(jnp.asarray(x)) for f in (ours, plain))
        np.testing.assert_allclose(found, exact, atol=1e-12)

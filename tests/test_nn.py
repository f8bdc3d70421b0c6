"""Convolution, normalisation, pooling and the networks made of them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jmeta import nn
from jmeta.nn import roles


def _arrays(seed: int, *shapes: tuple[int, ...], dtype=jnp.float64) -> list[jax.Array]:
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def _lax(x, kernel, *, stride=1, padding="SAME"):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=layout)


class _Small(linen.Module):
    """One block of Conv4 in its max-pool form, quick to compile."""

    @linen.compact
    def __call__(self, x):
        return nn.mean_pool(linen.relu(nn.max_pool(nn.Norm("batch")(nn.Conv(4)(x)))))


def _derivatives(conv):
    """Value, gradients, gradients of a function of the gradients, forward over reverse."""

    def value(x, kernel):
        return jnp.sum(jnp.sin(conv(x, kernel)))

    def second(x, kernel):
        gx, gk = jax.grad(value, (0, 1))(x, kernel)
        return jnp.sum(gx**3) + jnp.sum(jnp.cos(gk))

    @jax.jit
    def all_of_them(x, kernel):
        tangents = (jnp.cos(x), jnp.sin(kernel))
        return (
            conv(x, kernel),
            jax.grad(value, (0, 1))(x, kernel),
            jax.grad(second, (0, 1))(x, kernel),
            jax.jvp(jax.grad(value, (0, 1)), (x, kernel), tangents)[1],
        )

    return all_of_them


def _close(a, b, tolerance=1e-9):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance), a, b
    )


@settings(max_examples=4, deadline=None)
@given(
    shape=st.tuples(*(st.integers(low, high) for low, high in ((1, 3), (3, 8), (3, 8), (1, 3)))),
    window=st.sampled_from([(1, 1), (2, 3), (3, 3)]),
    stride=st.sampled_from([1, 2, 3]),
    padding=st.sampled_from(["SAME", "VALID"]),
    impl=st.sampled_from(["bilinear", "patches"]),
)
def test_conv_equals_lax_in_value_and_derivatives(shape, window, stride, padding, impl):
    options = {"stride": stride, "padding": padding}
    with jax.enable_x64(True):
        x, kernel = _arrays(0, shape, (*window, shape[-1], 2))
        ours = _derivatives(partial(nn.conv2d, impl=impl, **options))(x, kernel)
        _close(ours, _derivatives(partial(_lax, **options))(x, kernel), 1e-7)


@pytest.mark.parametrize("stride", [1, 2])
def test_conv_with_many_channels_and_chunks(stride, monkeypatch):
    """The native forward role and the kernel gradient that is summed over chunks of images."""
    monkeypatch.setattr(roles, "_CACHED_ELEMENTS", 3000)
    with jax.enable_x64(True):
        x, kernel = _arrays(1, (9, 5, 6, 17), (3, 3, 17, 18))
        kernel = kernel / 12
        ours = _derivatives(partial(nn.conv2d, stride=stride, impl="bilinear"))(x, kernel)
        _close(ours, _derivatives(partial(_lax, stride=stride))(x, kernel), 1e-7)


def test_conv_impls_agree_and_run_eagerly():
    x, kernel = _arrays(2, (2, 6, 6, 3), (3, 3, 3, 4), dtype=jnp.float32)
    outs = [nn.conv2d(x, kernel, impl=impl) for impl in ("bilinear", "patches", "native", None)]
    for out in outs[1:]:
        _close(outs[0], out, 1e-5)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 3)])
def test_conv_vmap_equals_loop(axes):
    """Second order, with either operand or both batched, and grad outside or inside of vmap."""
    with jax.enable_x64(True):
        x, kernel = _arrays(3, (2, 5, 5, 2), (3, 3, 2, 3))
        parts = [(a, a * 0.5 - 0.1) for a in (x, kernel)]
        args = [a[0] if i is None else jnp.stack(a, i) for a, i in zip(parts, axes, strict=True)]

        def loss(x, kernel):
            return jnp.sum(jnp.sin(nn.conv2d(x, kernel, stride=2, impl="bilinear")))

        def of_gradient(x, kernel):
            gx, gk = jax.grad(loss, (0, 1))(x, kernel)
            return jnp.sum(gx**2) + jnp.sum(gk**3)

        second = jax.grad(of_gradient, (0, 1))
        loop = []
        for index in range(2):
            one = [a[0] if i is None else a[index] for a, i in zip(parts, axes, strict=True)]
            loop.append(jax.jit(second)(*one))
        want = jax.tree.map(lambda *leaves: jnp.stack(leaves), *loop)
        _close(jax.jit(jax.vmap(second, axes))(*args), want)

        summed = jax.grad(lambda *a: jax.vmap(of_gradient, axes)(*a).sum(), (0, 1))
        outside = jax.jit(summed)(*args)
        for got, leaf, axis in zip(outside, want, axes, strict=True):
            _close(got, leaf.sum(0) if axis is None else jnp.moveaxis(leaf, 0, axis))


def test_conv_under_remat_and_scan():
    with jax.enable_x64(True):
        x, kernel = _arrays(4, (2, 5, 5, 3), (3, 3, 3, 3))
        kernel = kernel / 5

        def loss(kernel, remat):
            def layer(x):
                return jnp.tanh(nn.conv2d(x, kernel, impl="bilinear"))

            layer = jax.checkpoint(layer) if remat else layer
            return jnp.sum(lax.scan(lambda c, _: (layer(c), None), x, None, length=3)[0] ** 2)

        @partial(jax.jit, static_argnums=1)
        def second(kernel, remat):
            return jax.grad(lambda k: jnp.sum(jax.grad(loss)(k, remat) ** 2))(kernel)

        _close(second(kernel, True), second(kernel, False))


@pytest.mark.parametrize(
    ("x", "kernel", "options", "message"),
    [
        ((4, 4, 1), (3, 3, 1, 2), {}, "N, H, W, C"),
        ((1, 4, 4, 2), (3, 3, 1, 2), {}, "third axis"),
        ((1, 4, 4, 1), (3, 3, 1, 2), {"stride": 0}, "stride"),
        ((1, 4, 4, 1), (3, 3, 1, 2), {"padding": "FULL"}, "VALID"),
        ((1, 4, 4, 1), (3, 3, 1, 2), {"impl": "fft"}, "impl"),
        ((1, 2, 4, 1), (3, 3, 1, 2), {"padding": "VALID"}, "does not fit"),
    ],
)
def test_conv_refuses(x, kernel, options, message):
    with pytest.raises(ValueError, match=message):
        nn.conv2d(jnp.ones(x), jnp.ones(kernel), **options)


def test_conv_refuses_integers_and_explicit_sharding():
    with pytest.raises(ValueError, match="floating-point images"):
        nn.conv2d(jnp.ones((1, 4, 4, 1), jnp.uint8), jnp.ones((3, 3, 1, 1)))
    with pytest.raises(ValueError, match="floating-point kernel"):
        nn.conv2d(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1), jnp.int32))
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
    x = jax.device_put(jnp.ones((2, 4, 4, 1)), jax.NamedSharding(mesh, P("d")))
    with pytest.raises(ValueError, match=r"AxisType\.Auto"):
        jax.jit(partial(nn.conv2d, impl="bilinear"))(x, jnp.ones((3, 3, 1, 1)))


def _maml_loss(apply, params, x):
    """A second-order loss of one task; any function of a gradient will do."""
    gradient = jax.grad(lambda p: jnp.sum(jnp.sin(apply(p, x))))(params)
    adapted = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    return jnp.mean(apply(adapted, x) ** 2)


def test_data_parallel_gradient_equals_single_device():
    """Two devices, each scanning its own tasks with the second-order gradient."""
    with jax.enable_x64(True):
        model = _Small()
        tasks = _arrays(5, (4, 3, 8, 8, 1))[0]
        params = model.init(jax.random.key(0), tasks[0])
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))

        def total(params, tasks):
            def add(sums, x):
                gradient = jax.grad(partial(_maml_loss, model.apply))(params, x)
                return jax.tree.map(jnp.add, sums, gradient), None

            return lax.scan(add, jax.tree.map(jnp.zeros_like, params), tasks)[0]

        def local(params, tasks):
            varying = jax.tree.map(lambda p: lax.pcast(p, "d", to="varying"), params)
            return jax.tree.map(lambda g: lax.psum(g, "d"), total(varying, tasks))

        specs = {"mesh": mesh, "in_specs": (P(), P("d")), "out_specs": P()}
        parallel = jax.jit(jax.shard_map(local, **specs))
        _close(parallel(params, tasks), jax.jit(total)(params, tasks))


def test_conv_gradient_by_a_replicated_kernel_is_summed_over_devices():
    """Images differ between devices and the kernel does not: the cast is put in by `conv2d`."""
    with jax.enable_x64(True):
        x, kernel = _arrays(6, (4, 5, 5, 2), (3, 3, 2, 3))
        mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))

        def gradient(x, kernel):
            conv = partial(nn.conv2d, impl="bilinear")
            return jax.grad(lambda k: jnp.sum(jnp.sin(conv(x, k))))(kernel)

        parallel = jax.shard_map(gradient, mesh=mesh, in_specs=(P("d"), P()), out_specs=P())
        _close(jax.jit(parallel)(x, kernel), gradient(x, kernel))


def test_max_pool_equals_reduce_window():
    x = _arrays(7, (2, 5, 7, 3), dtype=jnp.float32)[0]
    want = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    _close(nn.max_pool(x), want)
    _close(nn.mean_pool(x), np.asarray(x).mean((1, 2)), 1e-6)
    with pytest.raises(ValueError, match="2x2"):
        nn.max_pool(x[:, :1])


def _numpy_norm(x, kind, groups):
    groups = {"group": groups, "layer": 1}.get(kind)
    if groups is None:
        axes, split = (0, 1, 2), x
    else:
        axes, split = (1, 2, 4), x.reshape(*x.shape[:-1], groups, -1)
    mean, std = split.mean(axes, keepdims=True), split.std(axes, keepdims=True)
    return ((split - mean) / np.sqrt(std**2 + 1e-5)).reshape(x.shape)


@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
def test_norm_equals_numpy_and_mixes_only_the_batch(kind):
    x = _arrays(8, (3, 4, 5, 6), dtype=jnp.float32)[0] * 3 + 2
    model = nn.Norm(kind, groups=3)
    params = model.init(jax.random.key(0), x)
    assert set(params) == {"params"}
    _close(model.apply(params, x), _numpy_norm(np.asarray(x), kind, 3), 1e-4)
    moved = model.apply(params, x.at[2].multiply(2.0))[:2] - model.apply(params, x)[:2]
    assert bool(jnp.any(moved != 0)) == (kind == "batch")


def test_norm_of_none_and_what_it_refuses():
    x = jnp.ones((2, 3, 3, 5))
    y, params = nn.Norm(None).init_with_output(jax.random.key(0), x)
    assert (y == x).all() and not params
    with pytest.raises(ValueError, match="divides"):
        nn.Norm("group").init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="kind"):
        nn.Norm("instance").init(jax.random.key(0), x)


@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
def test_norm_is_sound_at_large_means_and_constant_inputs(kind):
    noise = _arrays(9, (8, 6, 6, 4), dtype=jnp.float32)[0]
    model = nn.Norm(kind, groups=2)
    params = model.init(jax.random.key(0), noise)
    _close(model.apply(params, noise + 1000), model.apply(params, noise), 2e-3)
    constant = jnp.full((3, 4, 4, 4), 0.7)

    def second(x):
        return jnp.sum(jax.grad(lambda x: jnp.sum(model.apply(params, x) ** 3))(x) ** 2)

    assert jnp.isfinite(jax.jit(jax.grad(second))(constant)).all()


def test_population_statistics_make_predictions_independent():
    train, x = _arrays(10, (4, 8, 8, 1), (4, 8, 8, 1), dtype=jnp.float32)
    model = _Small()
    apply = jax.jit(model.apply)
    params = model.init(jax.random.key(0), train)
    other = x.at[3].multiply(-2.0)
    assert jnp.any(apply(params, x)[:3] != apply(params, other)[:3])

    fixed = nn.population_statistics(model, params, train)
    _close(apply(fixed, x)[:3], apply(fixed, other)[:3], 1e-6)
    _close(apply(fixed, x)[:1], apply(fixed, x[:1]), 1e-5)
    _close(apply(fixed, train), apply(params, train), 1e-5)
    _close(nn.population_statistics(model, fixed, train), fixed, 1e-6)
    gradient = jax.jit(jax.grad(lambda v: model.apply(v, x).sum()))(fixed)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient["batch_stats"]))


def test_population_statistics_of_what_has_none():
    x = jnp.ones((2, 3))
    model = nn.MLP((4,), 2, norm="layer")
    params = model.init(jax.random.key(0), x)
    assert set(nn.population_statistics(model, params, x)) == {"params"}


@pytest.mark.parametrize(
    ("model", "shape", "width"),
    [
        (nn.Conv4(None), (2, 28, 28, 1), 64),
        (nn.Conv4(None, filters=4, form="maxpool"), (2, 84, 40, 3), 4 * 5 * 2),
        (nn.Conv4(5, filters=4, norm=None), (2, 7, 9, 1), 5),
        (nn.Conv4(5, filters=8, norm="group", form="maxpool"), (2, 16, 17, 2), 5),
        (nn.MLP((7, 6), None, norm="layer"), (2, 3), 6),
        (nn.MLP((), 4), (2, 3, 3), 4),
        (nn.ResNet12(None, widths=(2, 3, 4, 6)), (2, 16, 16, 3), 6),
        (nn.ResNet12(5, widths=(2, 3, 4, 6), norm=None), (2, 16, 16, 3), 5),
    ],
)
def test_model_shapes(model, shape, width):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones(shape))
    assert set(variables) == {"params"}
    assert jax.eval_shape(model.apply, variables, jnp.ones(shape)).shape == (2, width)


def test_conv4_has_the_papers_number_of_parameters():
    """3x3 convolutions, scale and bias per layer, 64 -> 5 linear: 112,000 and a few."""
    variables = jax.eval_shape(nn.Conv4(5).init, jax.random.key(0), jnp.ones((1, 28, 28, 1)))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert count == 9 * 64 + 3 * 9 * 64 * 64 + 4 * 2 * 64 + 64 * 5 + 5


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (nn.Conv4(5, form="maxpool"), jnp.ones((1, 15, 28, 1)), "too small"),
        (nn.Conv4(5), jnp.ones((28, 28, 1)), "N, H, W, C"),
        (nn.Conv4(5), jnp.ones((1, 28, 28, 1), jnp.uint8), "floating-point"),
        (nn.Conv4(5, form="dense"), jnp.ones((1, 28, 28, 1)), "form"),
        (nn.MLP(), jnp.ones((3,)), "floating-point inputs"),
        (nn.ResNet12(5), jnp.ones((1, 8, 8, 1)), "too small"),
        (nn.ResNet12(5, widths=(2, 2)), jnp.ones((1, 16, 16, 1)), "four widths"),
        (nn.ResNet12(5, drop_rate=1.0), jnp.ones((1, 16, 16, 1)), "rate"),
    ],
)
def test_models_refuse(model, x, message):
    with pytest.raises(ValueError, match=message):
        model.init(jax.random.key(0), x)


def test_resnet_is_stochastic_only_with_a_key():
    x = _arrays(11, (2, 16, 16, 3), dtype=jnp.float32)[0]
    model = nn.ResNet12(None, widths=(2, 3, 4, 6), drop_rate=0.3, impl="native")
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    params = jax.tree.map(lambda leaf: _arrays(0, leaf.shape, dtype=leaf.dtype)[0], shapes)
    apply = jax.jit(model.apply)
    first, second = (apply(params, (x, jax.random.key(seed))) for seed in (1, 2))
    _close(apply(params, (x, jax.random.key(1))), first)
    assert jnp.any(first != second)
    assert jnp.any(apply(params, x) != first)


@pytest.mark.parametrize("size", [1, 3])
def test_drop_block_statistics(size):
    x = jnp.ones((8, 16, 16, 16))
    out = nn.drop_block(x, jax.random.key(0), rate=0.1, size=size)
    assert abs(float((out == 0).mean()) - 0.1) < 0.015
    assert float(out.mean()) == pytest.approx(1, abs=1e-4)
    if size == 3:  # every dropped place lies in some 3x3 square that is dropped whole
        dropped = np.asarray(out == 0)
        squares = np.lib.stride_tricks.sliding_window_view(dropped, (3, 3), (1, 2)).all((-2, -1))
        covered = np.zeros_like(dropped)
        for i in range(3):
            for j in range(3):
                covered[:, i : i + 14, j : j + 14] |= squares
        assert (covered == dropped).all()


def test_drop_block_larger_than_the_image_and_refusals():
    out = nn.drop_block(jnp.ones((64, 2, 2, 4)), jax.random.key(0), rate=0.25, size=7)
    whole = (out == 0).mean((1, 2))
    assert set(np.unique(whole)) == {0.0, 1.0}
    with pytest.raises(ValueError, match="rate"):
        nn.drop_block(jnp.ones((1, 2, 2, 1)), jax.random.key(0), rate=1.0, size=1)

"""Convolution: its value and derivatives of every order, under transformations and on devices."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from arrays import Small, arrays, close
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jmeta import nn
from jmeta.nn import _roles as roles


def _lax(x, kernel, *, stride=1, padding="SAME"):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=layout)


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
        x, kernel = arrays(0, shape, (*window, shape[-1], 2))
        ours = _derivatives(partial(nn.conv2d, impl=impl, **options))(x, kernel)
        close(ours, _derivatives(partial(_lax, **options))(x, kernel), 1e-7)


@settings(max_examples=4, deadline=None)
@given(
    shape=st.tuples(*(st.integers(low, high) for low, high in ((1, 3), (5, 9), (1, 3)))),
    window=st.sampled_from([1, 2, 3, 5]),
    stride=st.sampled_from([1, 2, 3]),
    padding=st.sampled_from(["SAME", "VALID"]),
    impl=st.sampled_from(["bilinear", "patches", "native"]),
)
def test_conv1d_equals_lax_in_value_and_derivatives(shape, window, stride, padding, impl):
    def wanted(x, kernel):
        layout = ("NWC", "WIO", "NWC")
        return lax.conv_general_dilated(x, kernel, (stride,), padding, dimension_numbers=layout)

    with jax.enable_x64(True):
        x, kernel = arrays(0, shape, (window, shape[-1], 2))
        conv = partial(nn.conv1d, stride=stride, padding=padding, impl=impl)
        close(_derivatives(conv)(x, kernel), _derivatives(wanted)(x, kernel), 1e-7)


def test_conv1d_layer_and_what_it_refuses():
    model, x = nn.Conv1D(4, 5, stride=2), arrays(7, (2, 9, 9), dtype=jnp.float32)[0]
    params = model.init(jax.random.key(0), x)["params"]
    params["bias"] = jnp.arange(4.0)
    wanted = nn.conv1d(x, params["kernel"], stride=2) + jnp.arange(4.0).reshape(1, 1, 4)
    close(model.apply({"params": params}, x), wanted, 1e-6)
    for bad in (x[0], x.astype(jnp.int32)):
        with pytest.raises(ValueError, match="N, L, C"):
            model.init(jax.random.key(0), bad)
    with pytest.raises(ValueError, match="second axis"):
        nn.conv1d(x, jnp.ones((3, 2, 1)))


@pytest.mark.parametrize("stride", [1, 2])
def test_conv_with_many_channels_and_chunks(stride, monkeypatch):
    """The native forward role and the kernel gradient that is summed over chunks of images."""
    monkeypatch.setattr(roles, "CACHED_ELEMENTS", 3000)
    with jax.enable_x64(True):
        x, kernel = arrays(1, (9, 5, 6, 17), (3, 3, 17, 18))
        kernel = kernel / 12
        ours = _derivatives(partial(nn.conv2d, stride=stride, impl="bilinear"))(x, kernel)
        close(ours, _derivatives(partial(_lax, stride=stride))(x, kernel), 1e-7)


def test_conv_impls_agree_and_run_eagerly():
    x, kernel = arrays(2, (2, 6, 6, 3), (3, 3, 3, 4), dtype=jnp.float32)
    outs = [nn.conv2d(x, kernel, impl=impl) for impl in ("bilinear", "patches", "native", None)]
    for out in outs[1:]:
        close(outs[0], out, 1e-5)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 3)])
def test_conv_vmap_equals_loop(axes):
    """Second order, with either operand or both batched, and grad outside or inside of vmap."""
    with jax.enable_x64(True):
        x, kernel = arrays(3, (2, 5, 5, 2), (3, 3, 2, 3))
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
        close(jax.jit(jax.vmap(second, axes))(*args), want)

        summed = jax.grad(lambda *a: jax.vmap(of_gradient, axes)(*a).sum(), (0, 1))
        outside = jax.jit(summed)(*args)
        for got, leaf, axis in zip(outside, want, axes, strict=True):
            close(got, leaf.sum(0) if axis is None else jnp.moveaxis(leaf, 0, axis))


def test_conv_under_remat_and_scan():
    with jax.enable_x64(True):
        x, kernel = arrays(4, (2, 5, 5, 3), (3, 3, 3, 3))
        kernel = kernel / 5

        def loss(kernel, remat):
            def layer(x):
                return jnp.tanh(nn.conv2d(x, kernel, impl="bilinear"))

            layer = jax.checkpoint(layer) if remat else layer
            return jnp.sum(lax.scan(lambda c, _: (layer(c), None), x, None, length=3)[0] ** 2)

        @partial(jax.jit, static_argnums=1)
        def second(kernel, remat):
            return jax.grad(lambda k: jnp.sum(jax.grad(loss)(k, remat) ** 2))(kernel)

        close(second(kernel, True), second(kernel, False))


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
        model = Small()
        tasks = arrays(5, (4, 3, 8, 8, 1))[0]
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
        close(parallel(params, tasks), jax.jit(total)(params, tasks))


def test_conv_gradient_by_a_replicated_kernel_is_summed_over_devices():
    """Images differ between devices and the kernel does not: the cast is put in by `conv2d`."""
    with jax.enable_x64(True):
        x, kernel = arrays(6, (4, 5, 5, 2), (3, 3, 2, 3))
        mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))

        def gradient(x, kernel):
            conv = partial(nn.conv2d, impl="bilinear")
            return jax.grad(lambda k: jnp.sum(jnp.sin(conv(x, k))))(kernel)

        parallel = jax.shard_map(gradient, mesh=mesh, in_specs=(P("d"), P()), out_specs=P())
        close(jax.jit(parallel)(x, kernel), gradient(x, kernel))

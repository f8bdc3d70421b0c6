"""Convolution by kernels that write no patches: its three roles, interpreted on any device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jmeta import nn
from jmeta.nn import _conv, _implicit, _roles

LIMITS = {"highest": 2e-7, "tensorfloat32": 1e-5, "BF16_BF16_F32": 5e-3}  # relative errors


def operands(role, image, stride, tasks=2):
    """Two operands of a role with a leading axis of tasks, and the geometry."""
    draw = np.random.default_rng(0).normal
    x = draw(size=(tasks, 3, *image, 32)).astype(np.float32)
    kernel = draw(size=(tasks, 3, 3, 32, 16)).astype(np.float32)
    geometry = _conv._geometry(x[0], kernel[0], stride, "SAME")
    y = draw(size=(tasks, 3, *geometry.steps(), 16)).astype(np.float32)
    return {"out": (x, kernel), "image": (kernel, y), "kernel": (x, y)}[role], geometry


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize(("image", "stride"), [((15, 14), 1), ((6, 9), 2)])
@pytest.mark.parametrize("role", ["out", "image", "kernel"])
def test_role_equals_product_of_patches(role, image, stride, precision):
    (a, b), geometry = operands(role, image, stride)

    def one(a, b):
        return _implicit.compute(role, a, b, geometry, precision, interpret=True)

    found = jax.jit(jax.vmap(one))(a, b)
    with jax.enable_x64(True):
        exact = np.asarray(
            jax.vmap(_roles.by_patches(role, geometry))(np.float64(a), np.float64(b))
        )
    error = np.linalg.norm(np.asarray(found) - exact) / np.linalg.norm(exact)
    assert error < LIMITS[precision]


@pytest.mark.parametrize("channels", [(16, 48), (80, 160)])
def test_channels_need_be_no_power_of_two(channels):
    draw = np.random.default_rng(1).normal
    x = draw(size=(2, 5, 5, channels[0])).astype(np.float32)
    kernel = draw(size=(3, 3, *channels)).astype(np.float32)
    geometry = _conv._geometry(x, kernel, 1, "SAME")
    found = _implicit.compute("out", x, kernel, geometry, "highest", interpret=True)
    np.testing.assert_allclose(found, nn.conv2d(x, kernel), rtol=1e-4, atol=1e-4)


@pytest.fixture
def hopper(monkeypatch):
    """As if the default device had the kernels; what is lowered for a CPU has none."""
    monkeypatch.setattr(_implicit, "_suits", lambda: True)


def meta_gradient(x, kernel, y):
    """A gradient through gradients by a kernel for each task, over shared images and weights."""

    def inner(kernel, x):
        return jnp.sum(jnp.sin(nn.conv2d(x, kernel)))

    def outer(kernel, x, y):
        adapted = kernel - 0.1 * jax.grad(inner)(kernel, x)
        return jnp.sum(nn.conv2d(jnp.tanh(x), adapted) * y)

    return jax.grad(lambda kernel: jnp.sum(jax.vmap(outer, (None, 0, 0))(kernel, x, y)))(kernel)


def test_derivatives_with_a_kernel_for_each_task(hopper, monkeypatch):
    draw = np.random.default_rng(2).normal
    x = draw(size=(3, 2, 6, 6, 16)).astype(np.float32)
    kernel = draw(size=(3, 3, 16, 16)).astype(np.float32) / 12
    y = draw(size=(3, 2, 6, 6, 16)).astype(np.float32)
    found = jax.jit(meta_gradient)(x, kernel, y)
    assert "each=True" in str(jax.make_jaxpr(meta_gradient)(x, kernel, y))
    twice = jax.jit(jax.vmap(meta_gradient, (None, 0, None)))(x, np.stack([kernel, kernel]), y)
    monkeypatch.setattr(_implicit, "_suits", lambda: False)
    exact = jax.jit(meta_gradient)(x, kernel, y)
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(twice[1], exact, rtol=1e-4, atol=1e-4)


def test_a_program_for_several_platforms_has_no_kernel(hopper):
    x, kernel = jnp.ones((2, 5, 5, 16)), jnp.ones((3, 3, 16, 16))
    both = export.export(jax.jit(nn.conv2d), platforms=["cpu", "cuda"])(x, kernel)
    assert "triton" not in str(both.mlir_module())
    np.testing.assert_allclose(both.call(x, kernel), nn.conv2d(x, kernel), rtol=1e-6)


def test_kernels_are_for_float32_of_many_channels(hopper):
    geometry = _conv._geometry(jnp.ones((2, 5, 5, 16)), jnp.ones((3, 3, 16, 16)), 1, "SAME")
    x, kernel = jnp.ones((2, 5, 5, 16)), jnp.ones((3, 3, 16, 16))
    assert _implicit.fits("out", x, kernel, geometry)
    assert not _implicit.fits("out", x.astype(jnp.bfloat16), kernel, geometry)
    assert not _implicit.fits("out", x[..., :3], kernel[:, :, :3], geometry)
    assert not _implicit.fits("image", kernel[:, :, :3], x, geometry)


def test_kernels_are_for_the_gpus_they_were_measured_on():
    assert not _implicit._suits()  # the tests run on CPUs

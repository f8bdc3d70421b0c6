"""What a convolution is computed by: Winograd's tiles, patches and chunks in every role."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jmeta import nn
from jmeta.nn import _roles as roles

LAYOUT = ("NHWC", "HWIO", "NHWC")


def arrays(seed, *shapes, dtype=jnp.float64):
    random = np.random.default_rng(seed)
    return [jnp.asarray(random.normal(size=shape), dtype) for shape in shapes]


def geometry(size, padding):
    pads = [(1, 1), (1, 1)] if padding == "SAME" else [(0, 0), (0, 0)]
    return roles.Geometry(1, tuple(pads), size, (3, 3))


def reference(role, a, b, frame):
    """By `lax` and its own derivatives."""

    def conv(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), frame.pads, dimension_numbers=LAYOUT)

    if role == "out":
        return conv(a, b)
    if role == "image":
        x = jnp.zeros((len(b), *frame.image, a.shape[2]))
        return jax.vjp(lambda x: conv(x, a), x)[1](b)[0]
    kernel = jnp.zeros((3, 3, a.shape[-1], b.shape[-1]))
    return jax.vjp(lambda kernel: conv(a, kernel), kernel)[1](b)[0]


@settings(max_examples=12, deadline=None)
@given(
    role=st.sampled_from(["out", "image", "kernel"]),
    how=st.sampled_from([roles.by_winograd, roles.by_patches]),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    padding=st.sampled_from(["SAME", "VALID"]),
    counts=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
)
def test_each_way_gives_each_role(role, how, size, padding, counts):
    images, channels, features = counts
    frame = geometry(size, padding)
    with jax.enable_x64(True):
        x, kernel, y = arrays(
            0,
            (images, *size, channels),
            (3, 3, channels, features),
            (images, *frame.steps(), features),
        )
        a, b = {"out": (x, kernel), "image": (kernel, y), "kernel": (x, y)}[role]
        ours = jax.jit(how(role, frame))(a, b)
        theirs = jax.jit(partial(reference, role, frame=frame))(a, b)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axes", [pytest.param((None, None), marks=pytest.mark.slow), (0, 0)])
def test_tiles_are_differentiated_any_number_of_times(axes, monkeypatch):
    """Second order, forward over reverse, in chunks, with one kernel or a kernel for each task."""
    monkeypatch.setattr(roles, "_MANY_CHANNELS", {"out": 1, "image": 1, "kernel": 1})
    monkeypatch.setattr(roles, "CACHED_ELEMENTS", 16 * 12 * 3 * 2)

    def second(conv, x, kernel):
        def value(x, kernel):
            return jnp.sum(jnp.sin(conv(x, kernel)))

        def of_gradient(x, kernel):
            gx, gk = jax.grad(value, (0, 1))(x, kernel)
            return jnp.sum(gx**3) + jnp.sum(jnp.cos(gk))

        tangents = (jnp.cos(x), jnp.sin(kernel))
        forward = jax.jvp(jax.grad(value, (0, 1)), (x, kernel), tangents)[1]
        return jax.grad(of_gradient, (0, 1))(x, kernel), forward

    with jax.enable_x64(True):
        x, kernel = arrays(1, (7, 6, 7, 2), (3, 3, 2, 3))
        args = [x, kernel / 3] if axes == (None, None) else [x[None], kernel[None] / 3]
        results = []
        for conv in (nn.conv2d, lambda x, k: reference("out", x, k, geometry((6, 7), "SAME"))):
            run = partial(second, partial(conv))
            run = run if axes == (None, None) else jax.vmap(run, axes)
            results.append(jax.jit(run)(*args))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), *results)


@pytest.mark.parametrize(
    ("count", "chunk", "found"),
    [(300, 12, 15), (64, 7, 8), (360, 12, 10), (22, 3, 2), (7, 3, 3), (5, 1, 1), (6, 3, 3)],
)
def test_chunks_divide_the_images_into_steps_of_four(count, chunk, found):
    assert roles._near(count, chunk, 4) == found


def test_tiles_serve_only_where_they_are_exact_and_fast():
    x, kernel = (jnp.zeros(shape, jnp.float32) for shape in ((2, 8, 8, 64), (3, 3, 64, 64)))
    frame = geometry((8, 8), "SAME")
    assert roles.minimal("out", x, kernel, frame)
    assert not roles.minimal("out", x[..., :8], kernel[:, :, :8], frame)
    assert not roles.minimal("out", x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), frame)
    assert not roles.minimal("out", x, kernel, frame._replace(stride=2))
    assert not roles.minimal("image", kernel[:, :, :8], x, frame)


@pytest.mark.parametrize("impl", ["bilinear", "patches", "native"])
def test_half_precision(impl):
    x, kernel = arrays(2, (2, 6, 6, 4), (3, 3, 4, 5), dtype=jnp.bfloat16)
    kernel = kernel / 6

    def loss(x, kernel):
        out = nn.conv2d(x, kernel, impl=impl)
        return jnp.sum(out.astype(jnp.float32) ** 2)

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(x, kernel)
    exact = jax.jit(jax.value_and_grad(loss, (0, 1)))(*(a.astype(jnp.float32) for a in (x, kernel)))
    assert all(g.dtype == jnp.bfloat16 for g in gradients)
    np.testing.assert_allclose(value, exact[0], rtol=2e-2)
    for ours, theirs in zip(gradients, exact[1], strict=True):
        np.testing.assert_allclose(ours.astype(jnp.float32), theirs, atol=3e-2 * abs(theirs).max())

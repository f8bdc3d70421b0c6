"""Normalisation, pooling and the networks made of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import Small, arrays, close
from jax import export, lax

from jmeta import nn


def test_max_pool_equals_reduce_window():
    x = arrays(7, (2, 5, 7, 3), dtype=jnp.float32)[0]
    want = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    close(nn.max_pool(x), want)
    close(nn.mean_pool(x), np.asarray(x).mean((1, 2)), 1e-6)
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
    x = arrays(8, (3, 4, 5, 6), dtype=jnp.float32)[0] * 3 + 2
    model = nn.Norm(kind, groups=3)
    params = model.init(jax.random.key(0), x)
    assert set(params) == {"params"}
    close(model.apply(params, x), _numpy_norm(np.asarray(x), kind, 3), 1e-4)
    moved = model.apply(params, x.at[2].multiply(2.0))[:2] - model.apply(params, x)[:2]
    assert bool(jnp.any(moved != 0)) == (kind == "batch")


def test_norm_of_none_and_what_it_refuses():
    x = jnp.ones((2, 3, 3, 5))
    y, params = nn.Norm("none").init_with_output(jax.random.key(0), x)
    assert (y == x).all() and not params
    for model in (nn.Norm(None), nn.MLP(norm=None), nn.ResNet12(2, norm=None)):
        with pytest.raises(ValueError, match="'none'"):
            model.init(jax.random.key(0), jnp.ones((1, 16, 16, 1)))
    with pytest.raises(ValueError, match="divides"):
        nn.Norm("group").init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="normalisation 'instance'"):
        nn.Norm("instance").init(jax.random.key(0), x)


@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
def test_norm_is_sound_at_large_means_and_constant_inputs(kind):
    noise = arrays(9, (8, 6, 6, 4), dtype=jnp.float32)[0]
    model = nn.Norm(kind, groups=2)
    params = model.init(jax.random.key(0), noise)
    close(model.apply(params, noise + 1000), model.apply(params, noise), 2e-3)
    constant = jnp.full((3, 4, 4, 4), 0.7)

    def second(x):
        return jnp.sum(jax.grad(lambda x: jnp.sum(model.apply(params, x) ** 3))(x) ** 2)

    assert jnp.isfinite(jax.jit(jax.grad(second))(constant)).all()


def test_population_statistics_make_predictions_independent():
    train, x = arrays(10, (4, 8, 8, 1), (4, 8, 8, 1), dtype=jnp.float32)
    model = Small()
    apply = jax.jit(model.apply)
    params = model.init(jax.random.key(0), train)
    other = x.at[3].multiply(-2.0)
    assert jnp.any(apply(params, x)[:3] != apply(params, other)[:3])

    fixed = nn.population_statistics(model, params, train)
    close(apply(fixed, x)[:3], apply(fixed, other)[:3], 1e-6)
    close(apply(fixed, x)[:1], apply(fixed, x[:1]), 1e-5)
    close(apply(fixed, train), apply(params, train), 1e-5)
    close(nn.population_statistics(model, fixed, train), fixed, 1e-6)
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
        (nn.Conv4(None), (2, 28, 28, 1), 32),
        (nn.Conv4(None, form="strided"), (2, 28, 28, 1), 32),
        (nn.Conv4(None, filters=4), (2, 84, 40, 3), 4 * 5 * 2),
        (nn.Conv4(5, filters=4, norm="none", form="strided"), (2, 7, 9, 1), 5),
        (nn.Conv4(5, filters=8, norm="group"), (2, 16, 17, 2), 5),
        (nn.MLP((7, 6), None, norm="layer"), (2, 3), 6),
        (nn.MLP((), 4), (2, 3, 3), 4),
        (nn.ResNet12(None, widths=(2, 3, 4, 6)), (2, 16, 16, 3), 6),
        (nn.ResNet12(5, widths=(2, 3, 4, 6), norm="none"), (2, 16, 16, 3), 5),
    ],
)
def test_model_shapes(model, shape, width):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones(shape))
    assert set(variables) == {"params"}
    assert jax.eval_shape(model.apply, variables, jnp.ones(shape)).shape == (2, width)


def test_conv4_has_the_papers_number_of_parameters():
    """3x3 convolutions, scale and bias per layer, 64 -> 5 linear: 112,000 and a few."""
    model, x = nn.Conv4(5, filters=64), jnp.ones((1, 28, 28, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert count == 9 * 64 + 3 * 9 * 64 * 64 + 4 * 2 * 64 + 64 * 5 + 5


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (nn.Conv4(5), jnp.ones((1, 15, 28, 1)), "too small"),
        (nn.Conv4(5), jnp.ones((28, 28, 1)), "N, H, W, C"),
        (nn.Conv4(5), jnp.ones((2, 7)), r"jmeta\.nn\.MLP for vectors and tables"),
        (nn.Conv4(5), jnp.ones((2, 1, 28, 28)), r"x\.transpose\(0, 2, 3, 1\)"),
        (nn.Conv4(5, form="strided"), jnp.ones((2, 3, 84, 84)), "channels first"),
        (nn.ResNet12(5), jnp.ones((2, 3, 84, 84)), "channels first"),
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


@pytest.mark.parametrize("shape", [(2, 4, 32, 32), (2, 3, 5, 5), (1, 28, 28, 3)])
def test_feature_maps_are_not_taken_for_channels_first(shape):
    """A convolution in the middle of a network may see 4x32 pixels of 32 channels."""
    jax.eval_shape(nn.Conv(4).init, jax.random.key(0), jnp.ones(shape))


def test_defaults_are_those_of_the_command():
    conv, mlp = nn.Conv4(5), nn.MLP()
    assert (conv.filters, conv.norm, conv.form) == (32, "batch", "maxpool")
    assert (mlp.hidden, mlp.outputs, mlp.norm) == ((40, 40), 1, "none")
    x, init = jnp.ones((1, 3)), jax.nn.initializers.he_normal()
    plain, explicit = (m.init(jax.random.key(0), x) for m in (mlp, nn.MLP(kernel_init=init)))
    close(plain, explicit, 0)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.MLP((4,), 2, norm="batch", context=2), (3,)),
        (nn.Conv4(2, filters=4), (16, 16, 1)),
        pytest.param(
            nn.Conv4(2, filters=8, form="strided", norm="group"),
            (16, 16, 1),
            marks=pytest.mark.slow,
        ),
        pytest.param(nn.ResNet12(2, widths=(2, 3, 4, 6)), (16, 16, 3), marks=pytest.mark.slow),
        (nn.Conv1D(2), (16, 3)),
        pytest.param(Small(), (8, 8, 1), marks=pytest.mark.slow),
        (nn.Conv(64), (4, 4, 64)),  # by Winograd's tiles
    ],
)
def test_export_with_a_symbolic_batch(model, shape):
    """The forward pass, and the gradient of small networks, for batches of two sizes."""
    params = jax.jit(model.init)(jax.random.key(0), jnp.ones((1, *shape)))
    functions = [jax.jit(model.apply)]
    if not isinstance(model, nn.Conv4 | nn.ResNet12):
        functions.append(jax.jit(jax.grad(lambda p, x: jnp.sum(jnp.sin(model.apply(p, x))))))
    kind = jax.ShapeDtypeStruct((*export.symbolic_shape("b"), *shape), jnp.float32)
    for function in functions:
        exported = export.export(function)(params, kind)
        for size in (2, 5):
            x = arrays(size, (size, *shape), dtype=jnp.float32)[0]
            close(exported.call(params, x), function(params, x), 1e-4)


def test_resnet_is_stochastic_only_with_a_key():
    x = arrays(11, (2, 16, 16, 3), dtype=jnp.float32)[0]
    model = nn.ResNet12(None, widths=(2, 3, 4, 6), drop_rate=0.3, impl="native")
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    params = jax.tree.map(lambda leaf: arrays(0, leaf.shape, dtype=leaf.dtype)[0], shapes)
    apply = jax.jit(model.apply)
    first, second = (apply(params, (x, jax.random.key(seed))) for seed in (1, 2))
    close(apply(params, (x, jax.random.key(1))), first)
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

"""The sinusoid family."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta.data.functions import sample_sinusoid


def test_sinusoid_is_one_sine_per_task():
    draw = jax.jit(jax.vmap(lambda key: sample_sinusoid(key, shots=5, queries=20)))
    task = draw(jax.random.split(jax.random.key(0), 64))
    assert task.support.x.shape == task.support.y.shape == (64, 5, 1)
    assert task.query.x.shape == task.query.y.shape == (64, 20, 1)
    assert task.support.x.dtype == task.query.y.dtype == jnp.float32
    # y = A sin(x - p) = a sin x + b cos x: least squares on the support must predict the query.
    for t in range(64):
        basis = [
            np.concatenate([np.sin(x), np.cos(x)], 1) for x in (task.support.x[t], task.query.x[t])
        ]
        ab = np.linalg.lstsq(basis[0], task.support.y[t], rcond=None)[0]
        np.testing.assert_allclose(basis[1] @ ab, task.query.y[t], atol=2e-3)
        amplitude, phase = np.hypot(*ab[:, 0]), np.arctan2(-ab[1, 0], ab[0, 0])
        assert 0.1 - 2e-3 <= amplitude <= 5 + 2e-3
        assert -2e-2 <= phase <= np.pi + 2e-2


def test_sinusoid_uses_its_intervals():
    task = sample_sinusoid(
        jax.random.key(1),
        shots=500,
        queries=1,
        amplitude=(2.0, 2.0),
        phase=(1.0, 1.0),
        x=(0.0, 3.0),
    )
    np.testing.assert_allclose(task.support.y, 2 * np.sin(task.support.x - 1), atol=1e-5)
    assert 0 <= task.support.x.min() < 0.1
    assert 2.9 < task.support.x.max() < 3


def test_sinusoid_noise_has_its_deviation():
    clean = sample_sinusoid(jax.random.key(2), shots=4000, queries=1)
    noisy = sample_sinusoid(jax.random.key(2), shots=4000, queries=1, noise=0.5)
    np.testing.assert_array_equal(clean.support.x, noisy.support.x)
    assert abs(float(jnp.std(noisy.support.y - clean.support.y)) - 0.5) < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": 0}, "at least 1 of each"),
        ({"amplitude": (2.0, 1.0)}, "amplitude="),
        ({"x": (0.0, float("inf"))}, "x="),
        ({"noise": -1.0}, "noise=-1.0"),
        ({"noise": float("nan")}, "noise=nan"),
    ],
)
def test_sinusoid_errors(options, message):
    with pytest.raises(ValueError, match=message):
        sample_sinusoid(jax.random.key(0), **{"shots": 1, "queries": 1, **options})

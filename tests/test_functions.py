"""Families of functions: their laws, and Gaussian-process regression against scikit-learn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import without_keys
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor, kernels

from jmeta.core import Batch
from jmeta.data import (
    FAMILIES,
    FORMULAS,
    gaussian_process_posterior,
    matern,
    periodic,
    sample_damped,
    sample_gaussian_process,
    sample_harmonic,
    sample_sinusoid,
    sample_sinusoid_or_line,
    sample_step,
    squared_exponential,
)

FEW = settings(max_examples=25, deadline=None, derandomize=True)
SEEDS = st.integers(0, 2**31)
KERNELS = {  # ours, and scikit-learn's, of length 0.7 and deviation 1.3
    "squared exponential": (squared_exponential, kernels.RBF(0.7)),
    "matern": (matern, kernels.Matern(0.7, nu=2.5)),
    "periodic": (partial(periodic, period=1.7), kernels.ExpSineSquared(0.7, 1.7)),
}


def _drawn(sample, tasks=64, **options):
    """A batch of tasks, drawn in one compiled program."""
    draw = jax.jit(jax.vmap(partial(sample, shots=5, queries=20, **options)))
    return draw(jax.random.split(jax.random.key(0), tasks))


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


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_a_pure_function_of_its_key(name):
    sample = partial(FAMILIES[name], shots=3, queries=4)
    keys = jax.random.split(jax.random.key(1), 2)
    together = jax.jit(jax.vmap(sample))(keys)
    alone = jax.jit(sample)(keys[1])
    assert together.query.key[1] == alone.query.key
    together, alone = without_keys(together), without_keys(alone)
    assert [leaf.shape for leaf in jax.tree.leaves(alone)] == [(3, 1), (3, 1), (4, 1), (4, 1)]
    assert {leaf.dtype for leaf in jax.tree.leaves(alone)} == {jnp.dtype("float32")}
    for both, one in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(both[1], one, rtol=1e-5, atol=1e-5)
        assert np.isfinite(both).all() and not np.allclose(both[0], both[1])
    assert name in FORMULAS
    with pytest.raises(ValueError, match="at least 1 of each"):
        FAMILIES[name](keys[0], shots=0, queries=1)
    with pytest.raises(ValueError, match="noise=-1"):
        FAMILIES[name](keys[0], shots=1, queries=1, noise=-1.0)


def test_harmonics_are_two_sines_in_a_window():
    task = _drawn(sample_harmonic, frequency=(6.0, 6.0), noise=0.0)
    amplitudes = []
    for t in range(64):
        basis = [
            np.concatenate([f(k * np.asarray(x)) for k in (6, 12) for f in (np.sin, np.cos)], 1)
            for x in (task.support.x[t], task.query.x[t])
        ]
        fit, _, _, sizes = np.linalg.lstsq(basis[1], task.query.y[t], rcond=None)
        if sizes[-1] > 0.5:  # the query points tell the four numbers well
            np.testing.assert_allclose(basis[0] @ fit, task.support.y[t], atol=5e-3)
            amplitudes += [np.hypot(*fit[:2, 0]), np.hypot(*fit[2:, 0])]
    assert len(amplitudes) > 80
    assert 0.75 < np.sqrt(np.mean(np.square(amplitudes))) < 1.25  # E a^2 = 1
    centres = np.asarray(task.query.x).mean((1, 2))
    assert -5 < centres.min() < -3 and 3 < centres.max() < 5
    assert 0.9 < np.asarray(task.query.x).std(axis=1).mean() < 1.05


def test_half_of_the_tasks_are_lines_and_half_sines():
    task = _drawn(sample_sinusoid_or_line, tasks=400, noise=0.0)
    lines = 0
    for x, y in zip(np.asarray(task.query.x), np.asarray(task.query.y), strict=True):
        (slope, intercept), *_ = np.linalg.lstsq(np.concatenate([x, 0 * x + 1], 1), y, rcond=None)
        if np.abs(y - slope * x - intercept).max() < 1e-3:
            lines += 1
            assert abs(slope) <= 3.01 and abs(intercept) <= 3.01
        else:
            basis = np.concatenate([np.sin(x), np.cos(x)], 1)
            wave = np.linalg.lstsq(basis, y, rcond=None)[0]
            np.testing.assert_allclose(basis @ wave, y, atol=2e-3)
            assert 0.09 < np.hypot(*wave[:, 0]) < 5.01
    assert abs(lines - 200) < 4 * 10  # four deviations of 400 throws of a coin


@FEW
@given(SEEDS)
def test_steps_alternate_between_their_levels(seed):
    task = _steps(jax.random.key(seed))
    order = np.argsort(np.asarray(task.query.x)[:, 0])
    x, y = (np.asarray(part)[order, 0] for part in (task.query.x, task.query.y))
    assert set(np.unique(y)) <= {-2.0, 3.0}
    jumps = np.flatnonzero(np.diff(y))
    assert len(jumps) <= 3
    assert all(-2.5 <= x[j + 1] and x[j] <= 2.5 for j in jumps)
    assert (y[x < -2.5] == -2).all() and (y[x > 2.5] == 3).all()


_steps = jax.jit(partial(sample_step, shots=1, queries=200, levels=(-2.0, 3.0), noise=0.0))


def test_steps_have_three_switches():
    task = jax.jit(jax.vmap(partial(sample_step, shots=1, queries=400, noise=0.0)))(
        jax.random.split(jax.random.key(0), 50)
    )
    order = np.argsort(np.asarray(task.query.x)[..., 0])
    sorted_y = np.take_along_axis(np.asarray(task.query.y)[..., 0], order, 1)
    jumps = (np.diff(sorted_y) != 0).sum(1)
    assert set(jumps) <= {1, 3} and (jumps == 3).mean() > 0.8
    with pytest.raises(ValueError, match="switches=0"):
        sample_step(jax.random.key(0), shots=1, queries=1, switches=0)


_damped = jax.jit(partial(sample_damped, shots=5, queries=20))
_springs = jax.jit(
    partial(
        *(sample_damped,),
        **{"shots": 5, "queries": 20, "amplitude": (2.0, 2.0), "damping": (0.3, 0.3)},
        **{"frequency": (2.0, 2.0), "phase": (1.0, 1.0)},
    )
)


@FEW
@given(SEEDS)
def test_damped_oscillations_stay_in_their_envelope(seed):
    key = jax.random.key(seed)
    for batch in without_keys(_damped(key)):
        assert (batch.x >= 0).all() and (batch.x < 10).all()
        assert (abs(batch.y) <= 5 * jnp.exp(-0.1 * batch.x) + 1e-6).all()
    x, y, _ = _springs(key).support
    np.testing.assert_allclose(y, 2 * np.exp(-0.3 * x) * np.sin(2 * x + 1), atol=2e-5)


@FEW
@given(SEEDS, st.floats(-3, 3, width=32), st.floats(0, 3, width=32))
def test_inputs_stay_in_their_interval(seed, low, width):
    key, x = jax.random.key(seed), (low, low + width)
    for sample in (sample_sinusoid, sample_step):
        points = sample(key, shots=3, queries=4, x=x).query.x
        assert (points >= x[0]).all() and (points <= x[1]).all()


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_kernels_equal_those_of_scikit_learn(kernel):
    ours, theirs = kernel
    left, right = np.random.default_rng(0).normal(size=(2, 6, 1)).astype(np.float32)
    found = jax.jit(partial(ours, length=0.7, scale=1.3))(left, right)
    np.testing.assert_allclose(found, 1.3**2 * theirs(left, right), rtol=2e-5, atol=1e-6)
    gradient = jax.jit(jax.grad(lambda x: ours(x, x, length=0.7).sum()))(jnp.ones((3, 1)))
    assert np.isfinite(gradient).all()  # also between equal points


@pytest.mark.parametrize("kernel", [squared_exponential, matern, periodic])
def test_draws_of_a_process_have_its_covariance(kernel):
    options = {"shots": 4, "queries": 4, "kernel": kernel, "noise": 0.3}
    fixed = partial(sample_gaussian_process, length=(0.5, 0.5), scale=(1.5, 1.5), **options)

    def product(key):
        support, query = fixed(key)
        x, y = (jnp.concatenate([getattr(support, of), getattr(query, of)]) for of in "xy")
        covariance = kernel(x, x, length=0.5, scale=1.5) + 0.3**2 * jnp.eye(8)
        half = jnp.linalg.cholesky(covariance)
        return jax.scipy.linalg.solve_triangular(half, y, lower=True)[:, 0]

    # the inputs differ from task to task, so the targets are whitened by what they should have
    z = np.asarray(jax.jit(jax.vmap(product))(jax.random.split(jax.random.key(0), 20_000)))
    np.testing.assert_allclose(np.cov(z.T), np.eye(8), atol=0.05)  # 0.007 and 0.01 are deviations
    np.testing.assert_allclose(z.mean(0), 0, atol=0.035)
    assert abs((z**4).mean() - 3) < 0.15  # normal


def test_a_process_has_the_scale_and_the_length_asked_for():
    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def values(key, x):
        covariance = squared_exponential(x, x, length=0.4, scale=0.8)
        return jnp.linalg.cholesky(covariance + 1e-5 * jnp.eye(3)) @ jax.random.normal(key, (3,))

    x = jnp.array([[0.0], [0.4], [1.0]])
    draws = np.asarray(values(jax.random.split(jax.random.key(0), 40_000), x))
    wanted = 0.64 * np.exp([[0, -0.5, -3.125], [-0.5, 0, -1.125], [-3.125, -1.125, 0]])
    np.testing.assert_allclose(np.cov(draws.T), wanted, atol=0.02)
    wide = _drawn(sample_gaussian_process, tasks=2000, length=(0.01, 0.01), scale=(0.5, 0.5))
    assert abs(float(jnp.std(wide.query.y)) - 0.5) < 0.02


def test_smooth_and_large_draws_are_finite():
    options = {"noise": 0.0, "length": (20.0, 20.0)}
    for kernel in (squared_exponential, matern, periodic):
        sample = partial(sample_gaussian_process, shots=5, queries=150, kernel=kernel, **options)
        task = jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(0), 8))
        assert np.isfinite(task.query.y).all()
    nothing = _drawn(sample_gaussian_process, tasks=2, scale=(0.0, 0.0), noise=0.0)
    np.testing.assert_allclose(nothing.query.y, jnp.zeros_like(nothing.query.y), atol=1e-18)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("double", [False, True])
def test_the_posterior_equals_scikit_learn(kernel, double):
    ours, theirs = kernel
    rng = np.random.default_rng(0)
    X, x = rng.uniform(-2, 2, (12, 1)), np.linspace(-3, 3, 40)[:, None]
    Y = np.sin(2 * X) + 0.1 * rng.normal(size=X.shape)
    covariance = kernels.ConstantKernel(1.3**2) * theirs
    judge = GaussianProcessRegressor(covariance, alpha=0.1**2, optimizer=None).fit(X, Y[:, 0])
    mean, deviation = judge.predict(x, return_std=True)
    posterior = partial(gaussian_process_posterior, partial(ours, length=0.7, scale=1.3))
    with jax.enable_x64(double):
        found = jax.jit(posterior)(Batch(jnp.asarray(X), jnp.asarray(Y)), jnp.asarray(x), 0.1)
        error = max(
            np.abs(found.mean[:, 0] - mean).max(),
            np.abs(found.variance[:, 0] - deviation**2).max(),
        )
    print(f"error {error:.1e}")
    assert error < (1e-8 if double else 1e-4)
    assert found.mean.shape == found.variance.shape == (40, 1)


def test_the_posterior_is_the_best_prediction_of_a_draw():
    fixed = {"length": (0.5, 0.5), "scale": (1.0, 1.0), "noise": 0.1}
    task = _drawn(sample_gaussian_process, tasks=2000, **fixed)
    predict = partial(gaussian_process_posterior, partial(squared_exponential, length=0.5))
    found = jax.jit(jax.vmap(lambda t: predict(t.support, t.query.x, 0.1)))(task)
    pulls = (task.query.y - found.mean) / jnp.sqrt(found.variance + 0.1**2)
    assert abs(float(jnp.mean(pulls**2)) - 1) < 0.05


def test_process_errors():
    key, one = jax.random.key(0), jnp.ones((1, 1))
    for options, message in (
        ({"length": (0.0, 1.0)}, "lengths above 0"),
        ({"scale": (-1.0, 1.0)}, "scales of at least 0"),
        ({"x": (1.0, 0.0)}, "x="),
    ):
        with pytest.raises(ValueError, match=message):
            sample_gaussian_process(key, shots=1, queries=1, **options)
    with pytest.raises(ValueError, match="give every array two axes"):
        gaussian_process_posterior(squared_exponential, Batch(one, one[0]), one, 0.1)

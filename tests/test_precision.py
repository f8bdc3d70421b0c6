"""Float32 results that are right where products of large numbers would lose all digits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jmeta
from jmeta import data, learners, losses
from jmeta.core import Batch
from jmeta.distances import euclidean, squared_euclidean


def _draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("distance", [squared_euclidean, euclidean])
@pytest.mark.parametrize("shift", [0.0, 1e4, -1e6])
def test_distances_survive_a_shift(distance, shift: float) -> None:
    left, right = (np.asarray(_draw(seed, 7, 16) + shift, np.float32) for seed in (0, 1))
    exact = ((np.float64(left)[:, None] - np.float64(right)[None]) ** 2).sum(-1)
    wanted = np.sqrt(exact) if distance is euclidean else exact
    np.testing.assert_allclose(distance(left, right), wanted, rtol=1e-4)


def test_shifted_features_are_classified_as_before() -> None:
    centres = 3 * _draw(0, 5, 8)
    y = np.repeat(np.arange(5), 4)
    support, query = (centres[y] + _draw(seed, 20, 8) for seed in (1, 2))
    head = jmeta.prototypical(5)

    def right(shift: float) -> float:
        x, q = (jnp.asarray(z + shift, jnp.float32) for z in (support, query))
        return float(jmeta.metrics.accuracy(head.predict(head.fit(x, y), q), y))

    assert right(1e4) == right(0.0) > 0.9


@pytest.mark.parametrize(("examples", "features"), [(100, 8), (8, 100), (30, 30)])
def test_ridge_keeps_its_digits(examples: int, features: int) -> None:
    x, y = _draw(0, examples, features) + 1.0, np.arange(examples) % 4
    inverse = np.linalg.inv(x.T @ x + 0.01 * np.eye(features))
    wanted = inverse @ x.T @ np.eye(4)[y]
    found = jmeta.ridge(4, strength=0.01).fit(jnp.asarray(x, jnp.float32), y).weights
    assert np.linalg.norm(found - wanted) < 1e-3 * np.linalg.norm(wanted)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda v: jmeta.ridge(2, strength=v), "strength"),
        (lambda v: learners.logistic(2, strength=v), "strength"),
        (lambda v: learners.svm(2, capacity=v), "capacity"),
        (lambda v: jmeta.prototypical(2, scale=v), "scale"),
        (lambda v: jmeta.matching(2, scale=v), "scale"),
        (lambda v: losses.ntxent(jnp.eye(2), jnp.arange(2), temperature=v), "temperature"),
        (lambda v: losses.sup_con(jnp.eye(2), jnp.arange(2), temperature=v), "temperature"),
        (lambda v: jmeta.implicit(optax.sgd(1.0), 1, strength=v), "strength"),
    ],
)
def test_strengths_that_mean_nothing_are_refused(make, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        make(value)


def test_a_posterior_says_which_noise_it_assumed() -> None:
    kernel = partial(data.squared_exponential, length=0.5)
    support = Batch(jnp.linspace(0, 1, 20)[:, None], jnp.zeros((20, 1)))
    posterior = partial(data.gaussian_process_posterior, kernel, support, jnp.zeros((1, 1)))
    assert posterior(0.1).noise == pytest.approx(0.1)
    assert 1e-3 < posterior(1e-6).noise < 1e-2


def test_nothing_is_contrasted_without_a_negative() -> None:
    z = jnp.asarray(_draw(0, 4, 3), jnp.float32)
    value, slope = jax.jit(jax.value_and_grad(losses.sup_con))(z, jnp.zeros(4, int))
    assert value == 0 and not slope.any()
    assert jax.jit(losses.ntxent)(z, jnp.zeros(4, int)) == 0


def test_what_stands_in_a_padded_row_reaches_no_head() -> None:
    x, y = jnp.asarray(_draw(0, 5, 6), jnp.float32), jnp.array([0, 1, 0, 1, -1])
    poisoned = x.at[4].set(jnp.nan)
    makers = [
        jmeta.prototypical,
        jmeta.matching,
        jmeta.ridge,
        learners.logistic,
        learners.svm,
        partial(learners.weighted_l1, alpha=-jnp.ones(6), bias=jnp.zeros(())),
    ]
    for make in makers:
        head = make(2)

        @jax.jit
        @jax.value_and_grad
        def loss(z, head=head):
            return losses.cross_entropy(head.predict(head.fit(z, y), x), y)

        value, slope = loss(poisoned)
        assert np.isfinite(value) and np.isfinite(slope).all()
        assert value == pytest.approx(float(loss(x.at[4].set(0.0))[0]), rel=1e-5)


def test_class_means_do_not_overflow_in_half_precision():
    x, y = jnp.full((3000, 2), 230.0, jnp.float16), jnp.arange(3000) % 2
    assert (learners.class_means(x, y, ways=2).means == 230).all()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("make", [jmeta.ridge, learners.logistic, learners.svm])
def test_closed_form_heads_solve_half_precision_in_float32(make, dtype):
    x, y = jnp.array([[1.0, 0.5], [-1.0, 0.25]], dtype), jnp.array([0, 1])
    head = make(2)
    found = head.predict(head.fit(x, y), x)
    wide = x.astype(jnp.float32)
    np.testing.assert_array_equal(found, head.predict(head.fit(wide, y), wide))

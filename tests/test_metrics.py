"""Metrics and objectives against scikit-learn and NumPy loops; intervals; padding."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import few
from sklearn import metrics as reference

import jmeta
from jmeta import losses, metrics, nn


def _random(seed: int, count: int = 40, ways: int = 4):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, ways)).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(rng.integers(0, ways, count))


def _softmax(logits: jax.Array) -> np.ndarray:
    powers = np.exp(np.asarray(logits, np.float64))
    return powers / powers.sum(-1, keepdims=True)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_scores_equal_scikit_learn(seed: int) -> None:
    logits, labels = _random(seed)
    guess = np.argmax(logits, -1)
    wanted = reference.precision_recall_fscore_support(
        labels, guess, labels=range(4), zero_division=0
    )
    found = metrics.class_scores(logits, labels)
    for left, right in zip(found, (*wanted, np.bincount(guess, minlength=4)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6)
    table = reference.confusion_matrix(labels, guess, labels=range(4))
    np.testing.assert_array_equal(metrics.confusion(logits, labels), table)
    np.testing.assert_allclose(
        metrics.accuracy(logits, labels), reference.accuracy_score(labels, guess), rtol=1e-6
    )
    np.testing.assert_allclose(
        losses.cross_entropy(logits, labels),
        -np.mean(np.log(_softmax(logits)[np.arange(len(labels)), labels])),
        rtol=1e-5,
    )


_macro = jax.jit(lambda logits, labels: metrics.macro(metrics.class_scores(logits, labels)))


@given(seed=st.integers(0, 10_000), count=st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_macro_scores_equal_scikit_learn_on_the_labels_that_occur(seed: int, count: int) -> None:
    """Few examples of many classes: some are absent, and some of those are predicted."""
    logits, labels = _random(seed, count=count, ways=5)
    found = _macro(logits, labels)
    wanted = reference.precision_recall_fscore_support(
        labels, np.argmax(logits, -1), average="macro", zero_division=0
    )
    np.testing.assert_allclose(found[:3], wanted[:3], rtol=1e-6)


@pytest.mark.parametrize("dtype", few((jnp.bfloat16, jnp.float16), "bfloat16"))
def test_metrics_do_not_follow_the_precision_of_the_logits(dtype) -> None:
    logits, labels = _random(7, count=2000)
    low = (8 * logits).astype(dtype)
    exact = low.astype(jnp.float32)
    for metric in (
        metrics.accuracy,
        metrics.confusion,
        metrics.class_scores,
        metrics.negative_log_likelihood,
        metrics.calibration_error,
    ):
        read = jax.jit(metric)
        jax.tree.map(np.testing.assert_array_equal, read(low, labels), read(exact, labels))
    table = metrics.confusion(
        jnp.tile(jnp.array([1.0, 0.0], dtype), (1001, 1)), jnp.zeros(1001, int)
    )
    assert table.sum() == 1001
    report = metrics.regression_report(jnp.ones((3, 1001, 1), dtype), jnp.zeros((3, 1001, 1)))
    assert report["mse"].mean == 1


def test_logits_that_are_not_numbers_are_never_right() -> None:
    logits = jnp.eye(3).at[0].set(jnp.nan)
    labels = jnp.arange(3)
    assert metrics.accuracy(logits, labels) == pytest.approx(2 / 3)
    assert metrics.accuracy(jnp.full((3, 3), jnp.nan), labels) == 0
    scores = metrics.class_scores(logits, labels)
    assert scores.recall.tolist() == [0, 1, 1] and scores.support.tolist() == [1, 1, 1]
    assert metrics.confusion(logits, labels).sum() == 2
    assert np.isnan(metrics.negative_log_likelihood(logits, labels))
    assert np.isnan(metrics.calibration_error(logits, labels))
    many = jnp.tile(jnp.eye(3), (1000, 1))
    assert np.isnan(metrics.calibration_error(many.at[0].set(jnp.nan), jnp.tile(labels, 1000)))


OVER_LABELS = {
    "cross_entropy": losses.cross_entropy,
    "relation_error": losses.relation_error,
    "accuracy": metrics.accuracy,
    "confusion": metrics.confusion,
    "calibration_error": metrics.calibration_error,
}


@pytest.mark.parametrize("name", OVER_LABELS)
@pytest.mark.parametrize("wrong", [5, -2])
def test_a_label_out_of_range_is_refused_or_is_nan(name: str, wrong: int) -> None:
    logits, labels = jnp.zeros((3, 5)), jnp.array([0, wrong, -1])
    with pytest.raises(ValueError, match=rf"{name}.*label {wrong} for 5 classes.*0 to 4"):
        OVER_LABELS[name](logits, labels)
    assert np.isnan(jax.jit(OVER_LABELS[name])(logits, labels)).any()


@pytest.mark.parametrize("objective", [losses.cross_entropy, losses.relation_error])
def test_a_traced_label_out_of_range_makes_the_gradient_nan_too(objective) -> None:
    found = jax.jit(jax.grad(objective))(jnp.zeros((2, 5)), jnp.array([0, 7]))
    assert np.isnan(found[1]).any()


def test_calibration_error_equals_a_loop() -> None:
    logits, labels = _random(3, count=500)
    odds = np.asarray(jax.nn.softmax(logits), np.float64)
    top, right = odds.max(-1), odds.argmax(-1) == np.asarray(labels)
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (top > low) & (top <= low + 1 / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - top[inside].mean())
    np.testing.assert_allclose(metrics.calibration_error(logits, labels), total, rtol=1e-4)


def test_padded_examples_count_for_nothing() -> None:
    logits, labels = _random(5)
    padded = jnp.concatenate([labels, -jnp.ones(7, labels.dtype)])
    more = jnp.concatenate([logits, jnp.full((7, 4), 50.0)])
    for metric in (metrics.accuracy, losses.cross_entropy, metrics.calibration_error):
        np.testing.assert_allclose(metric(more, padded), metric(logits, labels), rtol=1e-6)


def test_estimates() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    found = metrics.estimate(jnp.asarray(values))
    np.testing.assert_allclose(found.ci95, 1.96 * values.std(ddof=1) / np.sqrt(1000), rtol=1e-5)
    assert found.episodes == 1000
    shifted = metrics.paired(jnp.asarray(values + 0.5), jnp.asarray(values))
    np.testing.assert_allclose(shifted[:2], (0.5, 0.0), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: losses.cross_entropy(jnp.ones((2, 3)), jnp.ones(2)), "integer labels"),
        (lambda: losses.cross_entropy(jnp.ones((2, 3)), jnp.ones(3, int)), r"logits \[Q, N\]"),
        (lambda: losses.mean_squared_error(jnp.ones((2, 1)), jnp.ones(2)), "equal shapes"),
        (lambda: metrics.paired(jnp.ones(2), jnp.ones(3)), "same episodes"),
        (lambda: jmeta.prototypical(0), "ways >= 1"),
    ],
)
def test_bad_input(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


SCALED = nn.from_functions(lambda key, x: jnp.ones(()), lambda w, x: x * w)
LINEAR = nn.from_functions(lambda key, x: jnp.zeros((3, 3)), lambda w, x: x @ w)


def _sample(key: jax.Array) -> jmeta.Task:
    y = jnp.arange(6) % 3
    x = jnp.eye(3)[y] + 0.7 * jax.random.normal(key, (6, 3))
    return jmeta.Task(jmeta.Batch(x[:3], y[:3]), jmeta.Batch(x[3:], y[3:]))


@pytest.mark.slow
def test_evaluation_is_determined_by_its_key_and_shared_by_learners() -> None:
    learner = jmeta.metric(SCALED, jmeta.prototypical(3))
    arguments = (learner, jnp.ones(()), _sample, jax.random.key(0))
    one = jmeta.evaluate(*arguments, episodes=50)
    two = jmeta.evaluate(*arguments, episodes=50, chunk=7, mesh=jmeta.task_mesh(2))
    assert one.keys() == {"accuracy", "precision", "recall", "f1", "nll", "ece"}
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5)
    assert 0.4 < one["accuracy"].mean < 1
    with pytest.raises(ValueError, match="episodes >= 1"):
        jmeta.evaluate(*arguments, episodes=0)


def test_evaluation_on_two_devices_adapts_as_on_one() -> None:
    learner = jmeta.maml(LINEAR, losses.cross_entropy, jmeta.unrolled(optax.sgd(0.5), 3))
    arguments = (learner, jnp.zeros((3, 3)), _sample, jax.random.key(0))
    one = jmeta.predictions(*arguments, episodes=6)[0]
    two = jmeta.predictions(*arguments, episodes=6, mesh=jmeta.task_mesh(2))[0]
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_regression_report() -> None:
    found = metrics.regression_report(jnp.ones((5, 4, 1)), jnp.zeros((5, 4, 1)))
    assert found["mse"] == metrics.Estimate(1.0, 0.0, 5)


def test_scores_of_a_traced_label_out_of_range_are_nan():
    scores = _macro(5 * jnp.eye(3), jnp.array([0, 1, 7]))
    assert all(np.isnan(each) for each in scores)

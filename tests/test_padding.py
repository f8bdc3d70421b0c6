"""Padded examples, whose label is -1, change no prediction, loss or gradient."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learners import close, double
from quick import few

import jmeta
from jmeta import Batch, Task, nn
from jmeta.core import Padded
from jmeta.experiments import completed
from jmeta.losses import cross_entropy
from jmeta.train import ALGORITHMS, example_task, experiment, open_experiment

KEY = jax.random.key(0)
CLASSIFIERS = [name for name, kind in ALGORITHMS.items() if "classes" in kind.kinds]
TRANSDUCTIVE = {"network": "mlp", "norm": "batch", "hidden": (8, 8)}
CONVOLUTION = {"network": "conv4", "norm": "batch", "filters": 4}


def padded(batch: Batch, count: int, fill: float = np.nan) -> Batch:
    """The batch followed by `count` padded examples."""
    more = jnp.full((count, *batch.x.shape[1:]), fill, batch.x.dtype)
    y = jnp.concatenate([batch.y, jnp.full(count, -1, batch.y.dtype)])
    return batch._replace(x=jnp.concatenate([batch.x, more]), y=y)


def require_padding_ignored(loss: Any, params: Any, task: Task) -> None:
    """Equal loss, outputs and gradient with and without padding."""
    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    longer = Task(padded(task.support, 3), padded(task.query, 2))
    (value, outputs), slope = gradient(params, task)
    (again, more), other = gradient(params, longer)
    close((again, more[: len(outputs)], other), (value, outputs, slope), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", few(CLASSIFIERS, "protonet"))
def test_every_classifier_ignores_padding_with_batch_statistics(name: str) -> None:
    _check(name, TRANSDUCTIVE)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_ignores_padding_over_a_convolution(name: str) -> None:
    with jax.enable_x64(name == "proto-maml"):  # whose gradient float32 has to 1.1e-5 only
        _check(name, CONVOLUTION)


def _check(name: str, network: dict[str, Any]) -> None:
    made = experiment(name, ways=3, queries=2, train_queries=2, tasks=2, **network)
    domain, method = open_experiment(completed(made))
    example = example_task(domain)
    params = jax.jit(lambda key: method.learner.init(key, example))(KEY)
    task = jax.jit(domain.sample_train)(jax.random.key(1), domain.train)
    if jax.config.jax_enable_x64:
        params, task = double(params), double(task)
    require_padding_ignored(method.loss(0), params, task)


def _images(key: jax.Array, count: int) -> Batch:
    y = jnp.arange(count) % 2
    return Batch(jax.random.uniform(key, (count, 16, 16, 1)), y, key)


NETWORKS = {
    "conv4": nn.Conv4(None, filters=4, norm="batch"),
    "resnet12": nn.ResNet12(None, widths=(4, 4, 4, 4), norm="batch"),
    "mlp": nn.MLP((8,), 4, norm="batch"),
}


@pytest.mark.parametrize("name", few(NETWORKS, "mlp"))
def test_every_network_leaves_padding_out_of_its_moments(name: str) -> None:
    learner = jmeta.metric(NETWORKS[name], jmeta.prototypical(2))
    task = Task(_images(KEY, 4), _images(jax.random.key(1), 6))
    loss = jmeta.episodic(learner, cross_entropy)
    require_padding_ignored(loss, jax.jit(learner.init)(KEY, task), task)


def test_population_statistics_leave_padding_out() -> None:
    network, batch = NETWORKS["conv4"], _images(KEY, 4)
    params = jax.jit(network.init)(KEY, batch.x)
    longer = padded(batch, 3, fill=9.0)
    fixed = jax.jit(partial(nn.population_statistics, network))
    close(fixed(params, longer.x, real=longer.y != -1), fixed(params, batch.x))


@pytest.mark.slow
def test_marks_pass_through_wrappers() -> None:
    sgd = optax.sgd(0.1)
    network = nn.MLP((6,), 2, norm="batch")
    maml = lambda rate: jmeta.maml(network, cross_entropy, jmeta.unrolled(optax.sgd(rate), 1))  # noqa: E731
    learners = {
        "learned": jmeta.learned(maml, 0.1),
        "inductive": jmeta.inductive(maml(0.1)),
        "features": jmeta.learners.on_features(
            nn.MLP((6,), 4, norm="batch"),
            jmeta.maml(network, cross_entropy, jmeta.unrolled(sgd, 1)),
        ),
        "path": jmeta.maml(network, cross_entropy, jmeta.unrolled(sgd, 2, path=True)),
    }
    task = Task(*(batch._replace(x=batch.x[:, :2, :2]) for batch in (_images(KEY, 4),) * 2))
    for name, learner in learners.items():
        loss = jmeta.episodic(learner, cross_entropy)
        if name == "path":
            loss = jmeta.multi_step(learner, cross_entropy, jnp.ones(2) / 2)
        require_padding_ignored(loss, jax.jit(learner.init)(KEY, task), task)


@pytest.mark.parametrize("norm", few(("batch", "none"), "batch"))
def test_proto_maml_ignores_padding(norm: str) -> None:
    solver = jmeta.unrolled(optax.sgd(0.1), 1)
    learner = jmeta.proto_maml(nn.MLP((6,), 3, norm=norm), cross_entropy, solver, ways=2)
    assert learner.masked == (norm == "batch")
    task = Task(*(batch._replace(x=batch.x[:, :2, :2]) for batch in (_images(KEY, 4),) * 2))
    loss = jmeta.episodic(learner, cross_entropy)
    require_padding_ignored(loss, jax.jit(learner.init)(KEY, task), task)


def test_a_traced_support_label_out_of_range_makes_every_logit_nan() -> None:
    batch = _images(KEY, 4)
    for head in (jmeta.prototypical(2), jmeta.matching(2), jmeta.ridge(2)):
        learner = jmeta.metric(nn.MLP((), 3), head)
        params = jax.jit(learner.init)(KEY, Task(batch, batch))
        wrong = batch._replace(y=batch.y.at[0].set(7))
        adapted = jax.jit(learner.adapt)(params, wrong)
        assert np.isnan(jax.jit(learner.predict)(adapted, batch.x)).all()


def test_evaluation_ignores_padded_queries() -> None:
    learner = jmeta.metric(nn.MLP((6,), 3, norm="batch"), jmeta.prototypical(2))
    task = Task(_images(KEY, 4), _images(jax.random.key(1), 6))
    params = jax.jit(learner.init)(KEY, task)
    longer = Task(padded(task.support, 3), padded(task.query, 2))
    short, long = (
        jmeta.evaluate(learner, params, lambda key, t=t: t, KEY, episodes=2) for t in (task, longer)
    )
    for name, value in short.items():
        np.testing.assert_allclose(long[name], value, rtol=1e-4, atol=1e-5)


def test_a_network_of_ones_own_is_told_if_it_asks() -> None:
    def apply(w: jax.Array, x: jax.Array, *, real: jax.Array | None = None) -> jax.Array:
        weights = jnp.ones(len(x)) if real is None else real.astype(x.dtype)
        return w * (x - (weights @ x / weights.sum())[None])

    network = nn.from_functions(lambda key, x: jnp.ones(()), apply, masked=True)
    learner = jmeta.metric(network, jmeta.prototypical(2))
    assert learner.masked
    batch = Batch(jnp.array([[0.0], [2.0]]), jnp.array([0, 1]))
    require_padding_ignored(
        jmeta.episodic(learner, cross_entropy), jnp.ones(()), Task(batch, batch)
    )
    plain = nn.from_functions(lambda key, x: jnp.ones(()), lambda w, x: w * x)
    assert not jmeta.metric(plain, jmeta.prototypical(2)).masked


def test_predict_takes_marked_inputs_and_plain_ones() -> None:
    learner = jmeta.metric(nn.MLP((6,), 3, norm="batch"), jmeta.prototypical(2))
    batch = _images(KEY, 4)
    params = jax.jit(learner.init)(KEY, Task(batch, batch))
    adapted = learner.adapt(params, batch)
    plain = learner.predict(adapted, batch.x)
    longer = padded(batch, 3, fill=5.0)
    close(learner.predict(adapted, Padded(longer.x, longer.y != -1))[:4], plain)
    assert abs(learner.predict(adapted, longer.x)[:4] - plain).max() > 1e-3

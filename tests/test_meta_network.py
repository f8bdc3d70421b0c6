"""Meta Networks against their listing, and learners on features."""

import jax
import jax.numpy as jnp
import numpy as np
from arrays import dense
from learners import FAST, INPUTS, UNITS, case_named, made, predictor, task

import jmeta
from jmeta import nn
from jmeta.losses import cross_entropy
from jmeta.nn import _metanet as metanet

KEY = jax.random.key(2)
CASE = case_named("meta network")


def test_meta_information_keeps_size_and_sign() -> None:
    gradient = np.array([0.0, 1e-5, -1e-5, 1.0, -0.3], np.float32)
    p, found = 7.0, np.asarray(metanet.meta_information(jnp.asarray(gradient)))
    for g, (size, sign) in zip(gradient, found, strict=True):
        big = abs(g) >= np.exp(-p)
        wanted = (np.log(abs(g)) / p, np.sign(g)) if big else (-1, np.exp(p) * g)
        np.testing.assert_allclose((size, sign), wanted, rtol=1e-5, atol=1e-7)


def test_slow_and_fast_halves_are_added_layer_by_layer() -> None:
    model, x = nn.SlowFast(2, features=(3,)), jax.random.normal(KEY, (4, 5))
    slow, fast = (model.init(jax.random.fold_in(KEY, i), x) for i in range(2))
    representation, logits = nn.slow_and_fast(model).apply(slow, fast, x)
    one, two = ([params["params"][f"_Layer_{i}"] for params in (slow, fast)] for i in range(2))
    halves = [dense(layer, np.asarray(x)) for layer in one]
    hidden = sum(np.maximum(half, 0) for half in halves)
    wanted = sum(dense(layer, hidden) for layer in two)
    np.testing.assert_allclose(representation, sum(halves), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits, wanted, rtol=1e-5, atol=1e-6)


def _meta_network_by_loops(params, one):
    """The algorithm's listing, one example after another."""
    apply, flat = nn.slow_and_fast(UNITS).apply, jax.flatten_util.ravel_pytree
    rows = list(zip(one.support.x[:, None], one.support.y[:, None], strict=True))

    def gradient(slow, x, y):
        return jax.grad(lambda w: cross_entropy(apply(w, None, x)[1], y))(slow)

    collected = jnp.stack([flat(gradient(params.embed, x, y))[0] for x, y in rows])
    present = jnp.ones(len(rows), bool)
    task_level = FAST[0].apply(params.embed_weights, (collected, present))
    task_level = flat(params.embed)[1](task_level)
    keys = [apply(params.embed, task_level, x)[0] for x, _ in rows]
    weights = [
        FAST[1].apply(params.base_weights, flat(gradient(params.base, r, y))[0])
        for r, (_, y) in zip(keys, rows, strict=True)
    ]
    logits = []
    for x in one.query.x[:, None]:
        r = apply(params.embed, task_level, x)[0]
        norm = lambda v: jnp.sqrt((v**2).sum() + 1e-6)  # noqa: E731
        scores = jnp.array([(r * k).sum() / (norm(r) * norm(k)) for k in keys])
        fast = sum(a * w for a, w in zip(jax.nn.softmax(scores), weights, strict=True))
        logits.append(apply(params.base, flat(params.base)[1](fast), r)[1][0])
    return jnp.stack(logits)


def test_meta_network_is_its_listing() -> None:
    params, one = CASE.init(KEY), task(KEY)
    found = predictor(made(CASE))(params, one.support, one.query.x)
    wanted = jax.jit(_meta_network_by_loops)(params, one)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_on_features_is_the_learner_of_embedded_examples() -> None:
    params, one, predict = CASE.init(KEY), task(KEY), predictor(made(CASE))
    halved = jmeta.Task(*(batch._replace(x=batch.x / 2) for batch in one))
    scaled = nn.from_functions(lambda key, x: jnp.ones(()), lambda w, x: w * x)
    twice = jmeta.learners.on_features(scaled, made(CASE))
    found = predictor(twice)({"embed": 2.0, "learner": params}, halved.support, halved.query.x)
    np.testing.assert_allclose(found, predict(params, one.support, one.query.x), rtol=1e-6)


def test_on_features_initialises_what_lies_behind() -> None:
    scaled = nn.from_functions(lambda key, x: jnp.ones(()), jnp.multiply)
    linear = nn.from_functions(lambda key, x: jnp.zeros((x.shape[-1], 3)), jnp.matmul)
    learner = jmeta.learners.on_features(scaled, jmeta.meta_sgd(linear, cross_entropy, 1, rate=0.1))
    params = learner.init(KEY, task(KEY))
    assert params["learner"].hyper.shape == (INPUTS, 3) and params["embed"].shape == ()

"""Full-context embeddings, relation and Siamese networks against loops; padding, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from embedded import ALPHA, WAYS, D, episode
from embedded import float64 as float64

import jmeta
from jmeta import nn
from jmeta.learners import full_context, siamese_loss
from jmeta.losses import cross_entropy, relation_error

SCALED = nn.from_functions(lambda key, x: jnp.ones((), x.dtype), lambda w, x: x * w)

# Full-context embeddings


def _context(support, valid, queries, steps=3):
    model = nn.FullContext(D, steps=steps)
    params = jax.jit(model.init)(jax.random.key(0), support, valid, queries)
    return model, jax.tree.map(lambda w: w.astype(jnp.float64), params)


@pytest.mark.slow
def test_full_context_learner_ignores_padding_and_reads_the_set():
    x, y, q = (jnp.array(a) for a in episode(8))
    learner = full_context(SCALED, nn.FullContext(D, steps=3), jmeta.matching(WAYS, scale=1.0))
    given = jmeta.Task(jmeta.Batch(x, y), jmeta.Batch(q, jnp.zeros(len(q), int)))
    params = jax.jit(learner.init)(jax.random.key(0), given)
    _, gamma = _context(x, y >= 0, q)
    assert jax.tree.structure(params["context"]) == jax.tree.structure(gamma)
    params = {**params, "context": gamma}
    run = jax.jit(lambda p, x, y: learner.predict(learner.adapt(p, jmeta.Batch(x, y)), q))
    plain, at = run(params, x, y), np.array([0, 3, 8])
    padded = run(params, jnp.insert(x, at, 5.0, axis=0), jnp.insert(y, at, -1))
    np.testing.assert_allclose(padded, plain, rtol=1e-9)
    np.testing.assert_allclose(jnp.exp(plain).sum(1), 1)
    moved = run(params, x.at[0].add(1.0), y)
    assert jnp.abs(moved - plain).min() > 1e-9
    value = jax.jit(lambda p: cross_entropy(run(p, x, y), jnp.array([0, 1, 2, 3, 0])))
    direction = jax.tree.map(jnp.ones_like, params)

    def shifted(e):
        return value(jax.tree.map(lambda w, d: w + e * d, params, direction))

    exact = sum(leaf.sum() for leaf in jax.tree.leaves(jax.jit(jax.grad(value))(params)))
    np.testing.assert_allclose(exact, (shifted(1e-5) - shifted(-1e-5)) / 2e-5, rtol=1e-6)


def _lstm(weights, state, x):
    """One step by the textbook: input, forget and output gates, new memory."""
    cell, hidden = state

    def gate(name):
        before = np.asarray(weights[f"i{name}"]["kernel"]), weights[f"h{name}"]
        return x @ before[0] + hidden @ np.asarray(before[1]["kernel"]) + before[1]["bias"]

    i, f, o = (1 / (1 + np.exp(-gate(name))) for name in "ifo")
    cell = f * cell + i * np.tanh(gate("g"))
    return cell, o * np.tanh(cell)


def test_full_context_is_a_loop_over_the_set():
    x, y, q = episode(9)
    model, gamma = _context(jnp.array(x), jnp.array(y) >= 0, jnp.array(q))
    found = jax.jit(model.apply)(gamma, jnp.array(x), jnp.array(y) >= 0, jnp.array(q))
    weights, g = gamma["params"], np.array(x)
    for name, order in (("forward", range(len(x))), ("backward", reversed(range(len(x))))):
        state = np.zeros(D), np.zeros(D)
        for s in order:
            state = _lstm(weights[name], state, x[s])
            g[s] += state[1]
    np.testing.assert_allclose(found[0], g, rtol=1e-9)
    for z, wanted in zip(q, found[1], strict=True):
        cell, hidden = np.zeros(D), z
        for _ in range(3):
            attention = np.exp(g @ hidden)
            read = (attention / attention.sum()) @ g
            cell, hidden = _lstm(weights["attention"], (cell, hidden), np.append(z, read))
            hidden = hidden + z
        np.testing.assert_allclose(hidden, wanted, rtol=1e-9)


def test_full_context_refuses_another_width():
    with pytest.raises(ValueError, match="FullContext"):
        nn.FullContext(3).init(
            jax.random.key(0), jnp.ones((2, 4)), jnp.ones(2, bool), jnp.ones((1, 4))
        )


# Relation and Siamese networks


@pytest.mark.slow
@pytest.mark.parametrize("combine", ["sum", "mean"])
def test_relation_equals_a_loop_and_ignores_padding(combine):
    x, y, q = (jnp.array(a) for a in episode(9))
    learner = jmeta.relation(SCALED, nn.RelationMLP((8, 4)), ways=WAYS, combine=combine)
    batches = [jmeta.Batch(x, y), jmeta.Batch(q, jnp.zeros(len(q), int))]
    params = learner.init(jax.random.key(0), jmeta.Task(*batches))
    gamma = params["relation"]
    run = jax.jit(lambda x, y: learner.predict(learner.adapt(params, jmeta.Batch(x, y)), q))
    found, reduce = run(x, y), jnp.sum if combine == "sum" else jnp.mean
    layers = gamma["params"]  # over concatenations, as in the paper
    both = jnp.concatenate([layers["class_dense"]["kernel"], layers["query_dense"]["kernel"]])
    for n in range(WAYS):
        pairs = jnp.stack([jnp.concatenate([reduce(x[y == n], 0), z]) for z in q])
        hidden = jax.nn.relu(pairs @ both + layers["class_dense"]["bias"][None])
        hidden = jax.nn.relu(hidden @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"][None])
        wanted = hidden @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"][None]
        np.testing.assert_allclose(found[:, n], wanted[:, 0], rtol=1e-9)
    padded = run(jnp.insert(x, 2, 5.0, axis=0), jnp.insert(y, 2, -1))
    np.testing.assert_allclose(padded, found, rtol=1e-9)
    labels = jnp.array([0, 1, 2, 3, -1])
    scores = 1 / (1 + np.exp(-np.asarray(found)[:4]))
    wanted = np.mean(((scores - np.eye(4)) ** 2).sum(1))
    np.testing.assert_allclose(relation_error(found, labels), wanted)
    absent = jnp.pad(found, ((0, 0), (0, 1)), constant_values=jnp.finfo(found.dtype).min)
    np.testing.assert_allclose(relation_error(absent, labels), wanted)
    assert jnp.isfinite(jax.grad(lambda r: relation_error(r, labels))(absent)).all()


def test_relation_over_feature_maps():
    maps = jnp.ones((6, 5, 5, 3), jnp.float32)
    learner = jmeta.relation(SCALED, nn.RelationConv(filters=4), ways=2)
    batch = jmeta.Batch(maps, jnp.array([0, 0, 0, 1, 1, 1]))
    loss = jmeta.episodic(learner, relation_error)
    task = jmeta.Task(batch, batch)
    params = jax.jit(learner.init)(jax.random.key(0), task)
    value, grads = jax.jit(jax.value_and_grad(lambda p: loss(p, task)[0]))(params)
    assert jnp.isfinite(value) and all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))
    small = jnp.ones((1, 3, 3, 2), jnp.float32)
    for model in (nn.RelationConv(), nn.RelationMLP()):
        with pytest.raises(ValueError, match="expects"):
            model.init(jax.random.key(0), small, small)


def test_relation_conv_reads_a_class_beside_a_query():
    model, keys = nn.RelationConv(filters=4, norm="none"), jax.random.split(jax.random.key(0))
    classes, queries = jax.random.normal(keys[0], (2, 5, 5, 3)), jnp.ones((3, 5, 5, 3))
    gamma = model.init(keys[1], classes, queries)
    layers = gamma["params"]
    both = jnp.concatenate([layers["class_conv"]["kernel"], layers["query_conv"]["kernel"]], 2)
    x = jnp.concatenate([classes[1:], queries[2:]], -1)
    for kernel, name in ((both, "class_conv"), (layers["Conv_0"]["kernel"], "Conv_0")):
        x = nn.max_pool(nn.conv2d(x, kernel) + layers[name]["bias"][None, None, None], relu=True)
    x = jax.nn.relu(
        x.reshape(1, -1) @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"][None]
    )
    wanted = x @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"][None]
    found = model.apply(gamma, classes, queries)[2, 1]
    np.testing.assert_allclose(found, wanted[0, 0], rtol=1e-5)


def test_siamese_loss_equals_a_loop_over_pairs():
    x, y, q = (jnp.array(a) for a in episode(10))
    x, y, labels = x.at[1].set(9.0), y.at[1].set(-1), jnp.array([0, 1, 2, 3, -1])
    learner = jmeta.siamese(SCALED, ways=WAYS)
    task = jmeta.Task(jmeta.Batch(x, y), jmeta.Batch(q, labels))
    params = learner.init(jax.random.key(0), task)
    np.testing.assert_allclose(params["alpha"], -np.full(D, D**-0.5), rtol=1e-6)
    params = {**params, "alpha": jnp.array(ALPHA), "bias": jnp.array(0.3)}
    value, logits = jax.jit(siamese_loss(SCALED, ways=WAYS))(params, task)
    losses = []
    for z, a in zip(np.asarray(q), labels.tolist(), strict=True):
        for s, b in zip(np.asarray(x), y.tolist(), strict=True):
            if a >= 0 and b >= 0:
                p = 1 / (1 + np.exp(-(ALPHA @ abs(z - s) + 0.3)))
                losses.append(-np.log(p if a == b else 1 - p))
    np.testing.assert_allclose(value, np.mean(losses))
    found = learner.predict(learner.adapt(params, task.support), q)
    np.testing.assert_allclose(found[:4], logits[:4])  # the last query is padding

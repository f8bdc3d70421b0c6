"""Heads against loops, scikit-learn, scipy and easyfsl; masks, symmetries and learned ones."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

import jmeta
from jmeta import nn
from jmeta.learners.heads import Head

WAYS, D = 4, 6
MEAN = np.linspace(-0.3, 0.4, D)
ALPHA = -np.linspace(0.1, 1.0, D)
HEADS = {
    "prototypical": functools.partial(jmeta.prototypical, scale=0.7),
    "cosine": functools.partial(jmeta.prototypical, distance="cosine", scale=9.0),
    "UN": functools.partial(jmeta.nearest_centroid, features="UN"),
    "L2N": functools.partial(jmeta.nearest_centroid, features="L2N"),
    "CL2N": functools.partial(jmeta.nearest_centroid, base_mean=MEAN),
    "matching": functools.partial(jmeta.matching, scale=5.0),
    "siamese, best": functools.partial(jmeta.weighted_l1, alpha=ALPHA, bias=np.array(0.3)),
    "siamese, mean": functools.partial(
        jmeta.weighted_l1, alpha=ALPHA, bias=np.array(0.3), match="mean"
    ),
    "ridge": functools.partial(jmeta.ridge, strength=0.5, scale=3.0, bias=0.1),
    "logistic": functools.partial(jmeta.logistic, strength=0.3),
    "svm": functools.partial(jmeta.svm, capacity=0.5),
}
every_head = pytest.mark.parametrize("name", HEADS)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@functools.cache
def _run(name, ways=WAYS):
    head = HEADS[name](ways)
    return jax.jit(lambda x, y, q: head.predict(head.fit(x, y), q))


def _episode(seed, shots=(2, 1, 3, 2)):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(shots)), shots)
    x = 0.8 * rng.normal(size=(len(shots), D))[y] + rng.normal(size=(len(y), D))
    return x, y, rng.normal(size=(5, D))


def _unit(z):
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def _loop(name, x, y, q):
    """Logits of one query at a time, class by class, in NumPy."""
    if name in ("L2N", "CL2N"):
        x, q = (_unit(z - (MEAN if name == "CL2N" else 0)) for z in (x, q))
    rows = []
    for z in q:
        members = [x[y == n] for n in range(WAYS)]
        if name in ("prototypical", "UN", "L2N", "CL2N"):
            scale = 0.7 if name == "prototypical" else 1.0
            row = [-scale * ((z - m.mean(0)) ** 2).sum() for m in members]
        elif name == "cosine":
            row = [9 * (_unit(z) @ _unit(m.mean(0)) - 1) for m in members]
        elif name == "matching":
            every = np.exp(5 * _unit(x) @ _unit(z)).sum()
            row = [np.log(np.exp(5 * _unit(m) @ _unit(z)).sum() / every) for m in members]
        else:
            pairs = [[ALPHA @ abs(z - s) + 0.3 for s in m] for m in members]
            row = [max(p) if name == "siamese, best" else np.mean(p) for p in pairs]
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("name", [n for n in HEADS if n not in ("ridge", "logistic", "svm")])
def test_a_head_equals_its_loop(name):
    x, y, q = _episode(0)
    np.testing.assert_allclose(_run(name)(x, y, q), _loop(name, x, y, q), rtol=1e-9, atol=1e-9)


def test_ridge_equals_the_normal_equations():
    x, y, q = _episode(1)
    w = np.linalg.solve(x.T @ x + 0.5 * np.eye(D), x.T @ np.eye(WAYS)[y])
    np.testing.assert_allclose(_run("ridge")(x, y, q), 3 * q @ w + 0.1, rtol=1e-9)


@pytest.mark.parametrize("strength", [0.01, 1.0, 30.0])
def test_logistic_equals_scikit_learn(strength):
    x, y, _ = _episode(2, shots=(5, 2, 7, 3))
    theirs = LogisticRegression(C=1 / strength, fit_intercept=False, tol=1e-10, max_iter=10**4)
    wanted = theirs.fit(x, y).coef_.T
    found = jax.jit(jmeta.logistic(WAYS, strength=strength, steps=15).fit)(x, y).weights
    np.testing.assert_allclose(found - found.mean(1, keepdims=True), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("capacity, shots", [(0.1, (1, 1, 1, 1)), (1.0, (5, 2, 7, 3))])
def test_svm_equals_scikit_learn_and_meets_its_optimality_conditions(capacity, shots):
    x, y, _ = _episode(3, shots)
    options = {"multi_class": "crammer_singer", "fit_intercept": False}
    theirs = LinearSVC(**options, C=capacity, tol=1e-10, max_iter=10**6).fit(x, y)
    found = jax.jit(jmeta.svm(WAYS, capacity=capacity, steps=600).fit)(x, y).weights
    np.testing.assert_allclose(found, theirs.coef_.T, rtol=1e-4, atol=1e-4)


def test_svm_equals_a_quadratic_program_of_scipy():
    from scipy.optimize import LinearConstraint, minimize

    x, y, _ = _episode(4, (1, 2, 1, 1))
    gram, target = x @ x.T, np.eye(WAYS)[y]

    def dual(a):
        a = a.reshape(target.shape)
        return 0.5 * np.sum(a * (gram @ a)) - np.sum(a * target), (gram @ a - target).ravel()

    sums = LinearConstraint(np.kron(np.eye(len(y)), np.ones(WAYS)), 0, 0)
    bounds = [(None, top) for top in 0.5 * target.ravel()]
    options = {"jac": True, "constraints": sums, "bounds": bounds, "method": "SLSQP"}
    best = minimize(dual, np.zeros(target.size), **options, options={"ftol": 1e-14, "maxiter": 999})
    weights = x.T @ best.x.reshape(target.shape)
    found = jax.jit(jmeta.svm(WAYS, capacity=0.5).fit)(x, y).weights
    np.testing.assert_allclose(found, weights, atol=1e-5)


@every_head
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_padding_absent_classes_and_unequal_shots(name, seed):
    """A padded episode of 4 possible ways equals the same one of 3 ways without padding."""
    with jax.enable_x64(True):
        x, y, q = _episode(seed, shots=(2, 1, 3))
        plain = _run(name, 3)(x, y, q)
        at = np.random.default_rng(seed).integers(0, 7, 4)
        padded = _run(name)(np.insert(x, at, 7.0, axis=0), np.insert(y, at, -1), q)
    np.testing.assert_allclose(padded[:, :3], plain, rtol=1e-7, atol=1e-8)
    assert (padded[:, 3] == np.finfo(np.float64).min).all()


@every_head
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_order_and_names_of_classes(name, seed):
    with jax.enable_x64(True):
        x, y, q = _episode(seed)
        rng = np.random.default_rng(seed)
        order, names = rng.permutation(len(y)), rng.permutation(WAYS)
        plain = _run(name)(x, y, q)
        other = _run(name)(x[order], names[y[order]], q[::-1])
    np.testing.assert_allclose(other[::-1][:, names], plain, rtol=1e-7, atol=1e-8)


@every_head
def test_the_gradient_equals_finite_differences(name):
    """Also in the embeddings of an unbalanced, padded episode with an absent class."""
    x, y, q = _episode(5, shots=(2, 1, 3))
    x, y = np.insert(x, 2, 0.5, axis=0), np.insert(y, 2, -1)
    labels = jnp.array([0, 1, 2, 0, 1])
    value = jax.jit(lambda x: jmeta.cross_entropy(_run(name)(x, y, q), labels))
    exact = np.asarray(jax.jit(jax.grad(value))(x))
    steps = 1e-5 * np.eye(x.size).reshape(-1, *x.shape)
    many = jax.jit(jax.vmap(value))
    numeric = (many(x + steps) - many(x - steps)).reshape(x.shape) / 2e-5
    assert np.linalg.norm(exact - numeric) < 1e-6 * np.linalg.norm(numeric)
    assert (exact[2] == 0).all()


@every_head
def test_float32_and_zero_embeddings_stay_finite(name):
    x, y, q = (
        jnp.asarray(a, jnp.float32 if a.dtype == np.float64 else a.dtype) for a in _episode(6)
    )
    head = HEADS[name](WAYS)

    @jax.jit
    @jax.value_and_grad
    def loss(x):
        return jmeta.cross_entropy(head.predict(head.fit(x, y), q), jnp.array([0, 1, 2, 3, 0]))

    for z in (x, 0 * x, 1e3 * x, jnp.ones_like(x)):
        assert all(jnp.isfinite(leaf).all() for leaf in loss(z))


def test_bad_input_is_refused():
    for name, make in HEADS.items():
        with pytest.raises(ValueError, match="ways >= 1"):
            make(0)
        with pytest.raises(ValueError, match="integer labels"):
            HEADS[name](WAYS).fit(jnp.ones((3, D)), jnp.ones(3))
    for make, message in [
        (lambda: jmeta.prototypical(2, distance="l3"), "l3"),
        (lambda: jmeta.nearest_centroid(2, features="CL2"), "UN"),
        (lambda: jmeta.nearest_centroid(2), "mean feature"),
        (lambda: jmeta.nearest_centroid(2, features="UN", base_mean=MEAN), "mean feature"),
        (lambda: jmeta.weighted_l1(2, ALPHA, 0.0, match="first"), "best"),
        (lambda: jmeta.relation(None, None, ways=2, combine="max"), "mean"),
        (lambda: jmeta.logistic(2, steps=-1), "steps"),
        (lambda: jmeta.svm(2, polish=-1), "polish"),
        (lambda: jmeta.ridge(2).fit(jnp.ones((2, 3, 4)), jnp.zeros(2, int)), "flatten"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()


def test_embeddings_may_be_pytrees():
    x, y, q = _episode(7)
    both = [{"a": z, "b": z[:, None, :3]} for z in map(jnp.array, (x, q))]
    head = jmeta.prototypical(WAYS)
    found = head.predict(head.fit(both[0], y), both[1])
    parts = [head.predict(head.fit(x[:, :k], y), q[:, :k]) for k in (D, 3)]
    np.testing.assert_allclose(found, parts[0] + parts[1])


# Full-context embeddings


def _context(support, valid, queries, steps=3):
    model = nn.FullContext(D, steps=steps)
    params = jax.jit(model.init)(jax.random.key(0), support, valid, queries)
    return model, jax.tree.map(lambda w: w.astype(jnp.float64), params)


def test_full_context_learner_ignores_padding_and_reads_the_set():
    x, y, q = (jnp.array(a) for a in _episode(8))
    model, gamma = _context(x, y >= 0, q)
    learner = jmeta.contextual(
        lambda w, x: x * w,
        functools.partial(model.apply, method="support"),
        functools.partial(model.apply, method="query"),
        jmeta.matching(WAYS),
    )
    params = {"embed": jnp.ones(()), "context": gamma}
    run = jax.jit(lambda p, x, y: learner.predict(learner.adapt(p, jmeta.Batch(x, y)), q))
    plain, at = run(params, x, y), np.array([0, 3, 8])
    padded = run(params, jnp.insert(x, at, 5.0, axis=0), jnp.insert(y, at, -1))
    np.testing.assert_allclose(padded, plain, rtol=1e-9)
    np.testing.assert_allclose(jnp.exp(plain).sum(1), 1)
    moved = run(params, x.at[0].add(1.0), y)
    assert jnp.abs(moved - plain).min() > 1e-9
    value = jax.jit(lambda p: jmeta.cross_entropy(run(p, x, y), jnp.array([0, 1, 2, 3, 0])))
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
    x, y, q = _episode(9)
    model, gamma = _context(jnp.array(x), jnp.array(y) >= 0, jnp.array(q))
    found = model.apply(gamma, jnp.array(x), jnp.array(y) >= 0, jnp.array(q))
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


@pytest.mark.parametrize("combine", ["sum", pytest.param("mean", marks=pytest.mark.slow)])
def test_relation_equals_a_loop_and_ignores_padding(combine):
    x, y, q = (jnp.array(a) for a in _episode(9))
    model = nn.RelationMLP((8, 4))
    gamma = model.init(jax.random.key(0), jnp.ones((1, D)), jnp.ones((1, D)))
    learner = jmeta.relation(lambda w, x: x * w, model.apply, ways=WAYS, combine=combine)
    params = {"embed": jnp.ones(()), "relation": gamma}
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
    np.testing.assert_allclose(jmeta.relation_error(found, labels), wanted)
    absent = jnp.pad(found, ((0, 0), (0, 1)), constant_values=jnp.finfo(found.dtype).min)
    np.testing.assert_allclose(jmeta.relation_error(absent, labels), wanted)
    assert jnp.isfinite(jax.grad(lambda r: jmeta.relation_error(r, labels))(absent)).all()


def test_relation_over_feature_maps():
    model, maps = nn.RelationConv(filters=4), jnp.ones((6, 5, 5, 3), jnp.float32)
    gamma = jax.jit(model.init)(jax.random.key(0), maps[:1], maps[:1])
    learner = jmeta.relation(lambda w, x: x * w, model.apply, ways=2)
    params = {"embed": jnp.ones((), jnp.float32), "relation": gamma}
    batch = jmeta.Batch(maps, jnp.array([0, 0, 0, 1, 1, 1]))
    loss = jmeta.episodic(learner, jmeta.relation_error)
    task = jmeta.Task(batch, batch)
    value, grads = jax.jit(jax.value_and_grad(lambda p: loss(p, task)[0]))(params)
    assert jnp.isfinite(value) and all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))
    small = jnp.ones((1, 3, 3, 2), jnp.float32)
    for model in (nn.RelationConv(), nn.RelationMLP()):
        with pytest.raises(ValueError, match="expects"):
            model.init(jax.random.key(0), small, small)


def test_relation_conv_reads_a_class_beside_a_query():
    model, keys = nn.RelationConv(filters=4, norm=None), jax.random.split(jax.random.key(0))
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
    x, y, q = (jnp.array(a) for a in _episode(10))
    x, y, labels = x.at[1].set(9.0), y.at[1].set(-1), jnp.array([0, 1, 2, 3, -1])
    learner = jmeta.siamese(lambda w, x: x * w, ways=WAYS, features=D)
    params = {**learner.init(jnp.ones(())), "alpha": jnp.array(ALPHA), "bias": jnp.array(0.3)}
    task = jmeta.Task(jmeta.Batch(x, y), jmeta.Batch(q, labels))
    value, logits = jax.jit(jmeta.siamese_loss(lambda w, x: x * w, ways=WAYS))(params, task)
    losses = []
    for z, a in zip(np.asarray(q), labels.tolist(), strict=True):
        for s, b in zip(np.asarray(x), y.tolist(), strict=True):
            if a >= 0 and b >= 0:
                p = 1 / (1 + np.exp(-(ALPHA @ abs(z - s) + 0.3)))
                losses.append(-np.log(p if a == b else 1 - p))
    np.testing.assert_allclose(value, np.mean(losses))
    np.testing.assert_allclose(learner.predict(learner.adapt(params, task.support), q), logits)


# Pools


def _pool(classes=6, each=9):
    rng = np.random.default_rng(0)
    from jmeta.data import pool_from_classes

    means = 2 * rng.normal(size=(classes, D))
    return pool_from_classes([m + rng.normal(size=(each, D)).astype(np.float32) for m in means])


def test_heads_meet_in_identical_episodes():
    from jmeta.data import sample_episode

    sample = functools.partial(sample_episode, ways=3, shots=2, queries=2)
    heads = {
        "near": jmeta.prototypical(3),
        "again": jmeta.prototypical(3, scale=2.0),
        "ridge": jmeta.ridge(3),
    }
    pool, key = _pool(), jax.random.key(0)
    means, above = jmeta.evaluate_heads(heads, sample, pool, key, episodes=20, chunk=8)
    assert above["again"] == jmeta.Estimate(0.0, 0.0, 20) and list(above) == ["again", "ridge"]
    learner = jmeta.metric(lambda params, x: x, heads["ridge"])
    one = jmeta.evaluate(learner, {}, lambda key: sample(key, pool), key, episodes=20)
    np.testing.assert_allclose(means["ridge"], one["accuracy"], rtol=1e-6)
    assert 0.5 < means["near"].mean < 1
    mesh = jax.sharding.Mesh(jax.devices()[:2], "tasks")
    shared, _ = jmeta.evaluate_heads(heads, sample, pool, key, episodes=19, chunk=4, mesh=mesh)
    alone, _ = jmeta.evaluate_heads(heads, sample, pool, key, episodes=19)
    np.testing.assert_allclose(list(shared.values()), list(alone.values()), rtol=1e-12)
    with pytest.raises(ValueError, match="episodes"):
        jmeta.evaluate_heads({}, sample, pool, key)

    def changed(key, pool):
        return jax.tree.map(lambda leaf: 2.0 * leaf, sample(key, pool))

    with pytest.raises(ValueError, match="numbers of examples"):
        jmeta.evaluate_heads(heads, changed, pool, key)


@pytest.mark.parametrize("chunk", [1, 3, 4, 100])
def test_examples_are_embedded_in_chunks(chunk):
    images = jnp.arange(8 * 4, dtype=jnp.uint8).reshape(8, 2, 2, 1)
    found = jax.jit(
        lambda x: jmeta.embed_examples(lambda w, x: x.reshape(len(x), -1) * w, 2.0, x, chunk=chunk)
    )(images)
    np.testing.assert_allclose(found, np.asarray(images).reshape(8, 4) / 255 * 2, rtol=1e-6)
    with pytest.raises(ValueError, match="chunk"):
        jmeta.embed_examples(lambda w, x: x, 2.0, images, chunk=0)


def test_an_embedding_learns_by_a_loss_over_embeddings():
    x, y, q = (jnp.array(a) for a in _episode(11))
    task = jmeta.Task(jmeta.Batch(x, y), jmeta.Batch(q, jnp.array([0, 1, 2, 3, 0])))
    loss = jmeta.embedding_loss(
        lambda w, x: jnp.tanh(x @ w), jmeta.triplet_margin_loss, jmeta.prototypical(WAYS)
    )
    w = jax.random.normal(jax.random.key(0), (D, 3))
    value = jax.jit(jax.value_and_grad(lambda w: loss(w, task)[0]))
    first = value(w)[0]
    for _ in range(30):
        w = w - 0.3 * value(w)[1]
    assert value(w)[0] < 0.9 * first and loss(w, task)[1].shape == (5, WAYS)


# easyfsl


@pytest.mark.parametrize("name", ["prototypical", "simpleshot", "matching"])
def test_a_head_equals_easyfsl(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch = pytest.importorskip("torch")
        methods = pytest.importorskip("easyfsl.methods", exc_type=ImportError)
        x, y, q = _episode(12)
        x, q = _unit(x), _unit(q)  # easyfsl leaves a query's length in the attention
        head: Head = jmeta.matching(WAYS)
        if name == "matching":

            class Nothing(torch.nn.Module):  # full-context embeddings that add nothing
                def forward(self, z, state=None):
                    if state is None:
                        return (torch.zeros(*z.shape[:-1], 2 * z.shape[-1], dtype=z.dtype),)
                    return torch.zeros_like(state[0]), state[1]

            parts = {"support_encoder": Nothing(), "query_encoder": Nothing()}
            theirs = methods.MatchingNetworks(feature_dimension=D, **parts)
        elif name == "simpleshot":
            theirs, head = methods.SimpleShot(), jmeta.prototypical(WAYS, distance="cosine")
        else:
            theirs, head = methods.PrototypicalNetworks(), jmeta.prototypical(WAYS)
        theirs.process_support_set(torch.tensor(x).float(), torch.tensor(y))
        wanted = theirs(torch.tensor(q).float()).detach().numpy()
    found = head.predict(head.fit(jnp.array(x), jnp.array(y)), jnp.array(q))
    found = {
        "prototypical": -jnp.sqrt(-found),
        "simpleshot": 1 + found,
        "matching": jnp.log(jnp.exp(found) + 1e-6),  # which easyfsl adds
    }[name]
    np.testing.assert_allclose(found, wanted, atol=1e-5)

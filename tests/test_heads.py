"""Heads against loops, scikit-learn, scipy and easyfsl; masks, symmetries and learned ones."""

import dataclasses
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import without_keys
from embedded import ALPHA, WAYS, D, episode
from embedded import float64 as float64
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

import jmeta
from jmeta import learners, nn
from jmeta.distances import cosine
from jmeta.losses import cross_entropy, triplet_margin
from jmeta.metrics import Estimate

MEAN = np.linspace(-0.3, 0.4, D)
HEADS = {
    "prototypical": functools.partial(jmeta.prototypical, scale=0.7),
    "cosine": functools.partial(jmeta.prototypical, distance=cosine, scale=9.0),
    "UN": functools.partial(learners.nearest_centroid, features="UN"),
    "L2N": functools.partial(learners.nearest_centroid, features="L2N"),
    "CL2N": functools.partial(learners.nearest_centroid, base_mean=MEAN),
    "matching": functools.partial(jmeta.matching, scale=5.0),
    "siamese, best": functools.partial(
        learners.weighted_l1, alpha=ALPHA, bias=np.array(0.3), match="best"
    ),
    "siamese, mean": functools.partial(
        learners.weighted_l1, alpha=ALPHA, bias=np.array(0.3), match="mean"
    ),
    "ridge": functools.partial(jmeta.ridge, strength=0.5, scale=3.0, bias=0.1),
    "logistic": functools.partial(learners.logistic, strength=0.3),
    "svm": functools.partial(learners.svm, capacity=0.5),
}
IDENTITY = nn.from_functions(lambda key, x: {}, lambda params, x: x)
every_head = pytest.mark.parametrize("name", HEADS)


@functools.cache
def _run(name, ways=WAYS):
    head = HEADS[name](ways)
    return jax.jit(lambda x, y, q: head.predict(head.fit(x, y), q))


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
    x, y, q = episode(0)
    np.testing.assert_allclose(_run(name)(x, y, q), _loop(name, x, y, q), rtol=1e-9, atol=1e-9)


def test_ridge_equals_the_normal_equations():
    x, y, q = episode(1)
    w = np.linalg.solve(x.T @ x + 0.5 * np.eye(D), x.T @ np.eye(WAYS)[y])
    np.testing.assert_allclose(_run("ridge")(x, y, q), 3 * q @ w + 0.1, rtol=1e-9)


@pytest.mark.parametrize("strength", [0.01, 1.0, 30.0])
def test_logistic_equals_scikit_learn(strength):
    x, y, _ = episode(2, shots=(5, 2, 7, 3))
    theirs = LogisticRegression(C=1 / strength, fit_intercept=False, tol=1e-10, max_iter=10**4)
    wanted = theirs.fit(x, y).coef_.T
    found = jax.jit(learners.logistic(WAYS, strength=strength, steps=15).fit)(x, y).weights
    np.testing.assert_allclose(found - found.mean(1, keepdims=True), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("capacity, shots", [(0.1, (1, 1, 1, 1)), (1.0, (5, 2, 7, 3))])
def test_svm_equals_scikit_learn_and_meets_its_optimality_conditions(capacity, shots):
    x, y, _ = episode(3, shots)
    options = {"multi_class": "crammer_singer", "fit_intercept": False}
    theirs = LinearSVC(**options, C=capacity, tol=1e-10, max_iter=10**6).fit(x, y)
    found = jax.jit(learners.svm(WAYS, capacity=capacity, steps=600).fit)(x, y).weights
    np.testing.assert_allclose(found, theirs.coef_.T, rtol=1e-4, atol=1e-4)


def test_svm_equals_a_quadratic_program_of_scipy():
    from scipy.optimize import LinearConstraint, minimize

    x, y, _ = episode(4, (1, 2, 1, 1))
    gram, target = x @ x.T, np.eye(WAYS)[y]

    def dual(a):
        a = a.reshape(target.shape)
        return 0.5 * np.sum(a * (gram @ a)) - np.sum(a * target), (gram @ a - target).ravel()

    sums = LinearConstraint(np.kron(np.eye(len(y)), np.ones(WAYS)), 0, 0)
    bounds = [(None, top) for top in 0.5 * target.ravel()]
    options = {"jac": True, "constraints": sums, "bounds": bounds, "method": "SLSQP"}
    best = minimize(dual, np.zeros(target.size), **options, options={"ftol": 1e-14, "maxiter": 999})
    weights = x.T @ best.x.reshape(target.shape)
    found = jax.jit(learners.svm(WAYS, capacity=0.5).fit)(x, y).weights
    np.testing.assert_allclose(found, weights, atol=1e-5)


@every_head
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_padding_absent_classes_and_unequal_shots(name, seed):
    """A padded episode of 4 possible ways equals the same one of 3 ways without padding."""
    with jax.enable_x64(True):
        x, y, q = episode(seed, shots=(2, 1, 3))
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
        x, y, q = episode(seed)
        rng = np.random.default_rng(seed)
        order, names = rng.permutation(len(y)), rng.permutation(WAYS)
        plain = _run(name)(x, y, q)
        other = _run(name)(x[order], names[y[order]], q[::-1])
    np.testing.assert_allclose(other[::-1][:, names], plain, rtol=1e-7, atol=1e-8)


@every_head
def test_the_gradient_equals_finite_differences(name):
    """Also in the embeddings of an unbalanced, padded episode with an absent class."""
    x, y, q = episode(5, shots=(2, 1, 3))
    x, y = np.insert(x, 2, 0.5, axis=0), np.insert(y, 2, -1)
    labels = jnp.array([0, 1, 2, 0, 1])
    value = jax.jit(lambda x: cross_entropy(_run(name)(x, y, q), labels))
    exact = np.asarray(jax.jit(jax.grad(value))(x))
    steps = 1e-5 * np.eye(x.size).reshape(-1, *x.shape)
    many = jax.jit(jax.vmap(value))
    numeric = (many(x + steps) - many(x - steps)).reshape(x.shape) / 2e-5
    assert np.linalg.norm(exact - numeric) < 1e-6 * np.linalg.norm(numeric)
    assert (exact[2] == 0).all()


@every_head
def test_float32_and_zero_embeddings_stay_finite(name):
    x, y, q = (
        jnp.asarray(a, jnp.float32 if a.dtype == np.float64 else a.dtype) for a in episode(6)
    )
    head = HEADS[name](WAYS)

    @jax.jit
    @jax.value_and_grad
    def loss(x):
        return cross_entropy(head.predict(head.fit(x, y), q), jnp.array([0, 1, 2, 3, 0]))

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
        (lambda: learners.nearest_centroid(2, features="CL2"), "UN"),
        (lambda: learners.nearest_centroid(2), "mean feature"),
        (lambda: learners.nearest_centroid(2, features="UN", base_mean=MEAN), "mean feature"),
        (lambda: learners.weighted_l1(2, ALPHA, 0.0, match="first"), "best"),
        (lambda: jmeta.relation(IDENTITY, IDENTITY, ways=2, combine="max"), "mean"),
        (lambda: learners.logistic(2, steps=-1), "steps"),
        (lambda: learners.svm(2, polish=-1), "polish"),
        (lambda: jmeta.ridge(2).fit(jnp.ones((2, 3, 4)), jnp.zeros(2, int)), "flatten"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()


def test_embeddings_may_be_pytrees():
    x, y, q = episode(7)
    both = [{"a": z, "b": z[:, None, :3]} for z in map(jnp.array, (x, q))]
    head = jmeta.prototypical(WAYS)
    found = head.predict(head.fit(both[0], y), both[1])
    parts = [head.predict(head.fit(x[:, :k], y), q[:, :k]) for k in (D, 3)]
    np.testing.assert_allclose(found, parts[0] + parts[1])


# Pools


def _pool(classes=6, each=9):
    rng = np.random.default_rng(0)
    from jmeta.data import pool_from_classes

    means = 2 * rng.normal(size=(classes, D))
    return pool_from_classes([m + rng.normal(size=(each, D)).astype(np.float32) for m in means])


@pytest.mark.slow
def test_heads_meet_in_identical_episodes():
    from jmeta.data import sample_episode

    sample = functools.partial(sample_episode, ways=3, shots=2, queries=2)
    heads = {
        "near": jmeta.prototypical(3),
        "again": jmeta.prototypical(3, scale=2.0),
        "ridge": jmeta.ridge(3),
    }
    pool, key = _pool(), jax.random.key(0)
    means, above = learners.evaluate_heads(heads, sample, pool, key, episodes=20, chunk=8)
    assert above["again"] == Estimate(0.0, 0.0, 20) and list(above) == ["again", "ridge"]
    learner = jmeta.metric(IDENTITY, heads["ridge"])
    one = jmeta.evaluate(learner, {}, lambda key: sample(key, pool), key, episodes=20)
    np.testing.assert_allclose(means["ridge"], one["accuracy"], rtol=1e-6)
    assert 0.5 < means["near"].mean < 1
    mesh = jax.sharding.Mesh(jax.devices()[:2], "tasks")
    shared, _ = learners.evaluate_heads(heads, sample, pool, key, episodes=19, chunk=4, mesh=mesh)
    alone, _ = learners.evaluate_heads(heads, sample, pool, key, episodes=19)
    np.testing.assert_allclose(list(shared.values()), list(alone.values()), rtol=1e-12)
    with pytest.raises(ValueError, match="episodes"):
        learners.evaluate_heads({}, sample, pool, key)
    grey = jnp.clip(255 * jax.nn.sigmoid(pool.examples), 0, 255).astype(jnp.uint8)
    images, floats = (dataclasses.replace(pool, examples=x) for x in (grey, grey / 255))
    kept, _ = learners.evaluate_heads(heads, sample, images, key, episodes=20)
    np.testing.assert_allclose(
        list(kept.values()),
        list(learners.evaluate_heads(heads, sample, floats, key, episodes=20)[0].values()),
    )

    def changed(key, pool):
        return jax.tree.map(lambda leaf: 2.0 * leaf, without_keys(sample(key, pool)))

    with pytest.raises(ValueError, match="numbers of examples"):
        learners.evaluate_heads(heads, changed, pool, key)


@pytest.mark.parametrize("chunk", [1, 3, 4, 100])
def test_examples_are_embedded_in_chunks(chunk):
    flat = nn.from_functions(lambda key, x: 2.0, lambda w, x: x.reshape(len(x), -1) * w)
    images = jnp.arange(8 * 4, dtype=jnp.uint8).reshape(8, 2, 2, 1)
    found = jax.jit(lambda x: learners.embed_examples(flat, 2.0, x, chunk=chunk))(images)
    np.testing.assert_allclose(found, np.asarray(images).reshape(8, 4) / 255 * 2, rtol=1e-6)
    with pytest.raises(ValueError, match="chunk"):
        learners.embed_examples(flat, 2.0, images, chunk=0)


def test_an_embedding_learns_by_a_loss_over_embeddings():
    x, y, q = (jnp.array(a) for a in episode(11))
    task = jmeta.Task(jmeta.Batch(x, y), jmeta.Batch(q, jnp.array([0, 1, 2, 3, 0])))
    net = nn.from_functions(
        lambda key, x: jax.random.normal(key, (D, 3)), lambda w, x: jnp.tanh(x @ w)
    )
    loss = learners.embedding_loss(net, triplet_margin, jmeta.prototypical(WAYS))
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
        x, y, q = episode(12)
        x, q = _unit(x), _unit(q)  # easyfsl leaves a query's length in the attention
        head: jmeta.learners.Head = jmeta.matching(WAYS, scale=1.0)
        if name == "matching":

            class Nothing(torch.nn.Module):  # full-context embeddings that add nothing
                def forward(self, z, state=None):
                    if state is None:
                        return (torch.zeros(*z.shape[:-1], 2 * z.shape[-1], dtype=z.dtype),)
                    return torch.zeros_like(state[0]), state[1]

            parts = {"support_encoder": Nothing(), "query_encoder": Nothing()}
            theirs = methods.MatchingNetworks(feature_dimension=D, **parts)
        elif name == "simpleshot":
            theirs, head = methods.SimpleShot(), jmeta.prototypical(WAYS, distance=cosine)
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

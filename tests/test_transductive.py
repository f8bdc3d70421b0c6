"""Heads that see all queries: masks, symmetries, derivatives, what is transductive, easyfsl."""

import functools
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from embedded import WAYS, D
from embedded import float64 as float64

import jmeta
from jmeta import Batch, Task, data, learners, nn, train
from jmeta.core import Padded
from jmeta.core._padding import is_transductive
from jmeta.distances import unit
from jmeta.learners.transductive import _transport as transport
from jmeta.losses import cross_entropy, triplet_margin
from jmeta.runs import _model as model
from jmeta.runs import _programs as programs
from jmeta.runs import _report as report

DESCENT = jmeta.unrolled(optax.sgd(0.2), 6)
HEADS = {
    "transductive_finetuning": functools.partial(learners.transductive_finetuning, solver=DESCENT),
    "tim": functools.partial(learners.tim, solver=DESCENT, conditional=0.5),
    "bd_cspn": functools.partial(learners.bd_cspn, confidence=3.0),
    "laplacian_shot": functools.partial(learners.laplacian_shot, steps=4),
    "pt_map": functools.partial(learners.pt_map, steps=3),
}
DEFAULTS = {name: getattr(learners, name) for name in HEADS}
QUERIES = 12
IDENTITY = nn.from_functions(lambda key, x: {}, lambda params, x: x)
every_head = pytest.mark.parametrize("name", HEADS)


def episode(seed, shots=(2, 1, 3, 2), spread=1.0, queries=QUERIES):
    """Support embeddings, labels, query embeddings and their labels."""
    rng = np.random.default_rng(seed)
    centres = 1.0 + rng.normal(size=(len(shots), D))
    y, truth = np.repeat(np.arange(len(shots)), shots), np.arange(queries) % len(shots)
    x, q = (centres[t] + spread * rng.normal(size=(len(t), D)) for t in (y, truth))
    return x, y, q, truth


@functools.cache
def _run(name, ways=WAYS):
    head = HEADS[name](ways)

    def run(x, y, q, real=None):
        return head.predict(head.fit(x, y), q if real is None else Padded(q, real))

    return jax.jit(run)


@every_head
@pytest.mark.parametrize("fill", [7.0, np.nan])
def test_padding_and_absent_classes_change_nothing(name, fill):
    """A padded episode of 4 possible ways equals the same one of 3 ways without padding."""
    x, y, q, _ = episode(0, shots=(2, 1, 3))
    plain = _run(name, 3)(x, y, q)
    at, among = np.array([0, 2, 2, 6]), np.array([0, 5, 12])
    real = np.insert(np.ones(QUERIES, bool), among, False)
    padded = _run(name)(
        np.insert(x, at, fill, axis=0),
        np.insert(y, at, -1),
        np.insert(q, among, fill, axis=0),
        real,
    )
    np.testing.assert_allclose(padded[real, :3], plain, rtol=1e-7, atol=1e-8)
    assert (padded[:, 3] == np.finfo(np.float64).min).all()
    assert np.isfinite(padded).all()


@every_head
def test_order_and_names_of_classes(name):
    x, y, q, _ = episode(1)
    rng = np.random.default_rng(1)
    order, names, among = (rng.permutation(n) for n in (len(y), WAYS, QUERIES))
    plain = _run(name)(x, y, q)
    other = _run(name)(x[order], names[y[order]], q[among])
    np.testing.assert_allclose(other[:, names], plain[among], rtol=1e-7, atol=1e-8)


@every_head
def test_a_prediction_depends_on_the_other_queries(name):
    x, y, q, _ = episode(2)
    plain, alone = _run(name)(x, y, q), _run(name)(x, y, q[:3])
    assert np.abs(plain[:3] - alone).max() > 1e-4
    assert is_transductive(HEADS[name](WAYS)) and HEADS[name](WAYS).masked


@every_head
def test_vmap_equals_a_loop_and_jit_equals_eager(name):
    head = HEADS[name](WAYS)
    each = [episode(seed) for seed in range(3)]
    x, y, q = (jnp.stack([one[k] for one in each]) for k in range(3))
    real = jnp.array(np.arange(QUERIES) < np.array([[5], [12], [8]]))
    together = jax.jit(jax.vmap(_run(name)))(x, y, q, real)
    alone = [_run(name)(x[i], y[i], q[i], real[i]) for i in range(3)]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-8, atol=1e-9)
    eager = head.predict(head.fit(x[1], y[1]), q[1])
    np.testing.assert_allclose(eager, _run(name)(x[1], y[1], q[1]), rtol=1e-8, atol=1e-9)


@every_head
def test_the_gradient_equals_finite_differences(name):
    """In support and query embeddings of an unbalanced, padded episode with an absent class."""
    x, y, q, truth = episode(3, shots=(2, 3, 3), queries=6)
    x, y, q = np.insert(x, 2, 0.5, axis=0), np.insert(y, 2, -1), np.insert(q, 4, 0.5, axis=0)
    labels = np.insert(truth, 4, -1)

    @jax.jit
    def value(x, q):
        return cross_entropy(_run(name)(x, y, q, labels != -1), labels)

    exact = jax.jit(jax.grad(value, (0, 1)))(x, q)
    for which, (z, slope) in enumerate(zip((x, q), exact, strict=True)):
        moves = 1e-6 * np.eye(z.size).reshape(-1, *z.shape)
        many = jax.jit(jax.vmap(lambda dz, k=which: value(*(x + dz, q) if k == 0 else (x, q + dz))))
        numeric = (many(moves) - many(-moves)).reshape(z.shape) / 2e-6
        assert np.linalg.norm(slope - numeric) < 2e-5 * np.linalg.norm(numeric)
    assert (exact[0][2] == 0).all() and (exact[1][4] == 0).all()


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_stay_finite_in_float32_and_half_precision(name):
    """Also their gradient: for a shot of 1, Adam, equal, zero and large embeddings, and padding."""
    x, y, q, truth = episode(4, shots=(1, 1, 1, 1))
    head, labels = DEFAULTS[name](WAYS), jnp.asarray(np.insert(truth[:-1], 3, -1))

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def loss(x, q):
        logits = head.predict(head.fit(x, y), Padded(q, labels != -1))
        return cross_entropy(logits, labels)

    for dtype in (jnp.float32, jnp.float16, jnp.bfloat16):
        one = [jnp.asarray(z, dtype) for z in (x, q)]
        assert head.predict(head.fit(one[0], y), one[1]).dtype == jnp.float32
        changes = (lambda z: z, lambda z: 0 * z, jnp.ones_like, lambda z: 1000 * z)
        for change in changes if dtype == jnp.float32 else changes[:1]:
            found = loss(*map(change, one))
            assert all(np.isfinite(np.float32(leaf)).all() for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize("name", DEFAULTS)
def test_an_episode_without_queries_poisons_nothing(name):
    x, y, q, _ = episode(5)
    head, padding = DEFAULTS[name](WAYS), jnp.zeros(QUERIES, bool)

    @jax.jit
    @jax.grad
    def slope(x):
        logits = head.predict(head.fit(x, y), Padded(q, padding))
        return jnp.sum(jnp.where(padding[:, None], logits, 0))

    assert (slope(x) == 0).all()


@every_head
def test_devices_that_divide_the_queries_alone_share_nothing(name):
    """The support set is the same on all, and no gradient is summed over them."""
    P = jax.sharding.PartitionSpec
    x, y, _, _ = episode(6)
    queries = np.stack([episode(seed)[2] for seed in (6, 7)])
    run = lambda x, q: _run(name)(x, y, q[0])[None]  # noqa: E731
    mesh = jax.sharding.Mesh(jax.devices()[:2], "d")
    shared = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(P(), P("d")), out_specs=P("d")))
    alone = np.stack([_run(name)(x, y, q) for q in queries])
    np.testing.assert_allclose(shared(x, queries), alone, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", DEFAULTS)
def test_better_than_the_nearest_mean(name):
    """One example a class says little of where the class is; the queries say it."""
    options = {}
    if name in ("tim", "transductive_finetuning"):  # whose default steps are few and short
        options["solver"] = jmeta.unrolled(optax.adam(1e-2, eps_root=1e-8), 50)
    if name == "transductive_finetuning":
        options["scale"] = 10.0  # for features of length 1
    heads = learners.prototypical(3), DEFAULTS[name](3, **options)

    def clustered(seed):
        rng = np.random.default_rng(seed)
        y, truth, centres = np.arange(3), np.arange(60) % 3, rng.normal(size=(3, 32))
        x, q = (np.maximum(centres[t] + 0.7 * rng.normal(size=(len(t), 32)), 0) for t in (y, truth))
        return unit(x), y, unit(q), truth

    @jax.jit
    def right(x, y, q, truth):
        return jnp.array([(h.predict(h.fit(x, y), q).argmax(-1) == truth).mean() for h in heads])

    mean, found = np.mean([right(*clustered(seed)) for seed in range(15)], 0)
    assert found > mean + 0.01 and found > 0.98, (mean, found)


def test_balanced_assignments_equal_sinkhorns():
    scores = 10 * np.random.default_rng(0).normal(size=(11, 4))
    scores[:, 0] += 8
    plan, real, present = np.exp(scores), np.arange(11) < 10, np.array([True, True, False, True])
    plan = plan * real[:, None] * present[None]
    for _ in range(5000):
        plan = plan / np.maximum(plan.sum(1, keepdims=True), 1e-300)
        plan = plan * (10 / 3) / np.maximum(plan.sum(0), 1e-300)
    problem = transport.Transport(jnp.array(scores.T), jnp.array(present), jnp.array(real, float))
    v = jax.jit(functools.partial(transport.balanced, steps=15))(problem, jnp.zeros(4))
    np.testing.assert_allclose(transport._plan(v, problem), plan.T, atol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_assignments_take_the_steps_they_need_and_no_more(scale):
    """Scores that all prefer one class are hard; from the solution there is nothing to do."""
    scores = scale * np.random.default_rng(1).normal(size=(6, 40))
    scores[0] += 2 * scale
    problem = transport.Transport(jnp.array(scores), jnp.ones(6, bool), jnp.ones(40))
    most = jax.jit(functools.partial(transport.balanced, steps=200))(problem, jnp.zeros(6))
    default = jax.jit(functools.partial(transport.balanced, steps=20))(problem, jnp.zeros(6))
    again = jax.jit(functools.partial(transport.balanced, steps=200))(problem, most)
    assert (default == most).all() and (again == most).all()
    np.testing.assert_allclose(transport._plan(most, problem).sum(1), 40 / 6, atol=1e-11)


def test_pt_map_is_the_same_with_fewer_and_with_more_examples_than_features():
    """It multiplies embeddings with each other only where these products are the fewer numbers."""
    x, y, q, _ = episode(3)
    head = learners.pt_map(WAYS)
    run = jax.jit(lambda x, q: head.predict(head.fit(x, y), q))
    wide = [np.tile(z, (1, 8)) for z in (x, q)]  # of length 1 it has the same distances
    assert D < len(x) + len(q) <= 8 * D
    np.testing.assert_allclose(run(x, q), run(*wide), rtol=1e-4, atol=1e-4)


def test_neighbours_are_the_nearest_real_queries():
    from jmeta.learners.transductive._laplacian_shot import _neighbours

    z = jnp.array([[0.0], [1.0], [1.5], [9.0], [0.2]])
    near = jax.jit(_neighbours, static_argnums=2)(z, jnp.array([1.0, 1, 1, 1, 0]), 2)
    assert near[:4].tolist() == [[0, 1, 1, 0, 0], [1, 0, 1, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 0, 0]]
    few = _neighbours(z[:2], jnp.ones(2), 5)
    assert few.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("name", DEFAULTS)
def test_bad_input_is_refused(name):
    with pytest.raises(ValueError, match="ways >= 1"):
        DEFAULTS[name](0)
    head = DEFAULTS[name](2)
    with pytest.raises(ValueError, match="integer labels"):
        head.fit(jnp.ones((3, D)), jnp.ones(3))
    with pytest.raises(ValueError, match="flatten"):
        head.fit(jnp.ones((2, 3, 4)), jnp.arange(2))
    state = head.fit(jnp.eye(2), jnp.arange(2))
    with pytest.raises(ValueError, match="expects queries"):
        head.predict(state, jnp.ones((2, 3)))
    wrong = jax.jit(head.fit)(jnp.eye(2), jnp.array([0, 7]))
    assert np.isnan(jax.jit(head.predict)(wrong, jnp.eye(2))[:, 0]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: learners.tim(2, scale=0.0), "scale > 0"),
        (lambda: learners.tim(2, marginal=-1.0), "marginal >= 0"),
        (lambda: learners.tim(2, solver=optax.sgd(0.1)), "solver"),
        (lambda: learners.transductive_finetuning(2, scale=-1.0), "scale > 0"),
        (lambda: learners.transductive_finetuning(2, solver=3), "solver"),
        (lambda: learners.bd_cspn(2, confidence=0.0), "confidence > 0"),
        (lambda: learners.laplacian_shot(2, neighbours=0), "neighbours >= 1"),
        (lambda: learners.laplacian_shot(2, steps=-1), "steps >= 0"),
        (lambda: learners.laplacian_shot(2, smoothness=-0.1), "smoothness >= 0"),
        (lambda: learners.pt_map(2, power=0.0), "power > 0"),
        (lambda: learners.pt_map(2, rate=0.0), "rate > 0"),
        (lambda: learners.pt_map(2, steps=-1), "steps >= 0"),
        (lambda: learners.pt_map(2, balance=0), "balance >= 1"),
        (lambda: learners.set_to_set(2, nn.SetAttention, None), "the class SetAttention itself"),
        (lambda: learners.feat(IDENTITY, nn.SetAttention(), ways=2, scale=0.0), "scale > 0"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Learners


def _task(seed=5):
    x, y, q, truth = episode(seed)
    return Task(Batch(jnp.array(x), jnp.array(y)), Batch(jnp.array(q), jnp.array(truth)))


def _padded(batch, count=3, fill=np.nan):
    rows = jnp.full((count, D), fill)
    return Batch(jnp.concatenate([batch.x, rows]), jnp.append(batch.y, jnp.full(count, -1)))


def _wrapped(name):
    head, net = HEADS[name](WAYS), nn.MLP((), 5)
    return {
        "metric": jmeta.metric(net, head),
        "learned": jmeta.learned(lambda scale: jmeta.metric(net, head), 0.0),
        "transformed": jmeta.metric(net, learners.transformed(head, lambda z: 2 * z)),
        "features": learners.on_features(net, jmeta.metric(IDENTITY, head)),
    }


@pytest.mark.parametrize("wrapper", ["metric", "learned", "transformed", "features"])
def test_learners_tell_their_head_which_queries_are_padding(wrapper):
    learner, task = _wrapped("bd_cspn")[wrapper], _task()
    assert learner.masked and learner.transductive
    params = jax.jit(learner.init)(jax.random.key(0), task)
    loss = jax.jit(jax.value_and_grad(jmeta.episodic(learner, cross_entropy), has_aux=True))
    (value, outputs), slope = loss(params, task)
    longer = Task(_padded(task.support), _padded(task.query))
    (again, more), other = loss(params, longer)
    np.testing.assert_allclose([again, *more[:QUERIES, 0]], [value, *outputs[:, 0]], rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), other, slope)
    alone = jmeta.inductive(learner)
    assert not alone.transductive and alone.masked
    adapted = alone.adapt(params, task.support)
    every, few = (jax.jit(alone.predict)(adapted, task.query.x[:n]) for n in (QUERIES, 4))
    np.testing.assert_allclose(every[:4], few, rtol=1e-6)
    longer_adapted = alone.adapt(params, longer.support)
    np.testing.assert_allclose(alone.predict(longer_adapted, task.query.x[:2]), few[:2], rtol=1e-6)


def test_learners_over_other_heads_are_not_transductive():
    head = jmeta.prototypical(WAYS)
    for learner in (
        jmeta.metric(nn.MLP(norm="batch"), head),
        jmeta.learned(lambda rate: jmeta.metric(IDENTITY, head), 0.1),
        learners.feat(IDENTITY, nn.SetAttention(), ways=WAYS),
    ):
        assert not learner.transductive


def test_losses_and_pools_mark_padded_queries():
    task, head = _task(), HEADS["pt_map"](WAYS)
    longer = Task(task.support, _padded(task.query))
    loss = jax.jit(learners.embedding_loss(IDENTITY, triplet_margin, head))
    found = [loss({}, one)[1][:QUERIES] for one in (task, longer)]
    np.testing.assert_allclose(*found, rtol=1e-7)
    pool = data.pool_from_classes([np.abs(one)[None] for one in np.asarray(task.query.x)])
    y = jnp.arange(QUERIES) % 3

    def sample(key, pool, *, last):  # the first of 9 queries, and padding
        seen = jnp.arange(3, QUERIES)
        query = Batch(pool.examples[seen[:last]], jnp.where(seen < 9, y[3:], -1)[:last])
        return Task(Batch(pool.examples[jnp.arange(3)], y[:3]), query)

    found = [
        learners.evaluate_heads(
            {"head": learners.pt_map(3)},
            functools.partial(sample, last=last),
            pool,
            jax.random.key(0),
            episodes=2,
        )
        for last in (6, 9)
    ]
    assert found[0] == found[1]


@dataclass(frozen=True)
class Rectified(train.Algorithm):
    """A method of one's own, whose figure is transductive though its network is not."""

    kinds = ("classes",)
    title = "rectified prototypes"

    def build(self, network, domain, episode):
        learner = learners.metric(network.module(None), learners.bd_cspn(episode.testing().ways))
        loss = jmeta.episodic(learner, domain.objective)

        def fix(params, tasks):
            x = tasks.support.x.reshape(-1, *tasks.support.x.shape[2:])
            return nn.population_statistics(network.module(None), params, x)

        return train.Method(learner, lambda step: loss, fix if network.transductive else None)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_run_reports_both_figures(norm):
    with jax.enable_x64(False):
        options = {"network": "mlp", "norm": norm, "hidden": (8,), "ways": 3, "shots": 1}
        made = train.experiment("protonet", **options, queries=4, episodes=8, devices=1)
        made = replace(made, algorithm=Rectified())
        parts = programs.parts(made)
        params = programs.initial_state(parts).params
        record = report.tested(parts, params).record
        assert record["protocol"]["transductive"]
        assert record["inductive"]["statistics"].endswith("the support set and the one query")
        assert record["inductive"]["metrics"] != record["metrics"]
        told = model.record_of(parts, moments=norm == "batch")
        whole = model.Model(parts.experiment, told, {})
        assert not model.built(whole).transductive


# FEAT


def test_a_set_is_adapted_as_by_the_equations():
    z = np.random.default_rng(0).normal(size=(4, D))
    net, real = nn.SetAttention(heads=2), np.array([True, True, False, True])
    params = jax.tree.map(jnp.float64, jax.jit(net.init)(jax.random.key(1), z, real))
    own = jax.tree.map(np.asarray, params["params"])
    parts = [(z @ own[name]["kernel"]).reshape(4, 2, D) for name in ("queries", "keys", "values")]
    rows = []
    for n in range(4):
        read = []
        for h in range(2):
            q, k, v = (part[:, h] for part in parts)
            weights = np.exp(k @ q[n] / np.sqrt(D)) * real
            read.append(weights @ v / weights.sum())
        out = z[n] + np.concatenate(read) @ own["out"]["kernel"] + own["out"]["bias"]
        rows.append((out - out.mean()) / np.sqrt(out.var() + 1e-5))
    np.testing.assert_allclose(net.apply(params, z, real), rows, rtol=1e-6)
    with pytest.raises(ValueError, match="heads >= 1"):
        nn.SetAttention(heads=0).init(jax.random.key(0), z, real)


def test_feat_ignores_padding_and_absent_classes_and_learns():
    x, y, q, truth = episode(6, shots=(2, 1, 3))
    task = Task(Batch(jnp.array(x), jnp.array(y)), Batch(jnp.array(q), jnp.array(truth)))
    learner = learners.feat(nn.MLP((), 5), nn.SetAttention(), ways=WAYS)
    params = jax.tree.map(jnp.float64, jax.jit(learner.init)(jax.random.key(0), task))
    loss = jax.jit(jax.value_and_grad(jmeta.episodic(learner, cross_entropy), has_aux=True))
    (value, outputs), slope = loss(params, task)
    (again, more), other = loss(params, Task(_padded(task.support), _padded(task.query)))
    np.testing.assert_allclose(again, value)
    np.testing.assert_allclose(more[:QUERIES], outputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), other, slope)
    fewer = learners.feat(nn.MLP((), 5), nn.SetAttention(), ways=3)
    adapted = fewer.adapt(params, task.support)
    np.testing.assert_allclose(fewer.predict(adapted, task.query.x), outputs[:, :3])
    for _ in range(40):
        params = jax.tree.map(lambda w, d: w - 0.05 * d, params, slope)
        (last, _), slope = loss(params, task)
    assert last < 0.8 * value
    with pytest.raises(ValueError, match="feat"):
        learner.adapt({}, task.support)

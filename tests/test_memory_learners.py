"""SNAIL and MANN against loops; what must hold for all that read a sequence; that they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from arrays import dense
from learners import (
    INPUTS,
    MANN,
    READERS,
    SNAIL,
    WAYS,
    Case,
    case_named,
    made,
    predictor,
    reordered,
    task,
)

import jmeta
from jmeta import nn
from jmeta.losses import cross_entropy
from jmeta.nn import _mann as mann
from jmeta.nn import _snail as snail

KEY = jax.random.key(2)
readers = pytest.mark.parametrize("case", READERS, ids=lambda case: case.name)


def _softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_attention_is_a_loop() -> None:
    parts = jax.random.split(KEY, 4)
    q, k, v = (
        jax.random.normal(p, s) for p, s in zip(parts, [(3, 4), (5, 4), (5, 2)], strict=False)
    )
    mask = np.array(jax.random.bernoulli(parts[3], 0.5, (3, 5)))
    mask[1], mask[2] = False, True
    wanted = np.zeros((3, 2))
    for i in (0, 2):
        seen = np.flatnonzero(mask[i])
        weights = _softmax(np.array([q[i] @ k[j] / 2.0 for j in seen]))
        wanted[i] = sum(w * np.asarray(v[j]) for w, j in zip(weights, seen, strict=True))
    np.testing.assert_allclose(jax.jit(nn.attention)(q, k, v, mask), wanted, rtol=1e-5, atol=1e-6)


def _snail_by_loops(params, x):
    """The published network over a whole sequence [L, C], element by element."""
    count = sum(name.startswith("layers") for name in params)
    for index in range(count):
        layer, out = params[f"layers_{index}"], []
        dilation = 2 ** ((index - 1) % 2)  # attention, convolutions of dilation 1 and 2, attention
        for t in range(len(x)):
            if "gates" in layer:
                before = x[t - dilation] if t >= dilation else np.zeros_like(x[0])
                signal, gate = np.split(dense(layer["gates"], np.append(before, x[t])), 2)
                new = np.tanh(signal) * _sigmoid(gate)
            else:
                seen = x[: t + 1]
                pairs = [np.split(dense(layer["key_and_query"], s), 2) for s in seen]
                query = pairs[-1][1]
                scores = np.array([query @ key for key, _ in pairs])
                weights = _softmax(scores / np.sqrt(len(query)))
                read = [w * dense(layer["value"], s) for w, s in zip(weights, seen, strict=True)]
                new = sum(read)
            out.append(np.append(x[t], new))
        x = np.stack(out)
    return dense(params["head"], x)


def test_snail_is_the_sequence_with_the_query_at_its_end() -> None:
    case = case_named("snail")
    params, one = case.init(KEY), task(KEY)
    labels = np.eye(WAYS)[one.support.y]
    sequence = np.concatenate([one.support.x, labels], -1)
    wanted = [
        _snail_by_loops(params["params"], np.vstack([sequence, np.append(x, np.zeros(WAYS))]))[-1]
        for x in np.asarray(one.query.x)
    ]
    found = predictor(made(case))(params, one.support, one.query.x)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_snail_begins_by_comparing() -> None:
    x = jnp.eye(3) + 0.1
    block = snail.AttentionBlock(64, 4)
    weights = block.init(KEY, x, jnp.ones(3, bool))["params"]["key_and_query"]
    key, query = jnp.split(x @ weights["kernel"], 2, axis=-1)
    assert (key == query).all()
    assert ((query @ key.T).argmax(-1) == jnp.arange(3)).all()


def test_snail_is_causal_and_its_convolutions_reach_the_start() -> None:
    params = case_named("snail").init(KEY)
    x = jax.random.normal(KEY, (6, INPUTS))
    labels, mask = jnp.zeros((6, WAYS)), jnp.ones(6, bool)
    encode = jax.jit(lambda x: SNAIL.apply(params, (x, labels, mask), method="encode")[0][-1])
    slopes = np.abs(jax.jit(jax.jacobian(encode))(x)).sum((1, 3))  # [6 outputs, 6 inputs]
    assert (slopes[np.triu_indices(6, 1)] == 0).all()
    assert (slopes[np.tril_indices(6)] > 0).all()

    def convolutions(x):
        for dilation in (1, 2, 4):
            block = snail.DenseBlock(2, dilation)
            weights = block.init(KEY, x, mask)
            x = block.apply(weights, x, mask)
        return x[-1]

    wide = jnp.concatenate([x, x[:2]])
    assert (np.abs(jax.jit(jax.jacobian(convolutions))(wide)).sum((0, 2)) > 0).all()


def _cycle_by_loops(memory, keys, strengths, gate, decay):
    """One read and one write of the memory, slot by slot."""
    rows, usage, last = (np.array(v, np.float64) for v in memory)
    heads, slots = last.shape
    norm = lambda v: np.sqrt(np.sum(v**2) + 1e-6)  # noqa: E731
    weights = np.stack(
        [
            _softmax(np.array([strengths[h] * k @ m / (norm(k) * norm(m)) for m in rows]))
            for h, k in enumerate(keys)
        ]
    )
    read = np.stack([sum(weights[h, i] * rows[i] for i in range(slots)) for h in range(heads)])
    free = sorted(range(slots), key=lambda i: (usage[i], i))[:heads]
    written = _sigmoid(gate) * last
    for head, slot in enumerate(free):
        written[head, slot] += 1 - _sigmoid(gate)
        rows[slot] = 0
    for head in range(heads):
        for slot in range(slots):
            rows[slot] += written[head, slot] * keys[head]
    usage = decay * usage + weights.sum(0) + written.sum(0)
    return mann.Memory(rows, usage, weights), read


def test_memory_is_a_loop_over_slots() -> None:
    @jax.jit
    def cycle(memory, keys, strengths, gate):
        weights = mann.read_weights(memory.rows, keys, strengths)
        return mann.write(memory, keys, weights, gate, decay=0.9), weights @ memory.rows

    found = wanted = mann.empty_memory(5, 3, 2)
    gate = np.float32(0.4)
    for step in range(6):
        key, strength = jax.random.split(jax.random.fold_in(KEY, step))
        keys = np.asarray(jax.random.normal(key, (2, 3)))
        strengths = np.asarray(1 + jax.random.uniform(strength, (2,)))
        total = found.usage.sum()
        found, read = cycle(found, keys, strengths, gate)
        wanted, read_wanted = _cycle_by_loops(wanted, keys, strengths, gate, 0.9)
        np.testing.assert_allclose(read, read_wanted, rtol=1e-5, atol=1e-5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, wanted
        )
        np.testing.assert_allclose(found.weights.sum(-1), 1, rtol=1e-6)
        np.testing.assert_allclose(found.usage.sum(), 0.9 * total + 2 * 2, rtol=1e-5)
    free = mann.least_used(found.usage, 5)
    assert np.argmax(free, -1).tolist() == np.argsort(np.asarray(found.usage)).tolist()


@readers
def test_padding_counts_for_nothing_wherever_it_stands(case: Case) -> None:
    params, one, predict = case.init(KEY), task(KEY), predictor(made(case))
    places = jnp.array([0, 2, 3, 4, 6, 7])
    padded = jmeta.Batch(
        jnp.full((9, INPUTS), 7.0).at[places].set(one.support.x),
        jnp.full(9, -1).at[places].set(one.support.y),
    )
    np.testing.assert_allclose(
        predict(params, padded, one.query.x),
        predict(params, one.support, one.query.x),
        rtol=2e-5,
        atol=2e-6,
    )


@readers
def test_queries_do_not_see_each_other_and_order_matters(case: Case) -> None:
    params, one, predict = case.init(KEY), task(KEY), predictor(made(case))
    logits = predict(params, one.support, one.query.x)
    moved = predict(params, one.support, one.query.x.at[1:].add(3.0))
    np.testing.assert_allclose(moved[0], logits[0], rtol=1e-5, atol=1e-6)
    assert np.abs(moved[1:] - logits[1:]).max() > 1e-4
    turned = reordered(one.support, slice(None, None, -1))
    assert np.abs(predict(params, turned, one.query.x) - logits).max() > 1e-7


@pytest.mark.parametrize("kind", ["snail", "mann"])
def test_images_go_through_an_embedding_network(kind: str) -> None:
    embed = nn.Conv4(None, filters=4, norm="none")
    model = nn.SNAIL(3, length=4, embed=embed) if kind == "snail" else nn.MANN(3, embed=embed)
    support = jnp.ones((3, 28, 28, 1)), jnp.eye(3), jnp.ones(3, bool)
    queries = jnp.ones((5, 28, 28, 1))
    params = jax.eval_shape(model.init, KEY, support, queries)
    assert "embed" in params["params"]
    assert jax.eval_shape(model.apply, params, support, queries).shape == (5, 3)


def test_options_that_cannot_be_are_refused() -> None:
    support = jnp.ones((3, 2)), jnp.eye(3), jnp.ones(3, bool)
    with pytest.raises(ValueError, match="ways >= 1"):
        jmeta.amortised(MANN, ways=0)
    with pytest.raises(ValueError, match="length=1"):
        nn.SNAIL(3, length=1).init(KEY, support, jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="heads=9"):
        nn.MANN(3, slots=8, heads=9).init(KEY, support, jnp.ones((1, 2)))


def _blobs(key: jax.Array) -> jmeta.Task:
    """Two clouds in three dimensions, which the labels name at random; shuffled support."""
    centre_key, support_key, query_key, order_key = jax.random.split(key, 4)
    centres = 1.5 * jax.random.normal(centre_key, (2, 3))
    y = jnp.array([0, 1, 0, 1])

    def batch(key: jax.Array, y: jax.Array) -> jmeta.Batch:
        return jmeta.Batch(centres[y] + 0.3 * jax.random.normal(key, (4, 3)), y)

    return jmeta.Task(batch(support_key, jax.random.permutation(order_key, y)), batch(query_key, y))


def _reader(model) -> jmeta.Learner:
    return jmeta.amortised(model, ways=2)


def _meta_network() -> jmeta.Learner:
    both = nn.slow_and_fast(nn.SlowFast(2, features=(16,)))
    return jmeta.meta_network(both, both, nn.GradientLSTM(8), nn.GradientMLP(8))


LEARNING = {
    "snail": (
        lambda: _reader(nn.SNAIL(2, length=3, filters=8, attention=((8, 8),) * 2)),
        200,
        3e-3,
    ),
    "mann": (lambda: _reader(nn.MANN(2, slots=8, width=8, heads=1, controller=16)), 200, 1e-2),
    "meta network": (_meta_network, 40, 1e-2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_it_learns_to_tell_new_classes_apart(name: str) -> None:
    make, steps, rate = LEARNING[name]

    @jax.jit
    def run(key):
        learner = make()
        params = learner.init(KEY, _blobs(KEY))
        tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
        update = jmeta.step(jmeta.episodic(learner, cross_entropy), tx)

        def body(state, key):
            state, aux = update(state, jax.vmap(_blobs)(jax.random.split(key, 16)))
            return state, aux.loss

        return jax.lax.scan(body, jmeta.train_state(params, tx), jax.random.split(key, steps))[1]

    losses = run(KEY)
    print(name, losses[:10].mean(), losses[-20:].mean())
    assert losses[-20:].mean() < 0.35  # log 2 = 0.69 is chance

"""What one network learns from another: values, derivatives in float64, padding, and torchjd."""

import functools
import itertools

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from embedded import float64 as float64

import jmeta
from jmeta import Batch, Task, nn, transfer
from jmeta.losses import cross_entropy, mean_squared_error

KEY = jax.random.key(5)
RNG = np.random.default_rng(0)
LOGITS, TEACHER = RNG.normal(size=(2, 6, 4))  # of NumPy, and so in float64
LABELS = np.array([0, 3, -1, 2, -1, 1], np.int32)
REAL = np.flatnonzero(LABELS != -1)
X = RNG.normal(size=(6, 3))


def numeric(f, x, eps=1e-6):
    """The Jacobian of f at x [D] by central differences: [D, ...]."""
    at = [(np.asarray(f(x + eps * e)) - np.asarray(f(x - eps * e))) for e in np.eye(len(x))]
    return np.stack(at) / (2 * eps)


# Distillation ------------------------------------------------------------------------------------


def plain_distillation(student, teacher, labels, tau, weight):
    """The definition, example by example."""
    total = 0.0
    for q in REAL:
        p = np.exp(teacher[q] / tau) / np.exp(teacher[q] / tau).sum()
        own = student[q] / tau - np.log(np.exp(student[q] / tau).sum())
        hard = np.log(np.exp(student[q]).sum()) - student[q][labels[q]]
        total += weight * tau**2 * (p * (np.log(p) - own)).sum() + (1 - weight) * hard
    return total / len(REAL)


@pytest.mark.parametrize(("tau", "weight"), [(1.0, 1.0), (3.0, 0.7), (20.0, 0.0)])
def test_distillation_is_its_definition(tau, weight):
    options = {"temperature": tau, "weight": weight}
    found = transfer.distillation(LOGITS, TEACHER, LABELS, **options)
    wanted = plain_distillation(np.array(LOGITS), np.array(TEACHER), np.array(LABELS), tau, weight)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_distillation_without_labels_is_its_first_term():
    found = transfer.distillation(LOGITS, TEACHER, temperature=2.0)
    labels = jnp.zeros(6, jnp.int32)
    wanted = transfer.distillation(LOGITS, TEACHER, labels, temperature=2.0, weight=1.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_at_high_temperatures_logits_without_their_mean_are_compared():
    """Section 2.1 of the paper: the gradient tends to (s − t) / N of centred logits, over Q."""
    centred = [logits - logits.mean(-1, keepdims=True) for logits in (LOGITS, TEACHER)]
    found = jax.grad(lambda s: transfer.distillation(s, TEACHER, temperature=1e4))(LOGITS)
    np.testing.assert_allclose(found, (centred[0] - centred[1]) / 24, atol=1e-4)


LOSSES = {
    "distillation": lambda s, t, y: transfer.distillation(s, t, y, temperature=3.0, weight=0.4),
    "hint": lambda s, t, y: transfer.hint(s, t, labels=y),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


@every_loss
def test_gradients_reach_the_student_only_and_equal_finite_differences(name):
    loss = LOSSES[name]
    exact = jax.jit(jax.grad(loss, (0, 1)))(LOGITS, TEACHER, LABELS)
    flat = jax.jit(lambda s: loss(s.reshape(6, 4), TEACHER, LABELS))
    np.testing.assert_allclose(exact[0].ravel(), numeric(flat, LOGITS.ravel()), atol=1e-8)
    np.testing.assert_array_equal(exact[1], 0)


@every_loss
def test_padding_changes_nothing(name):
    loss = LOSSES[name]
    dirty = jnp.where(LABELS[:, None] == -1, 1e3, LOGITS)
    found = jax.jit(jax.value_and_grad(loss))(dirty, TEACHER, LABELS)
    value, gradient = jax.jit(jax.value_and_grad(loss))(LOGITS[REAL], TEACHER[REAL], LABELS[REAL])
    np.testing.assert_allclose(found[0], value, rtol=1e-12)
    np.testing.assert_allclose(found[1][REAL], gradient, rtol=1e-12)
    np.testing.assert_array_equal(np.delete(found[1], REAL, 0), 0)


@every_loss
def test_losses_of_mapped_tasks_are_those_of_each(name):
    tasks = jnp.stack([LOGITS, 2 * LOGITS]), jnp.stack([TEACHER, TEACHER])
    found = jax.jit(jax.vmap(LOSSES[name], (0, 0, None)))(*tasks, LABELS)
    wanted = [LOSSES[name](s, t, LABELS) for s, t in zip(*tasks, strict=True)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_hint_is_the_mean_squared_difference():
    kernel = np.linspace(-1, 1, 12).reshape(3, 4)
    wanted = np.mean((X @ kernel - TEACHER) ** 2)
    np.testing.assert_allclose(transfer.hint(X @ kernel, TEACHER), wanted, rtol=1e-12)


def test_every_generation_has_the_one_before_as_its_teacher():
    seen = []

    def train(key, teacher):
        seen.append((key, teacher))
        return len(seen)

    assert transfer.born_again(train, KEY, generations=3) == [1, 2, 3]
    assert [teacher for _, teacher in seen] == [None, 1, 2]
    assert len({tuple(jax.random.key_data(key).tolist()) for key, _ in seen}) == 3


# Domains -----------------------------------------------------------------------------------------


def curved(x):
    return jnp.sum(jnp.sin(x) * jnp.roll(x, 1) ** 2)


@pytest.mark.parametrize("strength", [0.0, 1.0, 0.3])
def test_the_reversed_gradient_and_its_derivatives(strength):
    x = X[0]
    plain = jax.jit(curved)
    reversed_ = jax.jit(lambda x: curved(transfer.gradient_reversal(x, strength)))
    np.testing.assert_allclose(reversed_(x), plain(x), rtol=1e-15)
    gradient = jax.jit(jax.grad(reversed_))
    np.testing.assert_allclose(gradient(x), -strength * numeric(plain, x), atol=1e-8)
    second = numeric(gradient, x)
    np.testing.assert_allclose(jax.jit(jax.jacrev(gradient))(x), second, atol=1e-7)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(gradient))(x), second, atol=1e-7)
    np.testing.assert_allclose(second, -strength * jax.jit(jax.hessian(curved))(x), atol=1e-7)


def test_reversal_goes_through_trees_jit_vmap_and_scan_with_a_traced_strength():
    def gradient(x, strength):
        f = lambda tree: jnp.sum(transfer.gradient_reversal(tree, strength)["a"] ** 3)  # noqa: E731
        return jax.grad(f)({"a": x, "b": x})

    strengths = jnp.array([0.0, 0.5, 2.0])
    found = jax.jit(jax.vmap(gradient, (None, 0)))(X[0], strengths)
    np.testing.assert_allclose(found["a"], -strengths[:, None] * 3 * X[:1] ** 2, rtol=1e-12)
    np.testing.assert_array_equal(found["b"], 0)
    half = jax.grad(lambda x: transfer.gradient_reversal(x, 0.5))(jnp.bfloat16(2))
    assert half.dtype == jnp.bfloat16


def test_the_schedule_is_its_formula():
    p = jnp.linspace(0, 1, 7)
    wanted = 2 / (1 + np.exp(-10 * np.asarray(p))) - 1
    np.testing.assert_allclose(transfer.reversal_schedule(p), wanted, rtol=1e-12, atol=1e-15)


NETS = {"embed": nn.MLP((5,), None), "classifier": nn.MLP((), 4), "domain": nn.MLP((4,), 2)}
TASK = Task(Batch(X, LABELS), Batch(X[:5] + 1, np.array([0, -1, 0, 0, 0], np.int32)))


def shared_params(**nets):
    made = {**NETS, **nets}
    embed = made.pop("embed")
    params = jax.jit(transfer.hard_sharing(embed, made).init)(KEY, X)
    return jax.tree.map(lambda leaf: leaf.astype(float), params)


def test_the_adversarial_gradient_is_the_sum_of_its_parts():
    params = shared_params()

    def terms(params):
        z = [NETS["embed"].apply(params["embed"], batch.x) for batch in TASK]
        logits = [NETS["domain"].apply(params["domain"], part) for part in z]
        which = jnp.array([0, 0, -1, 0, -1, 0, 1, -1, 1, 1, 1])
        known = cross_entropy(NETS["classifier"].apply(params["classifier"], z[0]), LABELS)
        return jnp.stack([known, cross_entropy(jnp.concatenate(logits), which)])

    loss = transfer.domain_adversarial(**NETS, strength=0.3, weight=0.5)
    value, gradient = jax.jit(jax.value_and_grad(lambda params: loss(params, TASK)[0]))(params)
    values, each = jax.jit(lambda params: (terms(params), jax.jacrev(terms)(params)))(params)
    np.testing.assert_allclose(value, values[0] + 0.5 * values[1], rtol=1e-12)
    for name, sign in {"embed": -0.3, "classifier": 1.0, "domain": 1.0}.items():
        wanted = jax.tree.map(lambda leaf, s=sign: leaf[0] + 0.5 * s * leaf[1], each[name])
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
            *(gradient[name], wanted),
        )


@pytest.mark.parametrize("norm", ["batch", pytest.param("none", marks=pytest.mark.slow)])
def test_padding_and_labels_of_the_target_change_nothing(norm):
    nets = {**NETS, "embed": nn.MLP((5,), None, norm=norm)}
    params, loss = shared_params(**nets), transfer.domain_adversarial(**nets)
    run = jax.jit(jax.value_and_grad(lambda params, task: loss(params, task)[0]))
    bad = jnp.array([1.0, jnp.nan, 1.0, 1.0, 1.0])[:, None]
    source = Batch(jnp.where(LABELS[:, None] == -1, jnp.nan, X), LABELS)
    other = Task(source, Batch(TASK.query.x * bad, jnp.array([3, -1, 2, 1, 3])))
    real = Task(*(jax.tree.map(lambda leaf, b=b: leaf[b.y != -1], b) for b in TASK))
    for task in (other, real):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10),
            *(run(params, task), run(params, TASK)),
        )


def test_the_adversarial_loss_trains_inside_a_step_and_follows_its_schedule():
    tx, steps = optax.sgd(0.3), 4

    @jax.jit
    def train(params):
        def body(state, _):
            strength = transfer.reversal_schedule(state.step / steps)
            loss = transfer.domain_adversarial(**NETS, strength=strength)
            batch = jax.tree.map(lambda leaf: leaf[None], TASK)
            state, aux = jmeta.step(loss, tx)(state, batch)
            return state, aux.loss

        return jax.lax.scan(body, jmeta.train_state(params, tx), length=steps)[1]

    values = train(shared_params())
    assert np.isfinite(values).all() and values[-1] < values[0]


# Several tasks -----------------------------------------------------------------------------------


def test_hard_sharing_is_the_composition_and_hands_on_padding_and_keys():
    embed = nn.MLP((5,), None, norm="batch")
    drop = nn.from_functions(
        lambda key, x, noise: {},
        lambda params, x, noise: x * jax.random.uniform(noise),
        stochastic=True,
    )
    net = transfer.hard_sharing(embed, {"a": nn.MLP((), 2), "b": drop})
    assert net.stochastic and net.masked
    params, real = jax.jit(net.init)(KEY, X, KEY), LABELS != -1
    found = jax.jit(net.apply)(params, X, KEY, real=real)
    z = embed.apply(params["embed"], X, real=real)
    np.testing.assert_allclose(found["a"], nn.MLP((), 2).apply(params["a"], z), rtol=1e-6)
    ratio = found["b"][:, 0] / z[:, 0]
    np.testing.assert_allclose(ratio[z[:, 0] > 0], float(ratio[z[:, 0] > 0][0]), rtol=1e-6)


VALUES = np.array([0.5, 2.0, 1.5])


def test_learned_uncertainties_settle_at_the_noise_of_each_task():
    squared = [True, False, True]
    loss = functools.partial(transfer.uncertainty, VALUES, squared=squared)
    best = jnp.log(2 * jnp.where(jnp.array(squared), 0.5, 1.0) * VALUES)
    np.testing.assert_allclose(jax.grad(loss)(best), 0, atol=1e-12)
    np.testing.assert_allclose(jax.grad(loss)(best + 1), numeric(loss, best + 1), atol=1e-8)
    assert float(loss(best)) < float(loss(best + 0.1))
    np.testing.assert_allclose(transfer.uncertainty(VALUES, jnp.zeros(3)), VALUES.sum(), rtol=1e-12)
    np.testing.assert_allclose(transfer.weighted(VALUES, [1.0, 0.0, 2.0]), 3.5, rtol=1e-12)


def test_gradnorm_is_its_definition_and_only_the_weights_learn():
    gradients = {
        "w": jnp.asarray(RNG.normal(size=(3, 2, 2))),
        "b": jnp.asarray(RNG.normal(size=(3, 2))),
    }
    weights, first = jnp.array([0.7, 1.1, 1.2]), jnp.array([1.0, 2.5, 4.0])
    norms = np.sqrt(
        [(gradients["w"][t] ** 2).sum() + (gradients["b"][t] ** 2).sum() for t in range(3)]
    )
    rates = np.asarray(VALUES / first) / np.mean(VALUES / first)
    own = np.asarray(weights) * norms
    target = own.mean() * rates**0.5
    found = transfer.gradnorm(weights, gradients, VALUES, first, alpha=0.5)
    np.testing.assert_allclose(found, np.abs(own - target).sum(), rtol=1e-12)
    loss = lambda *given: transfer.gradnorm(*given, first, alpha=0.5)  # noqa: E731
    by = jax.jit(jax.grad(loss, (0, 1, 2)))(weights, gradients, VALUES)
    np.testing.assert_allclose(by[0], np.sign(own - target) * norms, rtol=1e-12)
    assert not any(leaf.any() for leaf in jax.tree.leaves(by[1:]))


def test_gradnorm_brings_gradients_of_different_sizes_together():
    """Two tasks of equal rates, whose gradients differ by a factor of 10."""
    gradients, losses = jnp.array([[10.0], [1.0]]), jnp.ones(2)

    def update(_, weights):
        weights -= 0.002 * jax.grad(transfer.gradnorm)(weights, gradients, losses, losses)
        return weights * len(weights) / weights.sum()

    weights = jax.jit(lambda start: jax.lax.fori_loop(0, 300, update, start))(jnp.ones(2))
    np.testing.assert_allclose(weights * gradients[:, 0], weights[1], rtol=0.05)


def test_the_usual_gradient_is_the_loss_of_shared_parameters():
    """jacrev gives gradients in the form that gradnorm and pcgrad take."""
    net = transfer.hard_sharing(nn.MLP((5,), None), {"a": nn.MLP((), 4), "b": nn.MLP((), 1)})
    params = jax.jit(net.init)(KEY, X)

    def losses(shared):
        out = net.apply({**params, "embed": shared}, X)
        return jnp.stack([cross_entropy(out["a"], LABELS), mean_squared_error(out["b"], X[:, :1])])

    gradients = jax.jit(jax.jacrev(losses))(params["embed"])
    mixed = jax.jit(transfer.pcgrad)(gradients)
    assert jax.tree.structure(mixed) == jax.tree.structure(params["embed"])
    assert np.isfinite(transfer.gradnorm(jnp.ones(2), gradients, jnp.ones(2), jnp.ones(2)))


def surgery(rows, order):
    """Algorithm 1 of the paper, on gradients [T, D]."""
    found = []
    for t, others in enumerate(order):
        own = rows[t].copy()
        for u in others:
            if u != t and own @ rows[u] < 0:
                own -= own @ rows[u] / (rows[u] @ rows[u]) * rows[u]
        found.append(own)
    return np.sum(found, 0)


ORDERS = [list(p) for p in itertools.permutations(range(3))]


@pytest.mark.parametrize("width", [1, 2, 5])  # fewer dimensions than tasks, and more
def test_pcgrad_is_the_algorithm_for_every_order(width):
    run, differ = jax.jit(lambda g, order: transfer.pcgrad(g, order=order)), set()
    for order in itertools.product(ORDERS, repeat=3):
        rows = np.random.default_rng(width).normal(size=(3, width))
        tree = {"a": jnp.asarray(rows[:, :1]), "b": jnp.asarray(rows[:, 1:])}
        found = run(tree, jnp.array(order))
        both = np.concatenate([found["a"], found["b"]])
        np.testing.assert_allclose(both, surgery(rows, order), rtol=1e-9, atol=1e-12)
        differ.add(tuple(both.round(9)))
    assert (len(differ) > 1) == (width == 2)


def test_pcgrad_is_determined_by_its_key_and_draws_each_order():
    rows = jnp.asarray(np.random.default_rng(2).normal(size=(3, 2)))
    keys = jax.random.split(KEY, 40)
    found = np.asarray(jax.jit(jax.vmap(transfer.pcgrad, (None, 0)))(rows, keys))
    np.testing.assert_allclose(found[0], transfer.pcgrad(rows, keys[0]), rtol=1e-12)
    products = itertools.product(ORDERS, repeat=3)
    wanted = {tuple(surgery(np.asarray(rows), order).round(9)) for order in products}
    assert {tuple(row.round(9)) for row in found} == wanted and len(wanted) > 1


def test_pcgrad_of_gradients_without_conflict_is_their_sum():
    rows = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(transfer.pcgrad(rows, KEY), [2.0, 1.0])
    one = jax.jit(transfer.pcgrad)(rows[:1])
    np.testing.assert_array_equal(one, rows[0])
    half = transfer.pcgrad(rows.astype(jnp.bfloat16), KEY)
    assert half.dtype == jnp.bfloat16


def test_pcgrad_is_differentiated_like_finite_differences():
    order = jnp.array([[0, 1, 2], [2, 0, 1], [1, 2, 0]])
    flat = jax.jit(lambda rows: transfer.pcgrad(rows.reshape(3, 4), order=order))
    rows = jnp.asarray(np.random.default_rng(7).normal(size=12))
    wanted = numeric(flat, rows)
    np.testing.assert_allclose(np.asarray(jax.jit(jax.jacrev(flat))(rows)).T, wanted, atol=1e-7)
    assert np.abs(wanted - np.tile(np.eye(4), (3, 1))).max() > 0.1  # tasks are in conflict


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_pcgrad_equals_torchjd(tasks):
    """Random gradients; the orders are those that torchjd draws."""
    torch = pytest.importorskip("torch")
    aggregator = pytest.importorskip("torchjd.aggregation").PCGrad()
    run = jax.jit(lambda g, order: transfer.pcgrad(g, order=order))
    for seed in range(50):
        rows = np.random.default_rng(seed).normal(size=(tasks, 4))
        torch.manual_seed(seed)
        order = np.stack([torch.randperm(tasks).numpy() for _ in range(tasks)])
        torch.manual_seed(seed)
        wanted = aggregator(torch.tensor(rows)).numpy()
        np.testing.assert_allclose(run(rows, order), wanted, rtol=1e-9, atol=1e-12)
        if tasks == 2:
            np.testing.assert_allclose(transfer.pcgrad(rows), wanted, rtol=1e-9, atol=1e-12)


# Progressive networks ----------------------------------------------------------------------------


def column(*widths):
    return [linen.Dense(width, param_dtype=float) for width in widths]


def trained(net, params, y, steps=20):
    """Parameters after some updates with weight decay, which would move what is not frozen."""
    tx = optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.05))

    def loss(params, task):
        out = net.apply(params, task.query.x)
        return mean_squared_error(out, task.query.y), out

    batch = Batch(X, y)
    tasks = jax.tree.map(lambda leaf: leaf[None], Task(batch, batch))
    update = jax.jit(jmeta.step(loss, tx))
    state, seen = jmeta.train_state(params, tx), []
    for _ in range(steps):
        state, aux = update(state, tasks)
        seen.append(float(aux.loss))
    assert seen[-1] < seen[0]
    return state.params


@pytest.fixture(scope="module")
def columns():
    """Three columns, of which two are trained, each on a task of its own, and their parameters."""
    with jax.enable_x64(True):
        nets, params = [], []
        for k, widths in enumerate([(6, 5, 2), (4, 3, 2), (5, 6, 1)]):
            before = (nets[-1], params[-1]) if nets else None
            net = transfer.progressive(column(*widths), before=before)
            y = jnp.asarray(np.random.default_rng(k).normal(size=(6, widths[-1])))
            start = jax.jit(net.init)(jax.random.key(k), X)
            nets.append(net)
            params.append(trained(net, start, y) if k < 2 else start)
        return nets, params


def test_earlier_columns_are_bit_identical_after_training_later_ones(columns):
    nets, params = columns
    for k in (1, 2):
        old = jax.jit(nets[k - 1].apply)(params[k - 1], X)
        new = jax.jit(nets[k - 1].apply)(params[k]["constants"], X)
        np.testing.assert_array_equal(np.asarray(new), np.asarray(old))
    first = params[2]["constants"]["constants"]
    jax.tree.map(np.testing.assert_array_equal, first, params[0])


def test_no_gradient_reaches_earlier_columns_and_the_rest_is_exact(columns):
    nets, params = columns
    loss = lambda params: jnp.sum(jnp.sin(nets[2].apply(params, X)))  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(params[2])
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient["constants"]))
    flat, unravel = jax.flatten_util.ravel_pytree(params[2]["params"])
    put = jax.jit(lambda own: loss({**params[2], "params": unravel(own)}))
    exact = jax.flatten_util.ravel_pytree(gradient["params"])[0]
    np.testing.assert_allclose(exact, numeric(put, flat), atol=1e-7)


def test_a_column_is_the_equation_of_the_paper(columns):
    nets, params = columns
    dense = lambda p, x: x @ p["params"]["kernel"] + p["params"]["bias"][None]  # noqa: E731
    relu = jax.nn.relu
    one, two = params[1]["constants"]["params"], params[1]["params"]
    h = [relu(dense(one["layer_0"], X))]
    h.append(relu(dense(one["layer_1"], h[0])))
    own = relu(dense(two["layer_0"], X))
    for i in (1, 2):
        lateral = two[f"lateral_{i}"]
        reduced = relu(
            (lateral["scales"][0] * h[i - 1]) @ lateral["kernel"] + lateral["bias"][None]
        )
        own = dense(two[f"layer_{i}"], own) + dense(lateral["layer"], reduced)
        own = relu(own) if i == 1 else own
    np.testing.assert_allclose(nets[1].apply(params[1], X), own, rtol=1e-9)


def test_columns_of_convolutions_and_batch_statistics():
    class Layer(linen.Module):
        masked = True

        @linen.compact
        def __call__(self, x, *, real=None):
            return nn.Norm("batch")(nn.Conv(4)(x), real)

    class Head(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(3)(x.mean((1, 2)))

    x, real = jnp.asarray(RNG.normal(size=(4, 6, 6, 1)), jnp.float32), jnp.arange(4) < 3
    first = transfer.progressive([Layer(), Head()])
    second = transfer.progressive([Layer(), Head()], before=(first, jax.jit(first.init)(KEY, x)))
    params = jax.jit(second.init)(KEY, x)
    assert second.masked
    run = jax.jit(second.apply)
    found = run(params, x, real=real)
    np.testing.assert_allclose(found[:3], run(params, x[:3]), atol=1e-5)


# What is refused ---------------------------------------------------------------------------------

MLP = nn.MLP((), 2)
THREE = np.ones((3, 2))
REFUSED = {
    "another width": (lambda: transfer.distillation(LOGITS, TEACHER[:, :2]), "logits"),
    "no temperature": (
        lambda: transfer.distillation(LOGITS, TEACHER, temperature=0.0),
        "temperature > 0",
    ),
    "weight": (lambda: transfer.distillation(LOGITS, TEACHER, weight=2.0), "from 0 to 1"),
    "lists": (lambda: transfer.distillation([1.0], [2.0]), "arrays"),
    "hint": (lambda: transfer.hint(LOGITS, TEACHER[:, :2]), "put a linear layer"),
    "labels of hints": (lambda: transfer.hint(LOGITS, TEACHER, labels=LABELS[:2]), r"labels \[Q\]"),
    "generations": (lambda: transfer.born_again(print, KEY, generations=0), "at least 1"),
    "no heads": (lambda: transfer.hard_sharing(MLP, {}), "at least one head"),
    "head's name": (lambda: transfer.hard_sharing(MLP, {"embed": MLP}), "none named 'embed'"),
    "no network": (lambda: transfer.hard_sharing(MLP, {"a": 3}), "expects a network"),
    "strength": (
        lambda: transfer.domain_adversarial(MLP, MLP, MLP, strength=-1.0),
        "strength >= 0",
    ),
    "domains": (
        lambda: transfer.domain_adversarial(MLP, MLP, nn.MLP((), 3))(
            shared_params(embed=MLP, classifier=MLP, domain=nn.MLP((), 3)), TASK
        ),
        r"\[N, 2\]",
    ),
    "weights": (lambda: transfer.weighted(VALUES, [1.0]), "one for each loss"),
    "a scalar": (lambda: transfer.weighted(jnp.ones(()), [1.0]), "stack them"),
    "log variances": (lambda: transfer.uncertainty(VALUES, jnp.zeros(2)), "log variances"),
    "first losses": (
        lambda: transfer.gradnorm(VALUES, THREE, VALUES, 0 * VALUES),
        "first_losses > 0",
    ),
    "gradients": (lambda: transfer.gradnorm(VALUES, THREE[:2], VALUES, VALUES), "gradients of 2"),
    "no order": (lambda: transfer.pcgrad(THREE), "needs a key"),
    "both": (lambda: transfer.pcgrad(THREE, KEY, order=jnp.ones((3, 3), int)), "got both"),
    "order": (lambda: transfer.pcgrad(THREE, order=jnp.arange(3)), "order"),
    "no layers": (lambda: transfer.progressive([]), "at least one layer"),
    "layers differ": (lambda: _on_two().init(KEY, X), "as many layers"),
}


def _on_two():
    first = transfer.progressive(column(3, 2))
    return transfer.progressive(column(3, 3, 2), before=(first, first.init(KEY, X)))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(name):
    call, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        call()

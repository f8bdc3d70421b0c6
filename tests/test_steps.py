"""What depends on the number of the inner step or on a key; paths; what is held fixed."""

import chex
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learners import DROPPED, EMBED, NET, SGD, WAYS, apply, close, init, reordered, task
from quick import few

import jmeta
from jmeta import nn
from jmeta.core import hoist
from jmeta.losses import cross_entropy

KEY = jax.random.key(3)


def _primitives(jaxpr) -> list[str]:
    found = []
    for eqn in jaxpr.eqns:
        found.append(str(eqn.primitive))
        for inner in jax.tree.leaves(list(eqn.params.values())):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                found += _primitives(getattr(inner, "jaxpr", inner))
    return found


# Hoisting


def test_hoisting_keeps_what_depends_on_the_parameters_or_on_the_step() -> None:
    w = jax.random.normal(KEY, (3, 3))

    def loss(point):
        adapted, k = point
        before = w @ w  # of neither
        at_step = jnp.sin(w * k) @ before  # of the step alone
        return jnp.sum(adapted @ before) + jnp.sum(at_step)

    start = (jnp.ones((3, 3)), jnp.int32(0))
    after = hoist(loss, start)
    names = _primitives(jax.make_jaxpr(after)(start).jaxpr)
    assert names.count("dot_general") == 2 and "sin" in names
    for k in range(3):
        point = (w * k, jnp.int32(k))
        np.testing.assert_allclose(after(point), loss(point), rtol=1e-6)
        np.testing.assert_allclose(
            jax.grad(lambda a, k=k: after((a, jnp.int32(k))))(w),
            jax.grad(lambda a, k=k: loss((a, jnp.int32(k))))(w),
            rtol=1e-6,
        )


def test_a_part_adapts_by_minibatches_as_everything_masked_does() -> None:
    params, one = init(KEY), task(KEY)
    kept = {name: name != "w2" for name in params}
    masked = optax.chain(SGD, optax.masked(optax.set_to_zero(), kept))
    part, whole = (
        jmeta.maml(NET, cross_entropy, jmeta.unrolled(tx, 3), adapts=adapts, batches=2)
        for tx, adapts in ((SGD, jmeta.part("w2")), (masked, jmeta.everything))
    )
    close(part.adapt(params, one.support).params, whole.adapt(params, one.support).params)


# Solvers see the number of the step


def test_solvers_count_their_steps() -> None:
    targets = jnp.array([1.0, -2.0, 4.0])
    solve = jmeta.unrolled(optax.sgd(1.0), 3, path=True)
    found = solve(lambda w, k: 0.5 * (w - targets[k]) ** 2, jnp.zeros(()))
    np.testing.assert_allclose(found.path, [0.0, *targets])
    assert found.steps == 3
    held = jmeta.implicit(optax.sgd(0.5), 60, strength=1.0)
    found = held(lambda w, k: 0.5 * (w - targets[k]) ** 2, jnp.zeros(()))  # targets[59]: the last
    np.testing.assert_allclose(found.final, targets[-1] / 2, rtol=1e-5)
    assert found.path is None


def test_own_values_of_a_step_are_read_at_it() -> None:
    """θ holds γ_0 ... γ_K; step k uses γ_k, predictions after K steps γ_K, later ones too."""
    net = nn.from_functions(
        lambda key, x: {"scale": jnp.ones(()), "w": jnp.zeros(())},
        lambda params, x: params["scale"] * params["w"] * x,
    )
    objective = lambda outputs, targets: jnp.sum(outputs * targets)  # noqa: E731
    one = jmeta.Batch(jnp.ones((1, 1)), jnp.ones((1, 1)))
    for steps in (1, 2, 3):
        solver = jmeta.unrolled(optax.sgd(1.0), steps, path=True)
        adapts = jmeta.own_per_step("scale", 2)
        learner = jmeta.maml(net, objective, solver, adapts=adapts)
        theta = {**learner.init(KEY, jmeta.Task(one, one)), "scale": jnp.array([1.0, 10.0, 100.0])}
        adapted = learner.adapt(theta, one)
        used = [1.0, 10.0, 100.0, 100.0][: steps + 1]
        w = -np.cumsum([0.0, *used[:-1]])  # each step descends its own scale
        np.testing.assert_allclose(adapted.solution.path["w"], w)
        np.testing.assert_allclose(adapted.solution.path["scale"], used)
        np.testing.assert_allclose(adapted.params["scale"], used[-1])
        path = jmeta.predict_path(learner, adapted, one.x)
        np.testing.assert_allclose(path[:, 0, 0], w * used)


# Paths through wrappers


SOLVER = jmeta.unrolled(optax.sgd(0.1), 2, path=True)


def _wrapped() -> dict[str, jmeta.Learner]:
    plain = jmeta.maml(NET, cross_entropy, SOLVER)
    small = jmeta.maml(nn.MLP((), WAYS), cross_entropy, SOLVER)
    return {
        "learned": jmeta.meta_sgd(NET, cross_entropy, 2, rate=0.1, path=True),
        "inductive": jmeta.inductive(plain),
        "on_features": jmeta.learners.on_features(EMBED, small),
        "dropout before it": jmeta.learners.on_features(DROPPED, small),
        "proto_maml": jmeta.proto_maml(EMBED, cross_entropy, SOLVER, ways=WAYS),
        "both": jmeta.inductive(jmeta.learners.on_features(EMBED, small)),
    }


@pytest.mark.parametrize("name", _wrapped())
def test_a_path_is_found_through_wrappers(name: str) -> None:
    learner, one = _wrapped()[name], task(KEY)
    adapted = jax.jit(learner.adapt)(learner.init(KEY, one), one.support)
    path = jax.jit(lambda a, x: jmeta.predict_path(learner, a, x))(adapted, one.query.x)
    assert path.shape == (3, 6, WAYS)
    close(path[-1], learner.predict(adapted, one.query.x))
    assert float(jnp.abs(path[0] - path[-1]).max()) > 1e-3
    if name == "learned":
        plain = jmeta.maml(NET, cross_entropy, jmeta.unrolled(optax.sgd(0.1), 1))
        params = learner.init(KEY, one).params
        close(path[0], apply(params, one.query.x))
        close(path[1], plain.predict(plain.adapt(params, one.support), one.query.x))


# Keys


def test_dropout_changes_with_the_step_and_with_the_key() -> None:
    one = task(KEY)
    learner = jmeta.maml(DROPPED, cross_entropy, jmeta.unrolled(SGD, 2, path=True))
    params = learner.init(KEY, one)
    adapt = jax.jit(learner.adapt)
    first, again = adapt(params, one.support), adapt(params, one.support)
    close(first.solution, again.solution, rtol=0, atol=0)
    other = adapt(params, one.support._replace(key=jax.random.key(9)))
    differ = lambda a, b: not np.allclose(a, b, atol=1e-4)  # noqa: E731
    kernel = lambda solution, k: solution.path["params"]["Dense_0"]["kernel"][k]  # noqa: E731
    assert differ(kernel(first.solution, 1), kernel(other.solution, 1))
    # Were the dropout of both steps the same, the second would descend the first's loss.
    by_hand, key = params, one.support.key
    for k in range(2):
        step_key = jax.random.fold_in(key, k)

        def loss(p, step_key=step_key):
            return cross_entropy(DROPPED.apply(p, one.support.x, step_key), one.support.y)

        grads = jax.grad(loss)(by_hand)
        by_hand = jax.tree.map(lambda p, g: p - 0.3 * g, by_hand, grads)
    close(first.params, by_hand)
    predicted = [learner.predict(a, one.query.x) for a in (first, first, other)]
    close(predicted[0], predicted[1], rtol=0, atol=0)
    assert differ(predicted[0], DROPPED.apply(first.params, one.query.x, step_key))
    assert differ(learner.predict(first._replace(key=jax.random.key(9)), one.query.x), predicted[0])


def test_augmentation_is_new_at_each_step() -> None:
    one = task(KEY)

    def noisy(key, support):
        return support._replace(x=support.x + jax.random.normal(key, support.x.shape))

    def adapted(steps, key, **options):
        learner = jmeta.maml(NET, cross_entropy, jmeta.unrolled(SGD, steps), **options)
        return learner.adapt(init(KEY), one.support._replace(key=key)).params["w1"]

    found = [adapted(1, KEY, augment=noisy), adapted(1, jax.random.key(8), augment=noisy)]
    assert not np.allclose(found[0], found[1], atol=1e-3)
    seen = []
    tell = lambda key, support: (seen.append(key), support)[1]  # noqa: E731
    same = adapted(2, KEY, augment=tell)
    close(same, adapted(2, KEY))
    assert seen


def test_a_key_in_the_inputs_stays_whole() -> None:
    """`inductive` and minibatches cut examples, not keys that stand among them."""
    net = nn.from_functions(
        lambda key, x: init(key),
        lambda p, x: apply(p, x["x"] + 0.1 * jax.random.normal(x["key"], x["x"].shape[1:])[None]),
    )
    one = task(KEY)
    support, query = (b._replace(x={"x": b.x, "key": jax.random.key(4)}, key=None) for b in one)
    learner = jmeta.maml(net, cross_entropy, jmeta.unrolled(SGD, 2), batches=2)
    params = learner.init(KEY, jmeta.Task(support, query))
    adapted = learner.adapt(params, support)
    noise = 0.1 * jax.random.normal(jax.random.key(4), (4,))[None]
    by_hand = params
    for k in range(2):
        part = reordered(one.support, slice(k, None, 2))
        plain = jmeta.maml(NET, cross_entropy, jmeta.unrolled(SGD, 1))
        by_hand = plain.adapt(by_hand, part._replace(x=part.x + noise)).params
    close(adapted.params, by_hand)
    alone = jmeta.inductive(learner)
    wanted = apply(by_hand, one.query.x + noise)
    close(alone.predict(alone.adapt(params, support), query.x), wanted)


# The step and the evaluation


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"chunk": 2}, marks=pytest.mark.slow), {"chunk": 1, "mesh": 2}]
)
def test_a_step_that_samples_equals_one_on_the_sampled_tasks(options: dict) -> None:
    options = {**options, "mesh": jmeta.task_mesh(2)} if "mesh" in options else options
    loss, tx = jmeta.episodic(jmeta.metric(NET, jmeta.prototypical(WAYS)), cross_entropy), SGD
    keys, state = jax.random.split(KEY, 4), jmeta.train_state(init(KEY), tx)
    sampled = jax.jit(jmeta.step(loss, tx, sample=task, **options))(state, keys)
    given = jax.jit(jmeta.step(loss, tx))(state, jax.vmap(task)(keys))
    close(sampled, given)


def test_a_second_evaluation_does_not_retrace() -> None:
    learner = jmeta.metric(NET, jmeta.prototypical(WAYS))
    chex.clear_trace_counter()
    counted = learner._replace(adapt=chex.assert_max_traces(learner.adapt, n=1))
    first = jmeta.evaluate(counted, init(KEY), task, KEY, episodes=4)
    again = jmeta.evaluate(counted, init(jax.random.key(8)), task, jax.random.key(9), episodes=4)
    assert first["accuracy"] != again["accuracy"] or first["nll"] != again["nll"]


# Collections that are not learned


class Normalised(linen.Module):
    """Flax's BatchNorm with running statistics that are used as they stand."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.relu(linen.BatchNorm(use_running_average=True)(linen.Dense(8)(x)))
        return linen.Dense(WAYS, name="head")(x)


ADAPTS = {
    "everything": jmeta.everything,
    "head": jmeta.part("head"),
    "body": jmeta.all_but("head"),
}


def _statistics(params):
    return params["batch_stats"]


@pytest.mark.parametrize(
    "tx",
    [
        pytest.param(optax.sgd(0.4), marks=pytest.mark.slow),
        optax.adamw(0.1, eps_root=1e-8, weight_decay=0.1),
    ],
)
@pytest.mark.parametrize("adapts", few(ADAPTS, "everything"))
def test_running_statistics_are_held_fixed(tx, adapts) -> None:
    solver = jmeta.unrolled(tx, 3)
    learner = jmeta.maml(Normalised(), cross_entropy, solver, adapts=ADAPTS[adapts])
    one = task(KEY)
    params = learner.init(KEY, one)
    adapted = learner.adapt(params, one.support).params
    chex.assert_trees_all_equal(_statistics(adapted), _statistics(params))
    head = lambda tree: tree["params"]["head"]["kernel"]  # noqa: E731
    assert (head(adapted) != head(params)).any() == (adapts != "body")
    for loss in (jmeta.episodic(learner, cross_entropy), jmeta.reptile(learner, cross_entropy)):
        update = jax.jit(jmeta.step(loss, tx))
        state, _ = update(jmeta.train_state(params, tx), jax.tree.map(lambda x: x[None], one))
        chex.assert_trees_all_equal(_statistics(state.params), _statistics(params))
        kernel = lambda tree: tree["params"]["Dense_0"]["kernel"]  # noqa: E731
        changed = (kernel if adapts == "body" else head)(state.params)
        assert (changed != (kernel if adapts == "body" else head)(params)).any()


def test_moments_of_the_population_do_not_decay() -> None:
    class Small(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.Dense(WAYS, name="head")(nn.Norm("batch")(linen.Dense(5)(x)))

    net, one = Small(), task(KEY)
    learner = jmeta.metric(net, jmeta.prototypical(WAYS))
    params = nn.population_statistics(net, learner.init(KEY, one), one.support.x)
    tx = optax.adamw(0.1, weight_decay=0.5)
    update = jax.jit(jmeta.step(jmeta.episodic(learner, cross_entropy), tx))
    state = jmeta.train_state(params, tx)
    for _ in range(3):
        state, aux = update(state, jax.tree.map(lambda leaf: leaf[None], one))
    chex.assert_trees_all_equal(_statistics(state.params), _statistics(params))
    assert np.isfinite(aux.loss)
    adapted = jmeta.maml(net, cross_entropy, jmeta.unrolled(optax.adamw(0.1, eps_root=1e-8), 2))
    found = adapted.adapt(params, one.support).params
    chex.assert_trees_all_equal(_statistics(found), _statistics(params))

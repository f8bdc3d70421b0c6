"""Identities between the members of the gradient-based family, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from learners import CONTEXT, HEAD, NET, SGD, apply, double, init, reordered, task

import jmeta
from jmeta import losses
from jmeta.core import multi_step_weights
from jmeta.core._selection import nothing

KEY = jax.random.key(2)
OBJECTIVE = losses.cross_entropy


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def _gradient(learner, params, one, make=jmeta.episodic):
    loss = make(learner, OBJECTIVE)
    return jax.jit(jax.grad(lambda p: loss(p, one)[0]))(params)


def _same(left, right, rtol=1e-9):
    np.testing.assert_allclose(ravel_pytree(left)[0], ravel_pytree(right)[0], rtol=rtol, atol=1e-12)


def _setting():
    return double(init(KEY)), double(task(KEY))


def _maml(tx, steps=3, **options):
    return jmeta.maml(NET, OBJECTIVE, jmeta.unrolled(tx, steps), **options)


def test_anil_by_structure_is_anil_by_mask() -> None:
    params, one = _setting()
    kept = {name: name != "w2" for name in params}
    masked = optax.chain(SGD, optax.masked(optax.set_to_zero(), kept))
    _same(_gradient(_maml(SGD, adapts=HEAD), params, one), _gradient(_maml(masked), params, one))


@pytest.mark.parametrize(
    "which",
    ["w2", ("w2",), lambda path: path == "w2", {**dict.fromkeys(init(KEY), False), "w2": True}],
)
def test_a_part_can_be_named_in_several_ways(which) -> None:
    params = init(KEY)
    assert list(jmeta.part(which).take(params)) == ["w2"]
    assert sorted(jmeta.all_but(which).take(params)) == sorted(set(params) - {"w2"})


def test_a_part_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'head' selects none .* b1, context"):
        jmeta.part("head").take(init(KEY))
    with pytest.raises(ValueError, match="structure"):
        jmeta.part({"w2": True}).take(init(KEY))


def test_put_undoes_take() -> None:
    params = {"b": [jnp.ones(2), {"head": jnp.zeros(3)}], "a": (jnp.ones(1),)}
    for chosen in (jmeta.everything, nothing, jmeta.part("head"), jmeta.all_but("head")):
        _same(chosen.put(params, chosen.take(params), 0), params)
    moved = jmeta.part("head").put(params, {"b/1/head": jnp.ones(3)}, 0)
    _same(moved, {**params, "b": [jnp.ones(2), {"head": jnp.ones(3)}]})


def test_the_body_is_computed_once_whatever_the_number_of_steps() -> None:
    params, one = _setting()

    def products(learner) -> int:
        def count(jaxpr) -> int:
            total = 0
            for eqn in jaxpr.eqns:
                inner = [p for p in jax.tree.leaves(list(eqn.params.values()))]
                inner = [
                    getattr(p, "jaxpr", p)
                    for p in inner
                    if hasattr(p, "eqns") or hasattr(p, "jaxpr")
                ]
                times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
                total += (eqn.primitive.name == "dot_general") + times * sum(map(count, inner))
            return total

        return count(jax.make_jaxpr(learner.adapt)(params, one.support).jaxpr)

    head = [products(_maml(SGD, steps, adapts=HEAD)) for steps in (2, 3, 4)]
    assert (
        head[1] - head[0] == head[2] - head[1] == 2
    )  # a forward and a gradient product of the head
    whole = [products(_maml(SGD, steps)) for steps in (2, 3)]
    assert whole[1] - whole[0] > 4


def test_cavia_starts_from_zero_and_learns_no_start() -> None:
    params, one = _setting()
    learner = _maml(SGD, adapts=CONTEXT)
    other = {**params, "context": params["context"] + 1}
    _same(learner.adapt(params, one.support).params, learner.adapt(other, one.support).params)
    assert not _gradient(learner, params, one)["context"].any()


def test_meta_sgd_with_one_rate_is_maml() -> None:
    params, one = _setting()
    learner = jmeta.meta_sgd(NET, OBJECTIVE, 3, rate=0.3)
    meta = learner.init(KEY, one)
    _same(meta.params, params)
    found = _gradient(learner, meta, one)
    _same(found.params, _gradient(_maml(SGD), params, one))
    assert ravel_pytree(found.hyper)[0].any()


def test_maml_plus_plus_with_one_rate_is_maml() -> None:
    params, one = _setting()
    learner = jmeta.maml_plus_plus(NET, OBJECTIVE, 3, rate=0.3)
    found = _gradient(learner, learner.init(KEY, one), one)
    _same(found.params, _gradient(_maml(SGD), params, one))
    first = jmeta.maml_plus_plus(NET, OBJECTIVE, 3, rate=0.3, first=True)
    fomaml = optax.chain(jmeta.first_order(), SGD)
    _same(
        _gradient(first, first.init(KEY, one), one).params,
        _gradient(_maml(fomaml), params, one),
    )


def test_each_step_of_maml_plus_plus_reads_its_own_weights() -> None:
    params, one = _setting()
    learner = jmeta.maml_plus_plus(NET, OBJECTIVE, 2, rate=0.3, own="b1", path=True)
    meta = double(learner.init(KEY, one))
    _same(meta.params["b1"], [params["b1"]] * 3)
    meta.params["b1"] += jnp.arange(3.0)[:, None]
    found = _gradient(learner, meta, one).params["b1"]
    assert np.all(np.abs(found).max(1) > 0)  # steps 0 and 1 while adapting, 2 while predicting
    adapted, _ = learner.adapt(meta, one.support)
    np.testing.assert_array_equal(adapted.params["b1"], meta.params["b1"][2])
    np.testing.assert_array_equal(adapted.solution.path["b1"], meta.params["b1"])


def _with_path() -> jmeta.Learner:
    return jmeta.maml(NET, OBJECTIVE, jmeta.unrolled(SGD, 3, path=True))


def test_the_last_iterate_of_a_path_is_the_solution() -> None:
    params, one = _setting()
    learner = _with_path()
    adapted = learner.adapt(params, one.support)
    _same(jax.tree.map(lambda leaf: leaf[0], adapted.solution.path), params)
    predicted = jmeta.predict_path(learner, adapted, one.query.x)
    assert predicted.shape == (4, *one.query.y.shape, 3)
    for steps in range(4):
        wanted = _maml(SGD, steps).adapt(params, one.support).params
        _same(jax.tree.map(lambda leaf, k=steps: leaf[k], adapted.solution.path), wanted)
        _same(predicted[steps], apply(wanted, one.query.x))
    _same(adapted.params, wanted)


def test_all_weight_on_the_last_step_is_the_episodic_loss() -> None:
    params, one = _setting()
    path = _with_path()
    last = lambda learner, objective: jmeta.multi_step(learner, objective, jnp.array([0.0, 0, 1]))  # noqa: E731
    _same(_gradient(path, params, one, last), _gradient(_maml(SGD), params, one))


def test_multi_step_weights_move_to_the_last_step() -> None:
    weights = [multi_step_weights(step, 5, until=100) for step in (0, 50, 100, 1000)]
    for each in weights:
        np.testing.assert_allclose(each.sum(), 1.0)
    np.testing.assert_allclose(weights[0], 0.2)
    np.testing.assert_allclose(weights[1], [0.1, 0.1, 0.1, 0.1, 0.6])
    np.testing.assert_allclose(weights[2], [0.006] * 4 + [0.976])
    np.testing.assert_allclose(weights[3], weights[2])
    with pytest.raises(ValueError, match="at least 1"):
        multi_step_weights(0, 5, until=0)


def test_switch_computes_one_of_two_losses() -> None:
    params, one = _setting()
    first, second = (
        jmeta.episodic(_maml(tx), OBJECTIVE) for tx in (optax.chain(jmeta.first_order(), SGD), SGD)
    )

    def at(step):
        return jmeta.switch(step < 10, first, second)

    gradient = jax.jit(lambda step: jax.grad(lambda p: at(step)(p, one)[0])(params))
    _same(gradient(3), jax.jit(jax.grad(lambda p: first(p, one)[0]))(params))
    _same(gradient(10), jax.jit(jax.grad(lambda p: second(p, one)[0]))(params))


def test_imaml_is_the_dense_solve() -> None:
    params, one = _setting()
    strength = 2.0
    solver = jmeta.implicit(
        SGD, 300, strength=strength, linear_solve=jmeta.core.conjugate_gradient(60, tolerance=1e-12)
    )
    learner = jmeta.maml(NET, OBJECTIVE, solver)
    found = ravel_pytree(_gradient(learner, params, one))[0]
    flat, unravel = ravel_pytree(jax.jit(learner.adapt)(params, one.support).params)

    def loss(batch):
        return lambda v: OBJECTIVE(apply(unravel(v), batch.x), batch.y)

    hessian = jax.jit(jax.hessian(loss(one.support)))(flat)
    query = jax.jit(jax.grad(loss(one.query)))(flat)
    dense = np.linalg.solve(np.eye(flat.size) + hessian / strength, query)
    np.testing.assert_allclose(found, dense, rtol=1e-6, atol=1e-10)


def test_accumulated_inner_gradients_are_larger_batches() -> None:
    params, one = _setting()
    twice = optax.MultiSteps(SGD, 2).gradient_transformation()
    _same(_gradient(_maml(twice, 6), params, one), _gradient(_maml(SGD, 3), params, one), 1e-5)


def test_any_hyperparameter_can_be_learned() -> None:
    params, one = _setting()
    make = lambda h: _maml(optax.sgd(h["rate"], momentum=h["momentum"]))  # noqa: E731
    learner = jmeta.learned(make, {"rate": 0.3, "momentum": 0.9})
    found = _gradient(learner, learner.init(KEY, one), one)
    _same(found.params, _gradient(_maml(optax.sgd(0.3, momentum=0.9)), params, one), 1e-7)
    assert all(leaf != 0 for leaf in jax.tree.leaves(found.hyper))


def test_minibatches_are_descended_one_after_the_other() -> None:
    params, one = _setting()
    by_hand, step = params, jax.jit(_maml(SGD, steps=1).adapt)
    for k in range(5):  # step k descends part k mod 2, of every class one example
        batch = reordered(one.support, slice(k % 2, None, 2))
        by_hand = step(by_hand, batch).params
        parts = jax.jit(_maml(SGD, steps=k + 1, batches=2).adapt)
        _same(parts(params, one.support).params, by_hand)
    whole, plain = (jax.jit(each.adapt) for each in (_maml(SGD, batches=1), _maml(SGD)))
    _same(whole(params, one.support).params, plain(params, one.support).params)


def test_support_that_cannot_be_divided_is_refused() -> None:
    params, one = _setting()
    with pytest.raises(ValueError, match="6 support examples cannot be divided into 4"):
        _maml(SGD, batches=4).adapt(params, one.support)
    with pytest.raises(ValueError, match="batches >= 1, but got 0"):
        _maml(SGD, batches=0)


def test_conjugate_gradients_are_bounded_where_the_matrix_curves_downwards() -> None:
    diagonal, b = jnp.array([3.0, 2.0, -1.0]), jnp.array([1.0, 2.0, 5.0])

    def solve(least: float, b: jax.Array) -> jax.Array:
        found = jmeta.core.conjugate_gradient(12, tolerance=1e-14, least_curvature=least)
        return found(lambda v: diagonal * v, b)

    np.testing.assert_allclose(solve(0.5, b), b / 0.5)  # bᵀAb < 0: at once, with curvature 0.5
    np.testing.assert_array_equal(solve(0.0, b), 0.0)
    convex = b * jnp.array([1.0, 1.0, 0.0])  # never meets the third: exact
    np.testing.assert_allclose(solve(0.5, convex), convex / diagonal, rtol=1e-9)
    later = jnp.array([5.0, 2.0, 0.1])  # the third direction is met after a convex one
    bound = 1e3 * jnp.abs(later).max()
    assert jnp.isfinite(solve(0.5, later)).all() and (jnp.abs(solve(0.5, later)) < bound).all()
    with pytest.raises(ValueError, match="least_curvature >= 0"):
        solve(-1.0, b)

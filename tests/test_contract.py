"""What every learner must do, run over the list of all of them."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learners import INPUTS, WAYS, Case, apply, init, over_cases, task

import jmeta

KEY = jax.random.key(0)


cases = over_cases()
FEW = ("maml", "imaml", "cavia", "protonet", "relation", "snail")  # each costs seconds


def _tasks(count: int = 4) -> jmeta.Task:
    return jax.vmap(task)(jax.random.split(KEY, count))


@functools.cache
def _learner(case: Case) -> jmeta.Learner:
    return case.learner()


def _params(case: Case):
    return _learner(case).init(case.init(KEY))


def _eager(learner, params, one):
    return learner.predict(learner.adapt(params, one.support), one.query.x)


_predict = jax.jit(_eager, static_argnums=0)  # compiled once a learner, whatever the test


@over_cases(slow=lambda case: case.ordered or case.name in ("svm", "ridge", "relation"))
def test_jit_equals_eager(case: Case) -> None:
    learner, params, one = _learner(case), _params(case), task(KEY)
    eager, jitted = _eager(learner, params, one), _predict(learner, params, one)
    np.testing.assert_allclose(jitted, eager, rtol=2e-5, atol=2e-5)


@cases
def test_vmap_equals_a_loop(case: Case) -> None:
    learner, params, tasks = _learner(case), _params(case), _tasks()
    together = jax.jit(jax.vmap(lambda t: _eager(learner, params, t)))(tasks)
    alone = [_predict(learner, params, jax.tree.map(lambda x, i=i: x[i], tasks)) for i in range(4)]
    np.testing.assert_allclose(together, jnp.stack(alone), rtol=2e-5, atol=2e-5)


@over_cases(slow=lambda case: case.name not in FEW)
def test_second_step_does_not_retrace(case: Case) -> None:
    tx = optax.adam(1e-2)
    loss = case.loss(case.learner(), jmeta.cross_entropy)
    chex.clear_trace_counter()
    update = jax.jit(chex.assert_max_traces(jmeta.step(loss, tx), n=1))
    state = jmeta.train_state(_params(case), tx)
    for _ in range(3):
        state, aux = update(state, _tasks())
    assert int(state.step) == 3
    assert aux.outputs.shape == (4, 6, WAYS)


@cases
def test_gradients_are_finite_with_a_dead_leaf_and_zero_inputs(case: Case) -> None:
    loss = case.loss(case.learner(), jmeta.cross_entropy)
    gradient = jax.jit(jax.grad(lambda p, one: loss(p, one)[0]))
    for one in (task(KEY), jax.tree.map(jnp.zeros_like, task(KEY))):
        chex.assert_tree_all_finite(gradient(_params(case), one))


@over_cases(lambda case: not case.ordered)  # the others read a sequence
def test_support_order_does_not_matter(case: Case) -> None:
    learner, params, one = _learner(case), _params(case), task(KEY)
    order = jax.random.permutation(KEY, one.support.y.shape[0])
    shuffled = one._replace(support=jax.tree.map(lambda x: x[order], one.support))
    np.testing.assert_allclose(
        _predict(learner, params, shuffled), _predict(learner, params, one), rtol=2e-4, atol=2e-4
    )


@over_cases(lambda case: case.equivariant)  # the others have an output a label
def test_label_permutation_permutes_the_logits(case: Case) -> None:
    learner, params, one = _learner(case), _params(case), task(KEY)
    order = jnp.array([2, 0, 1])
    renamed = one._replace(support=one.support._replace(y=order[one.support.y]))
    np.testing.assert_allclose(
        _predict(learner, params, renamed)[:, order],
        _predict(learner, params, one),
        rtol=2e-5,
        atol=2e-5,
    )


@cases
def test_adapt_returns_a_pytree_of_arrays(case: Case) -> None:
    adapted = jax.eval_shape(case.learner().adapt, _params(case), task(KEY).support)
    assert all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(adapted))


@cases
def test_init_keeps_the_parameters(case: Case) -> None:
    kept = {leaf.tobytes() for leaf in map(np.asarray, jax.tree.leaves(_params(case)))}
    stacked = {
        leaf[0].tobytes() for leaf in map(np.asarray, jax.tree.leaves(_params(case))) if leaf.ndim
    }
    for leaf in jax.tree.leaves(case.init(KEY)):
        assert np.asarray(leaf).tobytes() in kept | stacked


def test_integer_parameters_are_refused() -> None:
    params = {**init(KEY), "counter": jnp.zeros((), jnp.int32)}
    with pytest.raises(ValueError, match=r"counter.*floating-point"):
        jmeta.train_state(params, optax.sgd(0.1))


def test_an_absent_class_cannot_be_predicted_nor_poison_the_rest() -> None:
    head = jmeta.prototypical(3)
    state = head.fit(jnp.eye(2), jnp.array([0, 2]))
    logits = head.predict(state, jnp.ones((1, 2)))
    assert logits[0, 1] == jnp.finfo(jnp.float32).min
    grads = jax.jit(
        jax.grad(
            lambda z: jmeta.cross_entropy(
                head.predict(head.fit(z, jnp.array([0, 2])), z), jnp.array([0, 2])
            )
        )
    )(jnp.eye(2))
    chex.assert_tree_all_finite(grads)


def test_padding_counts_for_nothing() -> None:
    learner, params, one = jmeta.metric(apply, jmeta.prototypical(WAYS)), init(KEY), task(KEY)
    padded = jmeta.Batch(
        jnp.concatenate([one.support.x, 9 * jnp.ones((2, INPUTS))]),
        jnp.concatenate([one.support.y, -jnp.ones(2, one.support.y.dtype)]),
    )
    np.testing.assert_allclose(
        _predict(learner, params, one._replace(support=padded)),
        _predict(learner, params, one),
        rtol=1e-5,
    )
    logits = _predict(learner, params, one)
    labels = one.query.y.at[0].set(-1)
    assert jmeta.accuracy(logits, labels) == jmeta.accuracy(logits[1:], labels[1:])
    np.testing.assert_allclose(
        jmeta.cross_entropy(logits, labels), jmeta.cross_entropy(logits[1:], labels[1:]), rtol=1e-6
    )


def test_inductive_predictions_do_not_see_other_queries() -> None:
    def centred(params, x):  # like batch statistics, it mixes the batch
        return apply(params, x - x.mean(0, keepdims=True))

    learner = jmeta.metric(centred, jmeta.prototypical(WAYS))
    params, one = init(KEY), task(KEY)
    other = one._replace(query=one.query._replace(x=one.query.x.at[5].add(3.0)))
    mixed = _predict(learner, params, one)[0] - _predict(learner, params, other)[0]
    assert jnp.abs(mixed).max() > 1e-3
    single = jmeta.inductive(learner)
    np.testing.assert_array_equal(
        _predict(single, params, one)[0], _predict(single, params, other)[0]
    )

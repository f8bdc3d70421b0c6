"""What every learner must do, run over the list of all of them."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learners import (
    INPUTS,
    NET,
    READERS,
    WAYS,
    Case,
    apply,
    close,
    init,
    made,
    over_cases,
    reordered,
    task,
)

import jmeta
from jmeta import nn
from jmeta.losses import cross_entropy
from jmeta.metrics import accuracy

KEY = jax.random.key(0)


FEW = ("maml", "imaml", "cavia", "protonet", "relation", "snail")  # each costs seconds
LONG = ("svm", "ridge", "relation", "matching, full context", "anp")  # operation by operation
COMPOSED = ("maml, inner adam", "maml++, all steps")
LENGTHY = lambda case: case in READERS or case.name in LONG[3:]  # noqa: E731
cases = over_cases(slow=LENGTHY)


def _tasks(case: Case, count: int = 4) -> jmeta.Task:
    return jax.vmap(case.task)(jax.random.split(KEY, count))


def _eager(learner, params, one):
    return learner.predict(learner.adapt(params, one.support), one.query.x)


_predict = jax.jit(_eager, static_argnums=0)  # compiled once a learner, whatever the test


@over_cases(slow=lambda case: case in READERS or case.name in (*LONG, *COMPOSED))
def test_jit_equals_eager(case: Case) -> None:
    learner, params, one = made(case), case.init(KEY), case.task(KEY)
    close(_predict(learner, params, one), _eager(learner, params, one))


@cases
def test_vmap_equals_a_loop(case: Case) -> None:
    learner, params, tasks = made(case), case.init(KEY), _tasks(case)
    together = jax.jit(jax.vmap(lambda t: _eager(learner, params, t)))(tasks)
    alone = [_predict(learner, params, jax.tree.map(lambda x, i=i: x[i], tasks)) for i in range(4)]
    close(together, jax.tree.map(lambda *each: jnp.stack(each), *alone))


@over_cases(slow=lambda case: case.name not in FEW)
def test_second_step_does_not_retrace(case: Case) -> None:
    tx = optax.adam(1e-2)
    chex.clear_trace_counter()
    update = jax.jit(chex.assert_max_traces(jmeta.step(case.judge(), tx), n=1))
    state = jmeta.train_state(case.init(KEY), tx)
    for _ in range(3):
        state, aux = update(state, _tasks(case))
    assert int(state.step) == 3
    assert all(leaf.shape == (4, *case.outputs) for leaf in jax.tree.leaves(aux.outputs))


@cases
def test_gradients_are_finite_with_a_dead_leaf_and_zero_inputs(case: Case) -> None:
    loss, params, one = case.judge(), case.init(KEY), case.task(KEY)
    gradient = jax.jit(jax.grad(lambda p, one: loss(p, one)[0]))
    chex.assert_tree_all_finite(gradient(params, one))
    zeros = [
        batch._replace(**jax.tree.map(jnp.zeros_like, {"x": batch.x, "y": batch.y}))
        for batch in one
    ]
    chex.assert_tree_all_finite(gradient(params, jmeta.Task(*zeros)))


@over_cases(
    lambda case: not case.ordered, slow=lambda case: case.name in LONG
)  # the others read a sequence
def test_support_order_does_not_matter(case: Case) -> None:
    learner, params, one = made(case), case.init(KEY), case.task(KEY)
    order = jax.random.permutation(KEY, one.support.y.shape[0])
    shuffled = one._replace(support=reordered(one.support, order))
    found, wanted = (_predict(learner, params, each) for each in (shuffled, one))
    close(found, wanted, rtol=2e-4, atol=2e-4)


@over_cases(
    lambda case: case.equivariant, slow=lambda case: case.name in LONG
)  # the others have an output a label
def test_label_permutation_permutes_the_logits(case: Case) -> None:
    learner, params, one = made(case), case.init(KEY), case.task(KEY)
    order = jnp.array([2, 0, 1])
    renamed = one._replace(support=one.support._replace(y=order[one.support.y]))
    close(_predict(learner, params, renamed)[:, order], _predict(learner, params, one))


@cases
def test_adapt_returns_a_pytree_of_arrays(case: Case) -> None:
    adapted = jax.eval_shape(made(case).adapt, case.init(KEY), case.task(KEY).support)
    assert all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(adapted))


@cases
def test_init_makes_the_parameters_and_the_key_determines_them(case: Case) -> None:
    params = [np.asarray(leaf) for leaf in jax.tree.leaves(case.init(KEY))]
    assert all(np.issubdtype(leaf.dtype, np.floating) for leaf in params)
    again = jax.jit(made(case).init)(
        KEY, case.task(jax.random.key(7))
    )  # of the task, its shapes alone
    close(params, jax.tree.leaves(again), rtol=1e-5, atol=1e-6)
    if case.net is not None:  # those of the network are among them, whole or once a step
        kept = {leaf.tobytes() for leaf in params} | {p[0].tobytes() for p in params if p.ndim}
        inputs = [case.task(KEY).support.x[:1], *([KEY] if case.net.stochastic else [])]
        for leaf in jax.tree.leaves(jax.jit(case.net.init)(KEY, *inputs)):
            assert np.asarray(leaf).tobytes() in kept


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
            lambda z: cross_entropy(
                head.predict(head.fit(z, jnp.array([0, 2])), z), jnp.array([0, 2])
            )
        )
    )(jnp.eye(2))
    chex.assert_tree_all_finite(grads)


def test_padding_counts_for_nothing() -> None:
    learner, params, one = jmeta.metric(NET, jmeta.prototypical(WAYS)), init(KEY), task(KEY)
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
    assert accuracy(logits, labels) == accuracy(logits[1:], labels[1:])
    np.testing.assert_allclose(
        cross_entropy(logits, labels), cross_entropy(logits[1:], labels[1:]), rtol=1e-6
    )


def test_inductive_predictions_do_not_see_other_queries() -> None:
    def centred(params, x):  # like batch statistics, it mixes the batch
        return apply(params, x - x.mean(0, keepdims=True))

    net = nn.from_functions(lambda key, x: init(key), centred)
    learner = jmeta.metric(net, jmeta.prototypical(WAYS))
    params, one = init(KEY), task(KEY)
    other = one._replace(query=one.query._replace(x=one.query.x.at[5].add(3.0)))
    mixed = _predict(learner, params, one)[0] - _predict(learner, params, other)[0]
    assert jnp.abs(mixed).max() > 1e-3
    single = jmeta.inductive(learner)
    np.testing.assert_array_equal(
        _predict(single, params, one)[0], _predict(single, params, other)[0]
    )

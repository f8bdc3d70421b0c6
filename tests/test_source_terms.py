"""Terms of a source beside the loss of a target: values, gradients, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learners import EMBED, NET, double, init, task
from test_gradients import finite_differences

import jmeta
from jmeta.losses import cross_entropy, feature_matching, l2_sp, with_source

KEY = jax.random.key(3)
LEARNER = jmeta.maml(NET, cross_entropy, jmeta.unrolled(optax.sgd(0.3), 2))


def test_the_sum_is_differentiated_in_both_terms() -> None:
    with jax.enable_x64(True):
        one, params = double(task(KEY)), double(init(KEY))
        start = double(init(jax.random.key(4)))
        start.pop("w2")  # a fresh head
        target = jmeta.episodic(LEARNER, cross_entropy)
        loss = with_source(target, l2_sp(start, alpha=0.3, beta=0.2), 0.7)
        loss = with_source(loss, feature_matching(EMBED.apply, partial(EMBED.apply, init(KEY))), 2)
        exact = jax.flatten_util.ravel_pytree(jax.grad(lambda p: loss(p, one)[0])(params))[0]
        numeric = finite_differences(lambda p: loss(p, one)[0], params)
        assert np.linalg.norm(exact - numeric) < 1e-6 * np.linalg.norm(numeric)
        near = sum(0.15 * np.sum((params[n] - start[n]) ** 2) for n in start)
        near += 0.1 * np.sum(params["w2"] ** 2)
        value = with_source(target, l2_sp(start, alpha=0.3, beta=0.2), 0.7)(params, one)[0]
        np.testing.assert_allclose(value, target(params, one)[0] + 0.7 * near, rtol=1e-12)


def test_a_source_may_have_tasks_of_its_own() -> None:
    both, params = (task(KEY), task(jax.random.key(5))), init(KEY)
    loss = jmeta.episodic(LEARNER, cross_entropy)
    summed = with_source(lambda p, t: loss(p, t[0]), lambda p, t: loss(p, t[1]), jnp.array(0.5))
    value, outputs = jax.jit(summed)(params, both)
    (first, wanted), (second, _) = (loss(params, one) for one in both)
    np.testing.assert_allclose(value, first + 0.5 * second, rtol=1e-5)
    np.testing.assert_allclose(outputs, wanted, rtol=1e-4, atol=1e-5)


def test_padded_examples_and_running_statistics_do_not_count() -> None:
    one = task(KEY)
    padded = one._replace(
        query=one.query._replace(
            x=jnp.concatenate([one.query.x, jnp.full((2, 4), jnp.nan)]),
            y=jnp.concatenate([one.query.y, jnp.array([-1, -1])]),
        )
    )
    loss = feature_matching(EMBED.apply, partial(EMBED.apply, init(jax.random.key(9))))
    value = jax.jit(lambda p, t: loss(p, t)[0])
    np.testing.assert_allclose(value(init(KEY), padded), value(init(KEY), one), rtol=1e-6)
    start = {"params": {"w": jnp.ones(2)}, "batch_stats": {"mean": jnp.ones(3)}}
    moved = jax.tree.map(lambda leaf: leaf + 1, start)
    assert float(l2_sp(start, alpha=1.0)(moved, None)[0]) == 1.0


def test_the_pull_is_that_of_the_inner_transformation() -> None:
    start, params = init(KEY), init(jax.random.key(4))
    tx = jmeta.core.pull_to_start(0.4)
    pulled, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(start), params)
    found = jax.grad(lambda p: l2_sp(start, alpha=0.4)(p, None)[0])(params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), found, pulled)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: with_source(3, l2_sp({}), 1.0), "the target is int"),
        (lambda: with_source(l2_sp({}), l2_sp({}), -1.0), "weight >= 0, but got -1"),
        (lambda: l2_sp({}, alpha=-1.0), "alpha >= 0"),
        (
            lambda: l2_sp({"a": jnp.ones(2), "b": jnp.ones(1)})({"a": jnp.ones(3)}, None),
            r"a of shape \(3,\) and \(2,\) at the start",
        ),
        (lambda: l2_sp({"b": jnp.ones(2)})({"a": 1}, None), "the parameters are a, and .* has b"),
        (lambda: feature_matching(EMBED, print), "two functions"),
        (
            lambda: feature_matching(NET.apply, partial(EMBED.apply, init(KEY)))(
                init(KEY), task(KEY)
            ),
            r"shape \(6, 3\) and, of the source, \(6, 5\)",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, says) -> None:
    with pytest.raises(ValueError, match=says):
        make()

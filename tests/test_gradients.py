"""Meta-gradients in float64 against central finite differences, and exact identities."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from learners import NET, READERS, Case, apply, double, init, made, over_cases, task

import jmeta
from jmeta.losses import cross_entropy

KEY = jax.random.key(1)
LONG = ("matching, full context", "cnp", "np", "maml, inner adam", "svm")
# A case of their family is proven, and test_family.py compares the first two with maml.
LIKE = ("maml++, all steps", "meta-sgd", "cavia + learned inner adam", "maml, dropout")


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@jax.jit
def _plain_gradient(params, batch):
    return jax.grad(lambda p: cross_entropy(apply(p, batch.x), batch.y))(params)


def finite_differences(f, params, *, eps: float = 1e-6):
    """Central differences of a scalar function, one entry at a time."""
    flat, unravel = ravel_pytree(params)
    basis = np.eye(flat.size) * eps
    at = jax.jit(jax.vmap(lambda v: f(unravel(v))))
    return np.asarray(at(flat[None] + basis) - at(flat[None] - basis)) / (2 * eps)


def _reference(case: Case, params, one):
    """The function whose derivative the meta-gradient is meant to be."""
    if case.order == 2:
        loss = case.judge()
        return lambda p: loss(p, one)[0]
    adapted = jax.jit(made(case).adapt)(params, one.support).params
    if case.loss is jmeta.reptile:
        flat = ravel_pytree(adapted)[0]
        return lambda p: 0.5 * jnp.sum((ravel_pytree(p)[0] - flat) ** 2)
    shift = jax.tree.map(jnp.subtract, adapted, params)  # the inner gradients are held fixed
    return lambda p: cross_entropy(apply(jax.tree.map(jnp.add, p, shift), one.query.x), one.query.y)


@over_cases(
    lambda case: case.order > 0,
    slow=lambda case: case in READERS or case.name in LONG or case.name in LIKE,
)
def test_meta_gradient_equals_finite_differences(case: Case) -> None:
    one, params, loss = double(case.task(KEY)), double(case.init(KEY)), case.judge()
    exact = ravel_pytree(jax.jit(jax.grad(lambda p: loss(p, one)[0]))(params))[0]
    numeric = finite_differences(_reference(case, params, one), params)
    error = np.linalg.norm(exact - numeric) / np.linalg.norm(numeric)
    print(f"{case.name}: relative error {error:.1e}")
    assert error < case.error


def test_fomaml_is_the_query_gradient_at_phi() -> None:
    params, one = double(init(KEY)), double(task(KEY))
    learner = jmeta.maml(
        NET,
        cross_entropy,
        jmeta.unrolled(optax.chain(jmeta.first_order(), optax.sgd(0.3)), 4),
    )
    loss = jmeta.episodic(learner, cross_entropy)
    found = jax.jit(jax.grad(lambda p: loss(p, one)[0]))(params)
    adapted = jax.jit(learner.adapt)(params, one.support)
    wanted = _plain_gradient(adapted.params, one.query)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), found, wanted
    )


def test_reptile_is_the_mean_of_theta_minus_phi() -> None:
    params = double(init(KEY))
    tasks = double(jax.vmap(task)(jax.random.split(KEY, 3)))
    learner = jmeta.maml(NET, cross_entropy, jmeta.unrolled(optax.sgd(0.3), 4))
    loss = jmeta.reptile(learner, cross_entropy)
    grads, _ = jax.jit(jmeta.meta_gradient(loss))(params, tasks)
    phis = jax.jit(jax.vmap(lambda s: learner.adapt(params, s).params))(tasks.support)
    jax.tree.map(
        lambda g, p, phi: np.testing.assert_allclose(g, p - phi.mean(0), rtol=1e-10, atol=1e-13),
        *(grads, params, phis),
    )


def test_zero_steps_is_plain_training() -> None:
    params, one = double(init(KEY)), double(task(KEY))
    learner = jmeta.maml(NET, cross_entropy, jmeta.unrolled(optax.sgd(0.3), 0))
    loss = jmeta.episodic(learner, cross_entropy)
    found = jax.jit(jax.grad(lambda p: loss(p, one)[0]))(params)
    wanted = _plain_gradient(params, one.query)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, wanted)


@pytest.mark.parametrize("options", [{"remat": True}, {"unroll": True}, {"unroll": 2}])
def test_remat_and_unroll_change_nothing(options: dict) -> None:
    params, one = double(init(KEY)), double(task(KEY))

    def gradient(**options):
        solver = jmeta.unrolled(optax.sgd(0.3), 4, **options)
        loss = jmeta.episodic(jmeta.maml(NET, cross_entropy, solver), cross_entropy)
        return ravel_pytree(jax.jit(jax.grad(lambda p: loss(p, one)[0]))(params))[0]

    np.testing.assert_allclose(gradient(**options), gradient(), rtol=1e-12)


def test_second_order_differs_from_first_order() -> None:
    params, one = double(init(KEY)), double(task(KEY))

    def gradient(tx):
        learner = jmeta.maml(NET, cross_entropy, jmeta.unrolled(tx, 3))
        loss = jmeta.episodic(learner, cross_entropy)
        return ravel_pytree(jax.jit(jax.grad(lambda p: loss(p, one)[0]))(params))[0]

    second = gradient(optax.sgd(0.3))
    first = gradient(optax.chain(jmeta.first_order(), optax.sgd(0.3)))
    assert np.linalg.norm(second - first) > 0.05 * np.linalg.norm(second)

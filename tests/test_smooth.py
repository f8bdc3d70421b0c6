"""What `unrolled` accepts as an inner optimizer, and the meta-gradients through what it accepts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from arrays import arrays, close
from jax.flatten_util import ravel_pytree
from jax.sharding import PartitionSpec as P
from quick import few

import jmeta
from jmeta import losses, nn
from jmeta.core import Batch, Task, clip_by_global_norm, scale_by_rates
from jmeta.core._smooth import require_smooth

PARAMS = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def finite_differences(f, at, eps=1e-6):
    """Central differences of a scalar function of a pytree, one entry at a time."""
    flat, unravel = ravel_pytree(at)
    each = jax.jit(jax.vmap(lambda v: f(unravel(v))))
    basis = eps * jnp.eye(flat.size)
    return unravel((each(flat[None] + basis) - each(flat[None] - basis)) / (2 * eps))


def quadratic(weights, k=0):
    """A loss with a minimum that every entry of the parameters takes part in."""
    del k
    flat = ravel_pytree(weights)[0]
    return jnp.sum((jnp.sin(flat) - 0.3 * jnp.arange(flat.size)) ** 2) + jnp.sum(flat) ** 2 / 2


def after(tx, start, steps=2):
    """A number that depends on the parameters after the inner loop."""
    return quadratic(jmeta.unrolled(tx, steps)(quadratic, start).final)


# Transformations that are more than elementwise


def curvature(matrices):
    """Multiply gradients by a matrix on either side: Meta-Curvature."""
    left, right = matrices["left"], matrices["right"]
    return optax.stateless(lambda g, _: {**g, "w": -0.1 * (left @ g["w"] @ right)})


def test_a_learner_learns_the_matrices_of_a_preconditioner(float64) -> None:
    net = nn.from_functions(
        lambda key, x: {"w": jnp.ones((4, 3))}, lambda params, x: x @ params["w"]
    )
    objective = losses.mean_squared_error
    start = {"left": jnp.eye(4), "right": jnp.eye(3)}
    learner = jmeta.learned(
        lambda m: jmeta.maml(net, objective, jmeta.unrolled(curvature(m), 2)), start
    )
    support, query = (Batch(*arrays(seed, (5, 4), (5, 3))) for seed in (0, 1))
    task = Task(support, query)
    params = learner.init(jax.random.key(0), task)
    loss = jmeta.episodic(learner, objective)
    found = jax.jit(jax.grad(lambda p: loss(p, task)[0]))(params)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found.hyper))
    close(found, finite_differences(lambda p: loss(p, task)[0], params), 1e-7)


def kronecker(values):
    """The same product as one matrix over the flattened gradient, by a reshape."""

    def update(g, _):
        both = jnp.kron(values["left"], values["right"])
        return {**g, "w": -0.1 * (both @ g["w"].reshape(-1)).reshape(g["w"].shape)}

    return optax.stateless(update)


def full_matrix(values):
    """One matrix over all parameters, flattened together."""

    def update(g, _):
        flat, unravel = ravel_pytree(g)
        return unravel(-0.1 * values["all"] @ flat)

    return optax.stateless(update)


def solved(values):
    """A linear system for all parameters: its matrix has to be invertible to be tried at all."""

    def update(g, _):
        flat, unravel = ravel_pytree(g)
        return unravel(-0.1 * jnp.linalg.solve(values["all"], flat))

    return optax.stateless(update)


def preconditioned_adam(values):
    """Adam, whose roots have to be tried, before a matrix that fixes the shapes."""
    return optax.chain(optax.scale_by_adam(eps_root=1e-8), full_matrix(values))


def diagonal(values):
    """A vector that must have the length of all parameters."""

    def update(g, _):
        flat, unravel = ravel_pytree(g)
        assert flat.shape == values["vector"].shape
        return unravel(-flat * values["vector"] / jnp.sqrt(flat**2 + 1.0))

    return optax.stateless(update)


PRECONDITIONERS = [curvature, kronecker, full_matrix, solved, preconditioned_adam, diagonal]


@pytest.mark.parametrize("make", few(PRECONDITIONERS, "curvature"))
def test_preconditioners_are_differentiated_by_what_they_learn(make, float64) -> None:
    w, b, left, right, whole, vector = arrays(2, (3, 2), (2,), (3, 3), (2, 2), (8, 8), (8,))
    values = {
        "left": jnp.eye(3) + 0.1 * left,
        "right": jnp.eye(2) + 0.1 * right,
        "all": jnp.eye(8) + 0.1 * whole,
        "vector": 0.1 + vector**2,
    }
    start = {"w": w, "b": b}
    f = lambda values: after(make(values), start)  # noqa: E731
    found = jax.jit(jax.grad(f))(values)
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found))
    close(found, finite_differences(f, values), 1e-6)


def whitened(root):
    """Divide by a root of the gradient's second moment, from a factorisation of a matrix."""

    def update(g, _):
        return {**g, "w": root(g["w"] @ g["w"].T + 1e-3 * jnp.eye(3)) @ g["w"]}

    return optax.stateless(update)


def test_a_factorisation_is_tried_on_the_true_shapes() -> None:
    # A matrix of one element has no two equal eigenvalues; one of three has, at a zero gradient.
    def by_eigenvectors(matrix):
        values, vectors = jnp.linalg.eigh(matrix)
        return (vectors / jnp.sqrt(values)[None]) @ vectors.T

    with pytest.raises(ValueError, match="no finite derivative"):
        require_smooth(whitened(by_eigenvectors), PARAMS)
    require_smooth(whitened(jnp.linalg.cholesky), PARAMS)


def test_what_is_singular_only_in_its_true_shapes_is_found() -> None:
    def update(g, _):
        wide = g["w"].size > 1  # a branch that arrays of one element do not take
        return jax.tree.map(lambda v: jnp.sqrt(v**2) if wide else v, g)

    with pytest.raises(ValueError, match="no finite derivative"):
        require_smooth(optax.stateless(update), PARAMS)


def test_errors_of_a_transformation_itself_are_its_own() -> None:
    def update(g, _):
        raise ValueError("this transformation knows no vectors")

    with pytest.raises(ValueError, match="knows no vectors"):
        require_smooth(optax.stateless(update), PARAMS)


@pytest.mark.parametrize("leaf", [jnp.ones(2, jnp.int32), 1.0])
def test_a_start_that_cannot_be_differentiated_is_named(leaf) -> None:
    with pytest.raises(ValueError, match=r"the inner loop's start\['b'\] has"):
        require_smooth(optax.adam(0.1, eps_root=1e-8), {**PARAMS, "b": leaf})


@pytest.mark.parametrize(
    "tx",
    [
        optax.clip_by_global_norm(1.0),
        pytest.param(optax.scale_by_trust_ratio(), marks=pytest.mark.slow),
        pytest.param(optax.contrib.muon(0.1), marks=pytest.mark.slow),
    ],
    ids=["clip_by_global_norm", "trust ratio", "muon"],
)
def test_norms_without_an_epsilon_are_refused(tx) -> None:
    with pytest.raises(ValueError, match=r"no finite derivative.*jmeta\.core\.clip_by_global_norm"):
        require_smooth(tx, PARAMS)
    require_smooth(optax.chain(jmeta.first_order(), tx), PARAMS)
    require_smooth(optax.chain(clip_by_global_norm(1.0), optax.sgd(0.1)), PARAMS)


# Elementwise transformations


@pytest.mark.parametrize(
    ("tx", "smooth"),
    [
        (optax.sgd(0.1, momentum=0.9, nesterov=True), True),
        (optax.adam(0.1), False),
        (optax.adam(0.1, eps_root=1e-8), True),
        (optax.rmsprop(0.1), True),
        (optax.rmsprop(0.1, eps=0.0), False),
        (optax.rmsprop(0.1, eps_in_sqrt=False), False),
    ],
)
def test_the_verdict_is_what_the_derivative_does(tx, smooth: bool) -> None:
    def relu(params, k=0):
        return jnp.sum((jax.nn.relu(params["w"].sum(0)) + params["b"]) ** 2)

    start = {**PARAMS, "w": -PARAMS["w"]}  # all gradients are 0
    solve = jmeta.unrolled(tx, 3)
    if smooth:
        found = jax.jit(jax.grad(lambda p: relu(solve(relu, p).final)))(start)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    else:
        with pytest.raises(ValueError, match=r"no finite derivative.*eps_root.*first_order"):
            solve(relu, start)


MAKERS = {
    "sgd": lambda v: optax.sgd(v["rate"]),
    "adam": lambda v: optax.adam(v["rate"], eps_root=1e-4),
    "a learned decay": lambda v: optax.adam(v["rate"], b1=v["decay"], eps_root=1e-4),
    "rates": lambda v: optax.chain(optax.scale_by_adam(eps_root=1e-4), scale_by_rates(v["rates"])),
}


@pytest.mark.parametrize("name", few(MAKERS, "rates"))
def test_learned_values_are_differentiated_under_jit_vmap_and_shard_map(name, float64) -> None:
    w, b = arrays(3, (3, 2), (2,))
    start = {"w": w, "b": b}
    values = {
        "rate": jnp.array(0.1),
        "decay": jnp.array(0.9),
        "rates": {"w": jnp.full((3, 2), 0.1), "b": jnp.array([0.1, 0.2])},
    }
    f = lambda values, start=start: after(MAKERS[name](values), start)  # noqa: E731
    found = jax.jit(jax.grad(f))(values)
    close(found, finite_differences(f, values), 1e-6)

    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf / 2]), (values, start))
    mapped = jax.jit(jax.vmap(jax.grad(f)))(*batch)
    close(jax.tree.map(lambda leaf: leaf[0], mapped), found)

    split = {"in_specs": P("tasks"), "out_specs": P("tasks")}
    each = jax.shard_map(jax.vmap(jax.grad(f)), mesh=jmeta.task_mesh(2), **split)
    close(jax.jit(each)(*batch), mapped)


def test_a_learned_rate_does_not_hide_a_singular_derivative() -> None:
    with pytest.raises(ValueError, match="no finite derivative"):
        jax.jit(jax.grad(lambda rate: after(optax.adam(rate), PARAMS)))(0.1)


# Line searches


@pytest.mark.parametrize("first", [False, True])
def test_a_line_search_is_refused_with_the_way_out(first: bool) -> None:
    tx = optax.chain(jmeta.first_order(), optax.lbfgs()) if first else optax.lbfgs()
    solve = jmeta.unrolled(tx, 2)
    with pytest.raises(ValueError, match=r"while loop.*line search.*jmeta\.implicit"):
        jax.jit(jax.grad(lambda p: quadratic(solve(quadratic, p).final)))(PARAMS)


def test_a_loop_through_which_nothing_is_differentiated_passes() -> None:
    def update(g, params):
        halved = jax.lax.while_loop(lambda s: s[1] < 3, lambda s: (s[0] / 2, s[1] + 1), (0.8, 0))
        return jax.tree.map(lambda v: -halved[0] * v, g)

    require_smooth(optax.stateless(update), PARAMS)


@pytest.mark.slow
def test_lbfgs_finds_an_implicit_minimum_with_its_derivative(float64) -> None:
    w, b = arrays(4, (3, 2), (2,))
    start = {"w": w, "b": b}

    def f(params):
        theta, strength = params
        solver = jmeta.implicit(optax.lbfgs(), 20, strength=strength)
        return jnp.sum(jnp.arange(1.0, 9.0) * ravel_pytree(solver(loss, theta).final)[0])

    def loss(params, k):  # convex
        flat = ravel_pytree(params)[0]
        return jnp.sum(jnp.logaddexp(flat, -flat)) + jnp.sum(flat) ** 2 / 2

    at = (start, jnp.array(1.5))
    found = jax.jit(jax.grad(f))(at)
    close(found, finite_differences(f, at, 1e-5), 1e-6)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf / 2]), at)
    mapped = jax.jit(jax.vmap(jax.grad(f)))(batch)
    close(jax.tree.map(lambda leaf: leaf[0], mapped), found, 1e-7)
    second = jax.tree.map(lambda leaf: leaf[1], batch)
    close(jax.tree.map(lambda leaf: leaf[1], mapped), jax.jit(jax.grad(f))(second), 1e-7)

"""What linear heads that are solved to their optimum share: logits, and the dual problem.

The weights are W = Xᵀ A. The dual variables A [S, N] are found from the Gram matrix X Xᵀ [S, S] of
the support set, which is small even where the embeddings are long.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.core._numbers import at_least_float32, product
from jmeta.learners.comparison._heads import Head, membership, only_present, real_rows

Value = float | jax.Array  # a number, or a traced, learned array []


class Linear(NamedTuple):
    """A fitted linear classifier."""

    weights: jax.Array  # [D, N]
    present: jax.Array  # [N] bool: the class has a support example


class Problem(NamedTuple):
    """An optimisation problem in the dual variables A [S, N]."""

    gram: jax.Array  # K = X Xᵀ [S, S]
    targets: jax.Array  # Y [S, N] one-hot labels, zeros for padding
    present: jax.Array  # [N] bool: the class has a support example
    weight: Value  # λ of the regressions, C of the support vector machine


def linear_head(
    solve: Callable[[jax.Array, jax.Array], jax.Array], *, ways: int, scale: Value, bias: Value
) -> Head:
    """A head with logits s z W + b, whose weights W are the solution of a problem.

    Args:
        solve: X [S, D], one-hot labels Y [S, N] -> W [D, N]. Padded rows of both are zeros.
        ways: N, the number of classes.
        scale, bias: s and b of the logits.

    >>> head = linear_head(lambda x, y: x.T @ y, ways=2, scale=2.0, bias=0.0)
    >>> state = head.fit(jnp.array([[1.0], [3.0]]), jnp.array([0, 1]))
    >>> head.predict(state, jnp.ones((1, 1))).tolist()
    [[2.0, 6.0]]
    """

    def fit(embeddings: jax.Array, labels: jax.Array) -> Linear:
        embeddings = at_least_float32(embeddings)  # LAPACK knows no other precision
        y = membership(labels, ways, embeddings.dtype)  # checks the labels first
        return Linear(solve(_matrix(embeddings, labels), y), y.any(0))

    def predict(state: Linear, embeddings: jax.Array) -> jax.Array:
        return only_present(scale * (product(embeddings, state.weights)) + bias, state.present)

    return Head(fit, predict)


def dual_head(
    solve: Callable[[Problem], jax.Array], weight: Value, *, ways: int, scale: Value, bias: Value
) -> Head:
    """A linear head from the solution A of a dual problem: W = Xᵀ A.

    Args:
        solve: problem -> A [S, N].
        weight: λ or C of the problem.
        ways, scale, bias: see `linear_head`.

    >>> head = dual_head(lambda problem: problem.targets, 1.0, ways=2, scale=2.0, bias=0.0)
    >>> state = head.fit(jnp.array([[1.0], [3.0]]), jnp.array([0, 1]))
    >>> head.predict(state, jnp.ones((1, 1))).tolist()
    [[2.0, 6.0]]
    """

    def weights(x: jax.Array, y: jax.Array) -> jax.Array:
        return product(x.T, solve(Problem(product(x, x.T), y, y.any(0), weight)))

    return linear_head(weights, ways=ways, scale=scale, bias=bias)


def _matrix(embeddings: jax.Array, labels: jax.Array) -> jax.Array:
    """Embeddings [S, D] with zeros in padded rows, after a check of their shape."""
    if embeddings.ndim != 2 or embeddings.shape[0] != labels.shape[0]:
        raise ValueError(
            f"a linear head expects embeddings [S, D] and labels [S], but got {embeddings.shape} "
            f"and {labels.shape}; flatten the embeddings."
        )
    return real_rows(embeddings, labels)


def implicit_optimum(
    problem: Problem,
    find: Callable[[Problem], jax.Array],
    newton: Callable[[jax.Array, Problem, jax.Array], jax.Array],
    residual: Callable[[jax.Array, Problem], jax.Array],
) -> jax.Array:
    """The optimum A*, with the derivative that the implicit function theorem gives it.

        value A*,   derivative dA* = newton(A*, ∂residual),   residual(A*, problem) = 0

    The iterations that lead to the optimum are not differentiated.

    Args:
        problem: the problem; its weight is converted to the dtype of its Gram matrix.
        find: problem -> A [S, N] near the optimum.
        newton: (A, problem, residual [S, N]) -> the Newton step [S, N], linear in the residual.
        residual: (A, problem) -> [S, N], zero at the optimum only.

    >>> problem = Problem(jnp.eye(1), jnp.ones((1, 1)), jnp.array([True]), 2.0)
    >>> residual = lambda a, problem: problem.weight * a - problem.targets
    >>> newton = lambda a, problem, r: -r / problem.weight
    >>> f = lambda w: implicit_optimum(
    ...     problem._replace(weight=w), lambda p: p.targets / p.weight, newton, residual
    ... )[0, 0]
    >>> float(f(2.0)), float(jax.grad(f)(2.0))
    (0.5, -0.25)
    """
    problem = problem._replace(weight=jnp.asarray(problem.weight, problem.gram.dtype))
    fixed = lax.stop_gradient(problem)
    found = lax.stop_gradient(find(fixed))
    change = newton(found, fixed, residual(found, problem))
    return found + change - lax.stop_gradient(change)

"""The assignment of queries to classes of equal size, by entropic optimal transport."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve

from jmeta.core._numbers import product
from jmeta.learners.transductive._episode import probabilities

Solving = tuple[jax.Array, jax.Array, jax.Array]  # steps taken [], potentials [N], sums [N]


class Transport(NamedTuple):
    """A transport of real queries to the classes that are present."""

    scores: jax.Array  # [N, Q], −λ times the costs
    present: jax.Array  # [N] bool
    real: jax.Array  # [Q], 1 for a query and 0 for padding


def balanced(problem: Transport, start: jax.Array, *, steps: int) -> jax.Array:
    """The potentials v [N] whose plan gives each class as many queries.

        p_nq = softmax_n(score_nq + v_n),   v: Σ_q p_nq = Q/N for each class n

    Sinkhorn's alternating scaling leads to the same plan, in the more steps the surer its entries
    are. Here v, which has one entry a class, minimises the convex dual

        L(v) = Σ_q log Σ_n exp(score_nq + v_n) − (Q/N) Σ_n v_n

    by a step of Sinkhorn's and one of Newton's in turn, until the sums are right up to rounding.
    The derivative comes from the implicit function theorem and does not depend on the steps, so
    that reverse mode does not need to know their number.

    Args:
        problem: scores and masks.
        start: [N], where to begin.
        steps: the most steps, of either kind.

    >>> problem = Transport(jnp.array([[2.0, 1.0], [0.0, 0.0]]), jnp.array([True] * 2), jnp.ones(2))
    >>> v = balanced(problem, jnp.zeros(2), steps=5)
    >>> p, _ = probabilities(problem.scores + v[:, None], problem.present, axis=0)
    >>> [round(x, 4) for x in p.sum(1).tolist()]
    [1.0, 1.0]
    """
    fixed = lax.stop_gradient(problem)
    wanted = _share(fixed)
    enough = 2 * jnp.finfo(start.dtype).eps * fixed.real.sum()  # the rounding of a sum over queries

    def unfinished(carry: Solving) -> jax.Array:
        step, _, sums = carry
        return (step < steps) & (jnp.abs(sums - wanted).max() > enough)

    def advance(carry: Solving) -> Solving:
        step, v, sums = carry
        v = _newton(_sinkhorn(v, sums, fixed), fixed)
        return step + 1, v, _sums(v, fixed)

    first = lax.stop_gradient(start)
    _, v, _ = lax.while_loop(unfinished, advance, (jnp.int32(0), first, _sums(first, fixed)))
    excess, matrix = _excess(v, problem), lax.stop_gradient(_curvature(v, fixed))
    change = -cho_solve(cho_factor(matrix), excess)
    return v + change - lax.stop_gradient(change)


def _plan(v: jax.Array, problem: Transport) -> jax.Array:
    """p [N, Q], with zeros for padding and absent classes."""
    p, _ = probabilities(problem.scores + v[:, None], problem.present, axis=0)
    return p * problem.real[None]


def _share(problem: Transport) -> jax.Array:
    """Q/N of the real queries and the present classes, [N]; 0 for an absent class."""
    count = jnp.maximum(problem.present.sum(), 1)
    return jnp.where(problem.present, problem.real.sum() / count, 0)


def _sums(v: jax.Array, problem: Transport) -> jax.Array:
    """How many queries each class has, [N]."""
    return _plan(v, problem).sum(1)


def _excess(v: jax.Array, problem: Transport) -> jax.Array:
    """How many queries too many each class has, the gradient of L: [N]."""
    return _sums(v, problem) - _share(problem)


def _curvature(v: jax.Array, problem: Transport) -> jax.Array:
    """The Hessian Σ_q (diag(p) − p pᵀ) of L, made positive definite: [N, N].

    L does not change along (1, ..., 1), where the derivative is 0, so that a multiple of this
    direction may be added. A curvature that is 0 by rounding or far from the solution is raised by
    the residual, which bounds the step there and vanishes at the solution.
    """
    p = _plan(v, problem)
    sums, wanted = p.sum(1), _share(problem)
    least = jnp.finfo(p.dtype).eps * problem.real.sum() + 0.05 * jnp.abs(sums - wanted).max()
    raised = jnp.where(problem.present & problem.real.any(), sums + least, 1.0)
    among = jnp.where(problem.present[:, None] & problem.present[None], wanted.max(), 0)
    return jnp.diag(raised) - product(p, p.T) + among / len(v)


def _objective(v: jax.Array, problem: Transport) -> jax.Array:
    scores = jnp.where(problem.present[:, None], problem.scores + v[:, None], -jnp.inf)
    filled = jnp.where(problem.present.any(), scores, 0)
    return problem.real @ jax.nn.logsumexp(filled, 0) - _share(problem) @ v


def _sinkhorn(v: jax.Array, sums: jax.Array, problem: Transport) -> jax.Array:
    """Scale the columns: v + log(Q/N) − log Σ_q p_nq, in which a class without mass gets some."""
    wanted, least = _share(problem), jnp.finfo(v.dtype).tiny
    moved = v + jnp.log(jnp.maximum(wanted, least)) - jnp.log(jnp.maximum(sums, least))
    moved = moved - jnp.sum(jnp.where(problem.present, moved, 0)) / jnp.maximum(
        problem.present.sum(), 1
    )
    return jnp.where(problem.present, moved, 0)


def _newton(v: jax.Array, problem: Transport) -> jax.Array:
    """A Newton step of length 1, ½, ¼ or 0, whichever is best up to rounding."""
    direction = -cho_solve(cho_factor(_curvature(v, problem)), _excess(v, problem))
    lengths = jnp.array([1.0, 0.5, 0.25, 0.0], v.dtype)
    values = jax.vmap(lambda t: _objective(v + t * direction, problem))(lengths)
    rounding = 10 * jnp.finfo(v.dtype).eps * jnp.abs(values.min())
    return v + lengths[jnp.argmax(values <= values.min() + rounding)] * direction

"""The multi-class support vector machine of MetaOptNet, solved as a dual quadratic program."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve
from jax.scipy.sparse.linalg import cg

from jmeta.core._numbers import product, require_positive
from jmeta.learners.comparison._dual import Problem, Value, dual_head, implicit_optimum
from jmeta.learners.comparison._heads import Head, check_ways


def svm(
    ways: int,
    *,
    capacity: Value = 0.1,
    scale: Value = 1.0,
    bias: Value = 0.0,
    steps: int = 200,
    polish: int = 5,
) -> Head:
    """The multi-class support vector machine of Crammer and Singer, with logits s z W + b,

        W = argmin ½ |W|² + C Σ_s max_n (x_s w_n + 1[n ≠ y_s] − x_s w_{y_s})

    The head solves the dual problem in A [S, N], where W = Xᵀ A and K = X Xᵀ:

        min ½ tr(Aᵀ K A) − tr(Aᵀ Y),   A_s ≤ C Y_s,   Σ_n A_sn = 0

    It starts with ADMM and continues with Newton's method on the set of free variables. The same
    Newton step gives the derivative of the optimum by the implicit function theorem. The optimum
    is that of scikit-learn's `LinearSVC(multi_class="crammer_singer", fit_intercept=False)`.

    Args:
        ways: N, the number of classes (static).
        capacity: C > 0, the weight of an example.
        scale, bias: s and b of the logits. `capacity`, `scale` and `bias` may be traced arrays;
            the paper learns the scale.
        steps: the number of ADMM steps. A C far above 1 / |x|² needs more, and so do more
            examples than dimensions.
        polish: the number of Newton steps, each of which is kept only if it reduces the error.

    Returns:
        A head over embeddings [S, D].

    Raises:
        ValueError: `ways` is less than 1, `capacity` is not positive, `steps` or `polish` is
            negative, or the embeddings are not [S, D].

    Meta-Learning with Differentiable Convex Optimization (Lee, Maji, Ravichandran, Soatto, 2019,
    arXiv:1904.03758); On the Algorithmic Implementation of Multiclass Kernel-based Vector
    Machines (Crammer, Singer, 2001, JMLR 2).

    >>> head = svm(2, capacity=1.0)
    >>> state = head.fit(jnp.array([[1.0], [-1.0]]), jnp.array([0, 1]))
    >>> [round(x, 4) for x in head.predict(state, jnp.array([[3.0]]))[0].tolist()]
    [1.5, -1.5]
    """
    check_ways(ways, name="svm")
    require_positive(capacity, name="capacity", of="svm")
    if min(steps, polish) < 0:
        raise ValueError(f"svm expects steps and polish >= 0, but got {steps} and {polish}.")

    def find(problem: Problem) -> jax.Array:
        near = _admm(problem, steps)
        return lax.fori_loop(0, polish, lambda _, dual: _polish(dual, problem), near)

    def solve(problem: Problem) -> jax.Array:
        return implicit_optimum(problem, find, _newton, _gap)

    return dual_head(solve, capacity, ways=ways, scale=scale, bias=bias)


def _size(problem: Problem) -> jax.Array:
    """ρ, the mean of |x|² over the examples, which sets the scale of the problem."""
    count = jnp.maximum(problem.targets.sum(), 1)
    return jnp.maximum(jnp.trace(problem.gram) / count, 1e-6)


def _free(excess: jax.Array, problem: Problem) -> jax.Array:
    """Which entries are above 0 in the projection of `excess` u [S, N] onto the simplices.

    Entry n of a row is, if Σ_m [u_m − u_n]₊ < C over the present classes m.
    """
    gaps = jax.nn.relu(excess[:, None, :] - excess[:, :, None]) * problem.present[None, None]
    room = problem.weight * problem.targets.sum(1, keepdims=True)
    return (gaps.sum(-1) < room) & problem.present[None]


def _project(point: jax.Array, problem: Problem) -> jax.Array:
    """The nearest A [S, N] with A_s ≤ C Y_s and Σ_n A_sn = 0.

    Each row of C Y − A is the projection of C Y − `point` onto the simplex of sum C.
    """
    top = problem.weight * problem.targets
    excess = top - point
    free = _free(lax.stop_gradient(excess), lax.stop_gradient(problem))
    count = jnp.maximum(free.sum(1, keepdims=True), 1)
    room = top.sum(1, keepdims=True)
    level = (jnp.sum(jnp.where(free, excess, 0), 1, keepdims=True) - room) / count
    return top - jnp.where(free, excess - level, 0)


def _admm(problem: Problem, steps: int) -> jax.Array:
    """An A [S, N] near the optimum, by the alternating direction method of multipliers."""
    rho = _size(problem)
    eye = jnp.eye(problem.gram.shape[0], dtype=problem.gram.dtype)
    inverse = cho_solve(cho_factor(problem.gram + rho * eye), eye)

    def improve(_: int, state: tuple) -> tuple:
        split, multiplier = state
        dual = product(inverse, problem.targets + rho * (split - multiplier))
        relaxed = 1.6 * dual - 0.6 * split
        split = _project(relaxed + multiplier, problem)
        return split, multiplier + relaxed - split

    zeros = 0 * (problem.targets + problem.gram[:, :1])  # keeps the varying axes of both
    split, _ = lax.fori_loop(0, steps, improve, (zeros, zeros))
    return split


def _target(dual: jax.Array, problem: Problem) -> jax.Array:
    """A − ∇/ρ, a projected gradient step before its projection, which is A at the optimum only."""
    rho = lax.stop_gradient(_size(problem))
    return dual - (product(problem.gram, dual) - problem.targets) / rho


def _gap(dual: jax.Array, problem: Problem) -> jax.Array:
    """A minus the projection of its target, which is zero at the optimum only."""
    return dual - _project(_target(dual, problem), problem)


def _newton(dual: jax.Array, problem: Problem, gap: jax.Array) -> jax.Array:
    """The Newton step −(I − P (I − K/ρ))⁻¹ gap, where P is the Jacobian of the projection.

        δ = −(I − P) gap + e,   P K P e = −ρ P gap + P K (I − P) gap

    The second equation is solved by conjugate gradients.
    """
    top = problem.weight * problem.targets
    free = _free(top - _target(dual, problem), problem)
    count = jnp.maximum(free.sum(1, keepdims=True), 1)
    rho = _size(problem)
    small = 10 * float(jnp.finfo(dual.dtype).eps)

    def tangent(v: jax.Array) -> jax.Array:
        inside = jnp.where(free, v, 0)
        return jnp.where(free, inside - inside.sum(1, keepdims=True) / count, 0)

    def matrix(v: jax.Array) -> jax.Array:
        return tangent(product(problem.gram, tangent(v))) + small * rho * v

    across = gap - tangent(gap)
    wanted = tangent(product(problem.gram, across)) - rho * tangent(gap)
    inner, _ = cg(matrix, wanted, tol=small, maxiter=2 * dual.size)
    return tangent(inner) - across


def _polish(dual: jax.Array, problem: Problem) -> jax.Array:
    """A Newton step, if it reduces the gap."""
    gap = _gap(dual, problem)
    trial = _project(dual + _newton(dual, problem, gap), problem)
    nearer = jnp.sum(_gap(trial, problem) ** 2) < jnp.sum(gap**2)
    return jnp.where(nearer, trial, dual)

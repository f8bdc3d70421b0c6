"""Meta-gradients by the implicit function theorem, with memory that is independent of the steps."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jmeta.core._hoist import close_over
from jmeta.core._numbers import require_positive
from jmeta.core._solvers import check_steps, descent, require_transformation
from jmeta.core._tree import squared_distance
from jmeta.core._types import InnerLoss, Params, PyTree, Scalar, Solution, Solver

Matvec = Callable[[PyTree], PyTree]
LinearSolve = Callable[[Matvec, PyTree], PyTree]  # (v -> Av, b) -> x with Ax = b, A symmetric


def implicit(
    tx: optax.GradientTransformation,
    steps: int,
    *,
    strength: float | jax.Array,
    linear_solve: LinearSolve | None = None,
) -> Solver:
    """Descend a loss regularised towards θ and differentiate its minimum implicitly: iMAML.

        φ* = argmin_φ L(φ) + λ/2 |φ − θ|²,   dφ*/dθ = (I + ∇²L(φ*) / λ)⁻¹

    The derivative is taken with respect to everything that the loss depends on: θ, parameters
    that do not adapt, and a learned λ. Its error shrinks with the distance between the last iterate
    and the minimum. The memory is that of one step.

    The minimum is that of the last step's loss, L(φ) = loss(φ, K − 1). The derivative is therefore
    right only for a loss that does not depend on the step. This excludes minibatches, dropout and
    parameters that differ from step to step. The solution has no path.

    Args:
        tx: the inner optimizer. Nothing is differentiated through it, so any will do, including
            those with a line search such as `optax.lbfgs()`.
        steps: K ≥ 0 steps towards the minimum.
        strength: λ > 0, which may be a learned value. The minimum is unique if ∇²L + λI is
            positive definite.
        linear_solve: solves (∇²L + λI) x = b; `conjugate_gradient(10)` by default.

    Returns:
        `solve(loss, start) -> Solution(final, None, steps)`.

    Raises:
        ValueError: `tx` is not an Optax transformation, `steps` is negative, `strength` is not
            positive, or a leaf of `start` is not a floating-point array.

    Meta-Learning with Implicit Gradients (Rajeswaran, Finn, Kakade, Levine, 2019,
    arXiv:1909.04630).

    >>> solve = implicit(optax.sgd(0.25), 50, strength=2.0)  # of w² + (w − θ)²: half of θ
    >>> round(float(jax.grad(lambda theta: solve(lambda w, k: w**2, theta).final)(4.0)), 4)
    0.5
    """
    require_transformation(tx, of="implicit")
    check_steps("implicit", steps)
    require_positive(strength, name="strength", of="implicit")
    invert = conjugate_gradient(10) if linear_solve is None else linear_solve

    def solve(loss: InnerLoss, start: PyTree) -> Solution:
        last = jnp.int32(max(steps - 1, 0))
        pure, closed = close_over(lambda point: loss(*point), (start, last))

        def held(params: Params, given: tuple, k: jax.Array) -> Scalar:
            centre, weight, values = given
            return pure((params, k), values) + weight / 2 * squared_distance(params, centre)

        given = (start, jnp.asarray(strength), closed)
        fixed = lax.stop_gradient(given)
        descend = descent(tx, lambda params, k: held(params, fixed, k), start, remat=False)
        carry = (fixed[0], tx.init(fixed[0]))
        (found, _), _ = lax.scan(lambda c, k: (descend(c, k), None), carry, jnp.arange(steps))
        root = lax.stop_gradient(found)
        gradient = jax.grad(lambda params, given: held(params, given, last))

        def newton(point: tuple[Params, tuple], b: PyTree) -> PyTree:
            def hessian(vector: PyTree) -> PyTree:
                return jax.jvp(lambda params: gradient(params, point[1]), point[:1], (vector,))[1]

            return invert(hessian, b)

        residual = gradient(root, given)  # its value is left out, its derivative is kept
        nought = jax.tree.map(lambda leaf: leaf - lax.stop_gradient(leaf), residual)
        solved = _solved(newton, nought, (root, fixed))
        return Solution(jax.tree.map(jnp.subtract, root, solved), steps=steps)

    return solve


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _solved(solve: Callable[[PyTree, PyTree], PyTree], b: PyTree, point: PyTree) -> PyTree:
    """The solution x of A(point) x = b where b is 0: the value is 0, and the derivative is a solve.

    A is symmetric, so the cotangent of b is found by the same solve. JAX's own transposable solve
    (`lax.custom_linear_solve`) does not work under `vmap` inside `shard_map`.
    """
    del solve, point
    return b


def _solved_forward(solve: Callable, b: PyTree, point: PyTree) -> tuple[PyTree, PyTree]:
    del solve
    return b, point


def _solved_backward(solve: Callable, point: PyTree, cotangent: PyTree) -> tuple[PyTree, None]:
    return solve(point, cotangent), None


_solved.defvjp(_solved_forward, _solved_backward)


def conjugate_gradient(
    steps: int, *, tolerance: float = 1e-6, least_curvature: float = 0.0
) -> LinearSolve:
    """Solve Ax = b for a positive definite A by at most `steps` steps of conjugate gradients.

    The loss of a neural network has directions of negative curvature, so the A of `implicit` may
    not be positive definite. In a direction p with pᵀAp ≤ c|p|² the solve takes the step that
    curvature c would give and stops there, as truncated Newton methods do.

    Args:
        steps: the largest number of products with A.
        tolerance: x no longer changes once |Ax − b| ≤ tolerance |b|.
        least_curvature: c ≥ 0. With 0 no step is taken in such a direction. With λ/2 a step of
            bounded length is taken in directions where the loss has a curvature below −λ/2.

    Returns:
        `solve(matvec, b) -> x`, for pytrees b and x.

    Raises:
        ValueError: `steps` is less than 1, or `least_curvature` is negative.

    The Conjugate Gradient Method and Trust Regions in Large Scale Optimization (Steihaug, 1983).

    >>> solve = conjugate_gradient(5)
    >>> solve(lambda x: 2 * x, jnp.array([4.0])).tolist()
    [2.0]
    """
    check_steps("conjugate_gradient", steps, least=1)
    if least_curvature < 0:
        raise ValueError(
            f"conjugate_gradient expects least_curvature >= 0, but got {least_curvature}."
        )

    def solve(matvec: Matvec, b: PyTree) -> PyTree:
        first = _inner(b, b)

        def descend(carry: tuple, _: None) -> tuple[tuple, None]:
            x, residual, direction, square = carry
            product = matvec(direction)
            going = square > tolerance**2 * first
            curvature = _inner(direction, product)
            floor = least_curvature * _inner(direction, direction)
            bounded = jnp.maximum(curvature, floor)
            step = _ratio(square, bounded, going & (bounded > 0))
            x, residual = _add(x, step, direction), _add(residual, -step, product)
            now = jnp.where(curvature > floor, _inner(residual, residual), 0)  # 0: solved
            direction = _add(residual, _ratio(now, square, going), direction)
            return (x, residual, direction, now), None

        nought = jax.tree.map(lambda leaf: 0 * leaf, b)  # keeps the varying axes of b
        return lax.scan(descend, (nought, b, b, first), length=steps)[0][0]

    return solve


def _inner(left: PyTree, right: PyTree) -> Scalar:
    return jax.tree.reduce(jnp.add, jax.tree.map(jnp.vdot, left, right))


def _add(left: PyTree, factor: Scalar, right: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: a + factor.astype(b.dtype) * b, left, right)


def _ratio(top: Scalar, bottom: Scalar, going: jax.Array) -> Scalar:
    """The quotient where `going` holds and 0 elsewhere, without a division by zero."""
    return jnp.where(going, top / jnp.where(going, bottom, 1), 0)


def neumann(steps: int, *, rate: float) -> LinearSolve:
    """Solve Ax = b by a truncated Neumann series, which converges for 0 < αA < 2.

        x = α Σ_{j=0}^{J} (I − αA)^j b

    Args:
        steps: J, the number of products with A.
        rate: α, the factor of A in the series.

    Returns:
        `solve(matvec, b) -> x`, for pytrees b and x.

    Raises:
        ValueError: `steps` is less than 1.

    Optimizing Millions of Hyperparameters by Implicit Differentiation (Lorraine, Vicol, Duvenaud,
    2020, arXiv:1911.02590).

    >>> solve = neumann(50, rate=0.25)
    >>> round(float(solve(lambda x: 2 * x, jnp.array(4.0))), 4)
    2.0
    """
    check_steps("neumann", steps, least=1)

    def solve(matvec: Matvec, b: PyTree) -> PyTree:
        def add(carry: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], None]:
            term, total = carry
            term = jax.tree.map(lambda t, at: t - rate * at, term, matvec(term))
            return (term, jax.tree.map(jnp.add, total, term)), None

        (_, total), _ = lax.scan(add, (b, b), length=steps)
        return jax.tree.map(lambda leaf: rate * leaf, total)

    return solve

"""Meta-gradients by the implicit function theorem: memory that does not grow with the steps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jmeta.core.inner import check_steps, descent
from jmeta.core.tree import squared_distance
from jmeta.core.types import Params, PyTree, Scalar, Solver

Matvec = Callable[[PyTree], PyTree]
LinearSolve = Callable[[Matvec, PyTree], PyTree]  # (v -> Av, b) -> x with Ax = b, A symmetric


def implicit(
    tx: optax.GradientTransformation,
    steps: int,
    *,
    strength: float | jax.Array,
    linear_solve: LinearSolve | None = None,
) -> Solver:
    """Descend a loss that holds φ near θ; differentiate its minimum, not the way there: iMAML.

        φ* = argmin_φ L(φ) + λ/2 |φ − θ|²,   dφ*/dθ = (I + ∇²L(φ*) / λ)⁻¹

    The derivative is that of the minimum with respect to everything the loss depends on: θ,
    parameters that do not adapt, a learned λ. It is as good as φ* is near the minimum, and the
    memory is that of one step.

    Args:
        tx: the inner optimizer. Nothing is differentiated through it; any will do.
        steps: K ≥ 0 steps towards the minimum.
        strength: λ > 0; it may be a learned value. With λ above minus the least eigenvalue of
            ∇²L the minimum is unique.
        linear_solve: how (∇²L + λI) x = b is solved; `conjugate_gradient(10)` by default.

    Returns:
        `solve(loss, start) -> solution`.

    Raises:
        ValueError: `steps` is negative, or a leaf of `start` is no floating-point array.

    Meta-Learning with Implicit Gradients (Rajeswaran, Finn, Kakade, Levine, 2019,
    arXiv:1909.04630).

    >>> solve = implicit(optax.sgd(0.25), 50, strength=2.0)  # of w² + (w − θ)²: half of θ
    >>> round(float(jax.grad(lambda theta: solve(lambda w: w**2, theta))(4.0)), 4)
    0.5
    """
    check_steps("implicit", steps)
    invert = conjugate_gradient(10) if linear_solve is None else linear_solve

    def solve(loss: Callable[[Params], Scalar], start: Params) -> Params:
        pure, closed = jax.closure_convert(loss, start)  # so that what it closes over is named

        def held(params: Params, given: tuple) -> Scalar:
            centre, weight, values = given
            return pure(params, *values) + weight / 2 * squared_distance(params, centre)

        given = (start, jnp.asarray(strength), closed)
        fixed = lax.stop_gradient(given)
        descend = descent(tx, lambda params: held(params, fixed), start, remat=False)
        carry = (fixed[0], tx.init(fixed[0]))
        (found, _), _ = lax.scan(descend, carry, length=steps)
        root = lax.stop_gradient(found)
        gradient = jax.grad(held)

        def hessian(vector: PyTree) -> PyTree:
            return jax.jvp(lambda params: gradient(params, fixed), (root,), (vector,))[1]

        residual = gradient(root, given)  # its value is left out, its derivative is kept
        nought = jax.tree.map(lambda leaf: leaf - lax.stop_gradient(leaf), residual)
        return jax.tree.map(jnp.subtract, root, invert(hessian, nought))

    return solve


def conjugate_gradient(steps: int, *, tolerance: float = 1e-6) -> LinearSolve:
    """Solve Ax = b for a positive definite A by at most `steps` conjugate gradient steps.

    Args:
        steps: the most products with A.
        tolerance: stop where |Ax − b| ≤ tolerance |b|.

    >>> solve = conjugate_gradient(5)
    >>> solve(lambda x: 2 * x, jnp.array([4.0])).tolist()
    [2.0]
    """

    def solve(matvec: Matvec, b: PyTree) -> PyTree:
        return jax.scipy.sparse.linalg.cg(matvec, b, tol=tolerance, maxiter=steps)[0]

    return solve


def neumann(steps: int, *, rate: float) -> LinearSolve:
    """Solve Ax = b by the first terms of a series; it converges for 0 < αA < 2.

        x = α Σ_{j=0}^{J} (I − αA)^j b

    Args:
        steps: J, the number of products with A.
        rate: α.

    Optimizing Millions of Hyperparameters by Implicit Differentiation (Lorraine, Vicol, Duvenaud,
    2020, arXiv:1911.02590).

    >>> solve = neumann(50, rate=0.25)
    >>> round(float(solve(lambda x: 2 * x, jnp.array(4.0))), 4)
    2.0
    """

    def series(matvec: Matvec, b: PyTree) -> PyTree:
        def add(carry: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], None]:
            term, total = carry
            term = jax.tree.map(lambda t, at: t - rate * at, term, matvec(term))
            return (term, jax.tree.map(jnp.add, total, term)), None

        (_, total), _ = lax.scan(add, (b, b), length=steps)
        return jax.tree.map(lambda leaf: rate * leaf, total)

    return lambda matvec, b: lax.custom_linear_solve(matvec, b, series, symmetric=True)

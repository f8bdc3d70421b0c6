"""Linear heads that are solved to their optimum: ridge regression and logistic regression.

The logits are linear in the embeddings, without an intercept; append a column of ones for one.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve
from jax.scipy.sparse.linalg import cg

from jmeta.core._numbers import product, require_positive
from jmeta.learners.comparison._dual import (
    Problem,
    Value,
    dual_head,
    implicit_optimum,
    linear_head,
)
from jmeta.learners.comparison._heads import Head, check_ways, only_present


def ridge(ways: int, *, strength: Value = 1.0, scale: Value = 10.0, bias: Value = 0.0) -> Head:
    """Ridge regression to one-hot labels Y, with logits s z W + b,

        W = argmin |X W − Y|² + λ |W|² = Xᵀ (X Xᵀ + λ I)⁻¹ Y = (Xᵀ X + λ I)⁻¹ Xᵀ Y

    The smaller of the two systems is solved. The larger one is singular but for λ, which costs
    digits.

    Args:
        ways: N, the number of classes (static).
        strength: λ > 0. A value below ε tr(X Xᵀ), the rounding error of X Xᵀ, is raised to it.
        scale, bias: s and b, which turn the outputs of the regression, in 0..1, into logits.
            `strength`, `scale` and `bias` may be traced arrays; the paper learns all three.

    Returns:
        A head over embeddings [S, D].

    Raises:
        ValueError: `ways` is less than 1, `strength` is not positive, or the embeddings are not
            [S, D].

    Meta-learning with differentiable closed-form solvers (Bertinetto, Henriques, Torr, Vedaldi,
    2019, arXiv:1805.08136): R2-D2.

    >>> head = ridge(2, strength=1.0)
    >>> state = head.fit(jnp.eye(2), jnp.array([0, 1]))
    >>> [round(x, 4) for x in head.predict(state, jnp.eye(2)[:1])[0].tolist()]
    [5.0, 0.0]
    """
    check_ways(ways, name="ridge")
    require_positive(strength, name="strength", of="ridge")

    def inverse(gram: jax.Array, right: jax.Array) -> jax.Array:
        least = jnp.finfo(gram.dtype).eps * lax.stop_gradient(jnp.trace(gram))
        gram += jnp.maximum(strength, least) * jnp.eye(gram.shape[0], dtype=gram.dtype)
        return cho_solve(cho_factor(gram), right)

    def solve(x: jax.Array, y: jax.Array) -> jax.Array:
        examples, dimensions = x.shape
        any_number = not isinstance(examples, int)  # in an export, which is of few as a rule
        few = any_number or examples <= dimensions
        if few:
            return product(x.T, inverse(product(x, x.T), y))
        return inverse(product(x.T, x), product(x.T, y))

    return linear_head(solve, ways=ways, scale=scale, bias=bias)


def logistic(
    ways: int,
    *,
    strength: Value = 1.0,
    scale: Value = 1.0,
    bias: Value = 0.0,
    steps: int = 10,
) -> Head:
    """Multinomial logistic regression, with logits s z W + b,

        W = argmin Σ_s −log softmax(x_s W)[y_s] + ½ λ |W|²

    The optimum is found by Newton's method with a line search. Its derivative comes from the
    implicit function theorem and does not depend on the steps.

    Args:
        ways: N, the number of classes (static).
        strength: λ > 0, which makes the optimum unique; it is 1 / C of scikit-learn.
        scale, bias: s and b of the logits. `strength`, `scale` and `bias` may be traced arrays.
        steps: the number of Newton steps. 10 reach the precision of float32; a λ far below |x|²
            needs more.

    Returns:
        A head over embeddings [S, D].

    Raises:
        ValueError: `ways` is less than 1, `strength` is not positive, `steps` is negative, or the
            embeddings are not [S, D].

    Meta-learning with differentiable closed-form solvers (Bertinetto, Henriques, Torr, Vedaldi,
    2019, arXiv:1805.08136): LR-D2, which differentiates through the steps instead.

    >>> head = logistic(2)
    >>> state = head.fit(jnp.array([[1.0], [-1.0]]), jnp.array([0, 1]))
    >>> [round(x, 3) for x in head.predict(state, jnp.array([[3.0]]))[0].tolist()]
    [1.564, -1.564]
    """
    check_ways(ways, name="logistic")
    require_positive(strength, name="strength", of="logistic")
    if steps < 0:
        raise ValueError(f"logistic expects steps >= 0, but got {steps}.")

    def find(problem: Problem) -> jax.Array:
        start = 0 * (problem.targets + problem.gram[:, :1])  # keeps the varying axes of both
        return lax.fori_loop(0, steps, lambda _, dual: _descend(dual, problem), start)

    def solve(problem: Problem) -> jax.Array:
        return implicit_optimum(problem, find, _newton, _slope)

    return dual_head(solve, strength, ways=ways, scale=scale, bias=bias)


def _probabilities(dual: jax.Array, problem: Problem) -> jax.Array:
    """softmax(K A) over the present classes, [S, N]; zeros for padding."""
    logits = only_present(product(problem.gram, dual), problem.present)
    return jax.nn.softmax(logits, -1) * problem.targets.sum(1, keepdims=True)


def _slope(dual: jax.Array, problem: Problem) -> jax.Array:
    """λ A + softmax(K A) − Y, zero at the optimum only. Xᵀ times it is the gradient by W."""
    return problem.weight * dual + _probabilities(dual, problem) - problem.targets


def _objective(dual: jax.Array, problem: Problem) -> jax.Array:
    """Σ −log p + ½ λ |W|², with |W|² = tr(Aᵀ K A)."""
    logits = product(problem.gram, dual)
    log_sum = jax.nn.logsumexp(only_present(logits, problem.present), -1, keepdims=True)
    loss = jnp.sum(problem.targets * (log_sum - logits))
    return loss + problem.weight / 2 * jnp.sum(dual * logits)


def _newton(dual: jax.Array, problem: Problem, slope: jax.Array) -> jax.Array:
    """The Newton step −(λ I + D K)⁻¹ slope, where D = B Bᵀ is the Jacobian of the softmax.

    The matrix inversion lemma turns this into a system with the symmetric matrix λ I + Bᵀ K B,
    which is solved by conjugate gradients. For each example B = diag(√p) − p √pᵀ.
    """
    p = _probabilities(dual, problem)
    root = jnp.sqrt(p)

    def b(v: jax.Array) -> jax.Array:
        return root * v - p * jnp.sum(root * v, -1, keepdims=True)

    def b_transposed(v: jax.Array) -> jax.Array:
        return root * v - root * jnp.sum(p * v, -1, keepdims=True)

    def matrix(v: jax.Array) -> jax.Array:
        return problem.weight * v + b_transposed(product(problem.gram, b(v)))

    tolerance = 10 * float(jnp.finfo(p.dtype).eps)
    inner, _ = cg(
        matrix, b_transposed(product(problem.gram, slope)), tol=tolerance, maxiter=2 * p.size
    )
    return (b(inner) - slope) / problem.weight


def _descend(dual: jax.Array, problem: Problem) -> jax.Array:
    """A Newton step of length 1, ½, ¼, ... or 0: the longest that is best, up to rounding."""
    direction = _newton(dual, problem, _slope(dual, problem))
    lengths = jnp.concatenate([0.5 ** jnp.arange(10, dtype=dual.dtype), jnp.zeros(1, dual.dtype)])
    values = jax.vmap(lambda t: _objective(dual + t * direction, problem))(lengths)
    rounding = 10 * jnp.finfo(dual.dtype).eps * jnp.abs(values.min())
    return dual + lengths[jnp.argmax(values <= values.min() + rounding)] * direction

"""Linear heads solved to their optimum: ridge regression and logistic regression.

All are linear in the embeddings without an intercept; append a column of ones for one. They are
solved over the support set's Gram matrix K = X Xᵀ [S, S], which is small where D is large.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve
from jax.scipy.sparse.linalg import cg

from jmeta.learners.metric._heads import Head, check_ways, membership, only_present

Value = float | jax.Array  # a number, or a traced, learned array []


class Linear(NamedTuple):
    """A linear classifier."""

    weights: jax.Array  # [D, N]
    present: jax.Array  # [N] bool: the class has a support example


def linear_logits(state: Linear, embeddings: jax.Array, scale: Value, bias: Value) -> jax.Array:
    """s z W + b: [Q, D] -> [Q, N], the least finite number where a class is absent.

    >>> state = Linear(jnp.eye(2), jnp.ones(2, bool))
    >>> linear_logits(state, jnp.ones((1, 2)), 2.0, 1.0).tolist()
    [[3.0, 3.0]]
    """
    return only_present(scale * (embeddings @ state.weights) + bias, state.present)


def real_rows(embeddings: jax.Array, labels: jax.Array) -> jax.Array:
    """Embeddings [S, D] with zeros where the label [S] is -1.

    Raises:
        ValueError: embeddings that are no matrix with a row a label.

    >>> real_rows(jnp.ones((2, 1)), jnp.array([0, -1])).tolist()
    [[1.0], [0.0]]
    """
    if embeddings.ndim != 2 or len(embeddings) != len(labels):
        raise ValueError(
            f"a linear head expects embeddings [S, D] and labels [S], but got {embeddings.shape} "
            f"and {labels.shape}; flatten the embeddings."
        )
    return jnp.where(labels[:, None] >= 0, embeddings, 0)


def derivative_only(value: jax.Array, change: jax.Array) -> jax.Array:
    """`value` itself, with the derivative of `change`: the implicit function theorem's last step.

    >>> jax.value_and_grad(lambda x: derivative_only(jnp.ones(()), 3 * x))(5.0)[1].tolist()
    3.0
    """
    return value + change - lax.stop_gradient(change)


def ridge(ways: int, *, strength: Value = 1.0, scale: Value = 10.0, bias: Value = 0.0) -> Head:
    """Ridge regression to one-hot labels: logits = s z W + b,

        W = Xᵀ (X Xᵀ + λ I)⁻¹ Y,   which is argmin |X W − Y|² + λ |W|²

    Args:
        ways: N, static.
        strength: λ > 0; taken to be no less than the rounding of X Xᵀ, ε tr(X Xᵀ).
        scale, bias: s and b, which turn the regression's 0..1 into logits. All three are learned
            in the paper, so they may be traced arrays.

    Raises:
        ValueError: `ways` is less than 1, or embeddings that are not [S, D].

    Meta-learning with differentiable closed-form solvers (Bertinetto, Henriques, Torr, Vedaldi,
    2019, arXiv:1805.08136): R2-D2.

    >>> head = ridge(2, strength=1.0)
    >>> state = head.fit(jnp.eye(2), jnp.array([0, 1]))
    >>> [round(x, 4) for x in head.predict(state, jnp.eye(2)[:1])[0].tolist()]
    [5.0, 0.0]
    """
    check_ways(ways, name="ridge")

    def fit(embeddings: jax.Array, labels: jax.Array) -> Linear:
        x, y = real_rows(embeddings, labels), membership(labels, ways, embeddings.dtype)
        gram = x @ x.T
        least = jnp.finfo(x.dtype).eps * lax.stop_gradient(jnp.trace(gram))
        gram += jnp.maximum(strength, least) * jnp.eye(len(x), dtype=x.dtype)
        return Linear(x.T @ cho_solve(cho_factor(gram), y), y.any(0))

    def predict(state: Linear, embeddings: jax.Array) -> jax.Array:
        return linear_logits(state, embeddings, scale, bias)

    return Head(fit, predict)


def logistic(
    ways: int,
    *,
    strength: Value = 1.0,
    scale: Value = 1.0,
    bias: Value = 0.0,
    steps: int = 10,
) -> Head:
    """Multinomial logistic regression: logits = s z W + b,

        W = argmin Σ_s −log softmax(x_s W)[y_s] + ½ λ |W|²

    Newton's method with a line search, differentiated by the implicit function theorem: the
    derivative is that of the optimum, whatever the steps to it.

    Args:
        ways: N, static.
        strength: λ > 0, 1 / C of scikit-learn; it makes the optimum unique.
        scale, bias: s and b of the logits. All three may be traced arrays.
        steps: Newton steps; 10 reach float32's precision, more are for λ far below |x|².

    Raises:
        ValueError: `ways` is less than 1, `steps` is negative, or embeddings that are not [S, D].

    Meta-learning with differentiable closed-form solvers (Bertinetto, Henriques, Torr, Vedaldi,
    2019, arXiv:1805.08136): LR-D2, which unrolls the steps.

    >>> head = logistic(2)
    >>> state = head.fit(jnp.array([[1.0], [-1.0]]), jnp.array([0, 1]))
    >>> [round(x, 3) for x in head.predict(state, jnp.array([[3.0]]))[0].tolist()]
    [1.564, -1.564]
    """
    check_ways(ways, name="logistic")
    if steps < 0:
        raise ValueError(f"logistic expects steps >= 0, but got {steps}.")

    def fit(embeddings: jax.Array, labels: jax.Array) -> Linear:
        x, y = real_rows(embeddings, labels), membership(labels, ways, embeddings.dtype)
        problem = _Logistic(x @ x.T, y, y.any(0), jnp.asarray(strength, x.dtype))
        fixed = lax.stop_gradient(problem)
        start = 0 * (y + problem.gram[:, :1])  # keeps the varying axes of both
        dual = lax.fori_loop(0, steps, lambda _, a: _descend(a, fixed), start)
        dual = lax.stop_gradient(dual)
        change = _newton(dual, fixed, _slope(dual, problem))
        return Linear(x.T @ derivative_only(dual, change), problem.present)

    def predict(state: Linear, embeddings: jax.Array) -> jax.Array:
        return linear_logits(state, embeddings, scale, bias)

    return Head(fit, predict)


class _Logistic(NamedTuple):
    """The problem in its dual variables A [S, N], W = Xᵀ A."""

    gram: jax.Array  # K = X Xᵀ [S, S]
    targets: jax.Array  # Y [S, N], zeros for padding
    present: jax.Array  # [N] bool
    strength: jax.Array  # λ []


def _probabilities(dual: jax.Array, problem: _Logistic) -> jax.Array:
    """softmax(K A) over the classes that are present; zeros for padding: [S, N]."""
    logits = only_present(problem.gram @ dual, problem.present)
    return jax.nn.softmax(logits, -1) * problem.targets.sum(1, keepdims=True)


def _slope(dual: jax.Array, problem: _Logistic) -> jax.Array:
    """λ A + softmax(K A) − Y, zero at the optimum only; Xᵀ of it is the gradient in W."""
    return problem.strength * dual + _probabilities(dual, problem) - problem.targets


def _objective(dual: jax.Array, problem: _Logistic) -> jax.Array:
    """Σ −log p + ½ λ |W|², with |W|² = tr(Aᵀ K A)."""
    logits = problem.gram @ dual
    log_sum = jax.nn.logsumexp(only_present(logits, problem.present), -1, keepdims=True)
    loss = jnp.sum(problem.targets * (log_sum - logits))
    return loss + problem.strength / 2 * jnp.sum(dual * logits)


def _newton(dual: jax.Array, problem: _Logistic, slope: jax.Array) -> jax.Array:
    """−(λ I + D K)⁻¹ slope, D = B Bᵀ the softmax's Jacobian; linear in the slope.

    By the matrix inversion lemma through the symmetric λ I + Bᵀ K B, solved by conjugate
    gradients: B = diag(√p) − p √pᵀ for each example.
    """
    p = _probabilities(dual, problem)
    root = jnp.sqrt(p)

    def b(v: jax.Array) -> jax.Array:
        return root * v - p * jnp.sum(root * v, -1, keepdims=True)

    def b_transposed(v: jax.Array) -> jax.Array:
        return root * v - root * jnp.sum(p * v, -1, keepdims=True)

    def matrix(v: jax.Array) -> jax.Array:
        return problem.strength * v + b_transposed(problem.gram @ b(v))

    tolerance = 10 * float(jnp.finfo(p.dtype).eps)
    inner, _ = cg(matrix, b_transposed(problem.gram @ slope), tol=tolerance, maxiter=2 * p.size)
    return (b(inner) - slope) / problem.strength


def _descend(dual: jax.Array, problem: _Logistic) -> jax.Array:
    """A Newton step of the longest of 1, ½, ¼, ... that is as good as the best to rounding."""
    direction = _newton(dual, problem, _slope(dual, problem))
    lengths = jnp.concatenate([0.5 ** jnp.arange(10, dtype=dual.dtype), jnp.zeros(1, dual.dtype)])
    values = jax.vmap(lambda t: _objective(dual + t * direction, problem))(lengths)
    rounding = 10 * jnp.finfo(dual.dtype).eps * jnp.abs(values.min())
    return dual + lengths[jnp.argmax(values <= values.min() + rounding)] * direction

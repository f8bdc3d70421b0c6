"""Transductive fine-tuning of class prototypes by the entropy of the predictions."""

import jax
import jax.numpy as jnp
import optax

from jmeta.core import Solver, unrolled
from jmeta.core._numbers import product, require_positive
from jmeta.distances import EPS, squared_euclidean
from jmeta.learners.comparison._heads import Head
from jmeta.learners.transductive._episode import (
    Episode,
    mean_entropy,
    means,
    probabilities,
    started,
    support_error,
    transductive_head,
)

TINY = 1e-24  # inside Adam's root, for a derivative at a zero gradient; it changes no step


def transductive_finetuning(
    ways: int, *, solver: Solver | None = None, scale: float | jax.Array = 1.0
) -> Head:
    """Fine-tune class prototypes until the queries are classified with confidence.

        w = argmin  mean_S −log p(y_s|z_s) + mean_Q H(p(·|z_q)),   p_n(z) = softmax_n(−s |z − w_n|)
        logits_n(z) = −s |z − w_n|

    The prototypes start as the class means. They are all that is fine-tuned, since a head has
    nothing but embeddings; the paper fine-tunes the network too. easyfsl does as this head does.
    With many or long steps, put `transformed(head, jmeta.distances.unit)` around it, and a scale
    of about 10: with other features the entropy may draw all queries into one class.

    Args:
        ways: N, the number of classes of an episode (static).
        solver: how the loss is minimised, from what is added to the class means, [N, D] zeros. By
            default 25 steps of Adam with a rate of 5e-5, which are few enough to change little:
            they suit features whose coordinates are of the order of 1.
        scale: s, the inverse temperature, which may be a traced, learned array.

    Returns:
        A transductive head over embeddings [S, D].

    Raises:
        ValueError: `ways` is less than 1, `scale` is not positive, `solver` is not a function, or
            the embeddings are not [S, D].

    A Baseline for Few-Shot Image Classification (Dhillon, Chaudhari, Ravichandran, Soatto, 2020,
    arXiv:1909.02729).

    >>> head = transductive_finetuning(2, solver=unrolled(optax.sgd(0.1), 20))
    >>> state = head.fit(jnp.array([[0.0], [4.0]]), jnp.array([0, 1]))
    >>> head.predict(state, jnp.array([[1.0], [1.2], [3.0]])).argmax(-1).tolist()
    [0, 0, 1]
    """
    require_positive(scale, name="scale", of="transductive_finetuning")
    solve = adam(5e-5, 25) if solver is None else solver
    require_solver(solve, of="transductive_finetuning")

    def classify(episode: Episode) -> jax.Array:
        start = means(episode)
        z = jnp.concatenate([episode.support, episode.queries])
        examples = episode.support.shape[0]
        centre = jax.lax.stop_gradient(jnp.mean(start, 0, keepdims=True))
        z, c = z - centre, start - centre
        # A support example may be its class mean, and a product would lose the digits of that 0.
        near = jnp.sum((z[:examples, None] - c[None]) ** 2, -1)
        squares = jnp.concatenate([near, squared_euclidean(z[examples:], c)])

        def logits(moved: jax.Array) -> jax.Array:  # |z − c − δ|² from |z − c|²
            along = product(z, moved.T) - jnp.sum(c * moved, -1)[None]
            found = squares - 2 * along + jnp.sum(moved**2, -1)[None]
            return -scale * jnp.sqrt(jnp.maximum(found, 0) + EPS)

        def loss(moved: jax.Array, _: object) -> jax.Array:
            p, log_p = probabilities(logits(moved), episode.present)
            error = support_error(log_p[:examples], episode.members)
            return error + mean_entropy(p[examples:], log_p[examples:], episode.real)

        return logits(solve(loss, started(0 * start, episode)).final)[examples:]

    return transductive_head(ways, classify, name="transductive_finetuning")


def adam(rate: float, steps: int) -> Solver:
    """Some steps of Adam that can be differentiated where a gradient is zero.

    >>> round(float(adam(0.5, 2)(lambda w, k: w, jnp.array(4.0)).final), 4)
    3.0
    """
    return unrolled(optax.adam(rate, eps_root=TINY), steps)


def require_solver(solver: object, *, of: str) -> None:
    """Refuse what cannot be called.

    Raises:
        ValueError: `solver` is not a function.

    >>> require_solver(adam(0.1, 1), of="tim")
    """
    if not callable(solver):
        raise ValueError(
            f"{of} expects a solver such as jmeta.unrolled(optax.sgd(0.1), 20), but got "
            f"{type(solver).__name__}."
        )

"""TIM: class prototypes that maximise the information of the queries about their classes."""

import jax
import jax.numpy as jnp

from jmeta.core import Solver
from jmeta.core._numbers import product, require_positive, require_weight
from jmeta.distances import EPS, unit
from jmeta.learners.comparison._heads import Head
from jmeta.learners.transductive._episode import (
    Episode,
    mean_entropy,
    mean_of,
    means,
    probabilities,
    started,
    support_error,
    transductive_head,
)
from jmeta.learners.transductive._fine_tuning import adam, require_solver

Value = float | jax.Array  # a number, or a traced, learned array []


def tim(
    ways: int,
    *,
    solver: Solver | None = None,
    scale: Value = 10.0,
    support: Value = 1.0,
    marginal: Value = 1.0,
    conditional: Value = 0.1,
) -> Head:
    """Transductive information maximisation: confident predictions, spread over all classes.

        w = argmin  λ mean_S −log p(y_s|z_s) − μ Ĥ(Y) + α Ĥ(Y|X),   logits_n(z) = s cos(z, w_n)
        Ĥ(Y|X) = mean_Q H(p(·|z_q)),   Ĥ(Y) = H(mean_Q p(·|z_q)),   p = softmax(logits)

    The prototypes w start as the class means. The gradient descent of the paper is meant (TIM-GD),
    whose squared distances of unit vectors are cosines once w has length 1.

    Args:
        ways: N, the number of classes of an episode (static).
        solver: how the loss is minimised from the class means, [N, D]. By default 50 steps of Adam
            with a rate of 1e-4, as in easyfsl; the paper takes 1,000.
        scale: s, the inverse temperature. easyfsl divides its answer by it, which changes no
            prediction.
        support, marginal, conditional: λ, μ and α. The paper has λ = 0.1. These three and `scale`
            may be traced, learned arrays.

    Returns:
        A transductive head over embeddings [S, D].

    Raises:
        ValueError: `ways` is less than 1, `scale` is not positive, a weight is negative, `solver`
            is not a function, or the embeddings are not [S, D].

    Transductive Information Maximization For Few-Shot Learning (Boudiaf, Ziko, Rony, Dolz,
    Piantanida, Ben Ayed, 2020, arXiv:2008.11297).

    >>> head = tim(2)
    >>> state = head.fit(jnp.array([[1.0, 0.1], [0.1, 1.0]]), jnp.array([0, 1]))
    >>> head.predict(state, jnp.array([[1.0, 0.0], [0.5, 0.6], [0.0, 1.0]])).argmax(-1).tolist()
    [0, 1, 1]
    """
    require_positive(scale, name="scale", of="tim")
    for name, value in {
        "support": support,
        "marginal": marginal,
        "conditional": conditional,
    }.items():
        require_weight(value, name=name, of="tim")
    solve = adam(1e-4, 50) if solver is None else solver
    require_solver(solve, of="tim")

    def classify(episode: Episode) -> jax.Array:
        z = unit(jnp.concatenate([episode.support, episode.queries]))
        examples = episode.support.shape[0]

        def logits(w: jax.Array) -> jax.Array:
            lengths = jnp.sqrt(jnp.sum(w**2, -1) + EPS)
            return scale * product(z, w.T) / lengths[None]

        def loss(w: jax.Array, _: object) -> jax.Array:
            p, log_p = probabilities(logits(w), episode.present)
            error = support_error(log_p[:examples], episode.members)
            unsure = mean_entropy(p[examples:], log_p[examples:], episode.real)
            share = mean_of(p[examples:], episode.real)
            spread = -jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1)))
            return support * error - marginal * spread + conditional * unsure

        return logits(solve(loss, started(means(episode), episode)).final)[examples:]

    return transductive_head(ways, classify, name="tim")

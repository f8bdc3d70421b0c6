"""PT-MAP: transformed features, and prototypes that share the queries out among the classes."""

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.core._numbers import product, require_positive
from jmeta.core._solvers import check_steps
from jmeta.distances import unit
from jmeta.learners.comparison._heads import Head
from jmeta.learners.transductive._episode import (
    Episode,
    means,
    probabilities,
    transductive_head,
)
from jmeta.learners.transductive._transport import Transport, balanced

Value = float | jax.Array  # a number, or a traced, learned array []
SMALL = 1e-6  # added before the power, so that its derivative at 0 is finite


def pt_map(
    ways: int,
    *,
    power: Value = 0.5,
    normalized: bool = True,
    sharpness: Value = 10.0,
    rate: Value = 0.2,
    steps: int = 10,
    balance: int = 20,
) -> Head:
    """Prototypes of transformed features, by optimal transport of the queries to the classes.

        g(z) = (relu(z) + 1e-6)^β, of length 1,   y = argmin Σ_qn y_qn |g_q − c_n|² − H(y) / λ
        over the y with Σ_n y_qn = 1 and Σ_q y_qn = Q/N;   K times   c_n ← c_n + α (m_n − c_n)
        m_n = Σ y_in g_i / Σ y_in over support and queries,   logits = log y

    Each class thereby gets as many queries, which is what an episode of the benchmarks holds; with
    other episodes it does harm. The prototypes c start as the class means.

    Args:
        ways: N, the number of classes of an episode (static).
        power: β > 0.
        normalized: whether g is scaled to length 1, as in the paper. easyfsl leaves this out, and
            its plan is lost to rounding where all squared distances are above about 9.
        sharpness: λ > 0.
        rate: α > 0, the part of the way to m that a prototype goes.
        steps: K ≥ 0, the number of updates. K and the other numbers are those of easyfsl.
        balance: the most steps that find y; see the notes. One or two are taken as a rule, and more
            where λ times the distances is large and the true classes are of very unequal size.

    Returns:
        A transductive head over embeddings [S, D], whose logits are log probabilities.

    Raises:
        ValueError: `ways` is less than 1, `power`, `sharpness` or `rate` is not positive, `steps`
            is negative, `balance` is less than 1, or the embeddings are not [S, D].

    Notes:
        Q/N counts the real queries and the classes with a support example, where easyfsl rounds
        Q/N down and then has no solution for other Q. It scales rows and columns in turn, up to
        1,000 times; this head solves the dual by steps of Sinkhorn's and Newton's, from the last
        solution, until the sums are right up to rounding or `balance` steps are taken.

    Leveraging the Feature Distribution in Transfer-based Few-Shot Learning (Hu, Gripon, Pateux,
    2020, arXiv:2006.03806).

    >>> head = pt_map(2)
    >>> state = head.fit(jnp.array([[1.0, 0.1], [0.1, 1.0]]), jnp.array([0, 1]))
    >>> queries = jnp.array([[1.0, 0.0], [0.5, 0.6], [0.0, 1.0], [0.8, 0.3]])
    >>> head.predict(state, queries).argmax(-1).tolist()
    [0, 1, 1, 0]
    """
    for name, value in {"power": power, "sharpness": sharpness, "rate": rate}.items():
        require_positive(value, name=name, of="pt_map")
    check_steps("pt_map", steps)
    if balance < 1:
        raise ValueError(f"pt_map expects balance >= 1, but got {balance}.")

    def transform(z: jax.Array) -> jax.Array:
        risen = (jax.nn.relu(z) + SMALL) ** power
        return unit(risen) if normalized else risen

    def classify(episode: Episode) -> jax.Array:
        episode = episode._replace(
            support=transform(episode.support), queries=transform(episode.queries)
        )
        start = means(episode)
        # Prototypes stay weighted means of the embeddings, c = A z, so that the products A (z zᵀ)
        # are all that distances need. Around their centre they lose no digits.
        centre = lax.stop_gradient(jnp.mean(start, 0, keepdims=True))
        z = jnp.concatenate([episode.support, episode.queries]) - centre
        products = (
            product(z, z.T) if len(z) <= z.shape[1] else None
        )  # as many numbers as z, or less
        examples = len(episode.support)
        squares = jnp.sum(z[examples:] ** 2, -1)

        def assigned(a: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            along = product(product(a, z), z.T) if products is None else product(a, products)
            own = jnp.sum(along * a, -1)[:, None]
            scores = -sharpness * (squares[None] + own - 2 * along[:, examples:])
            problem = Transport(scores, episode.present, episode.real)
            v = balanced(problem, v, steps=balance)
            return *probabilities(scores + v[:, None], episode.present, axis=0), v

        def update(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple, None]:
            a, v = carry
            y, _log_y, v = assigned(a, v)
            return (a + rate * (_shares(episode, y * episode.real[None]) - a), v), None

        nothing = 0 * start[:, :1] * squares[None]  # [N, Q]; keeps the varying axes
        carry = _shares(episode, nothing), nothing.sum(1)
        return assigned(*lax.scan(update, carry, length=steps)[0])[1].T

    return transductive_head(ways, classify, name="pt_map")


def _shares(episode: Episode, y: jax.Array) -> jax.Array:
    """What each example counts in the mean of its class, [N, S + Q], for assignments y [N, Q]."""
    every = jnp.concatenate([episode.members.T, y], 1)
    totals = every.sum(1, keepdims=True)
    return every / jnp.where(totals > 0, totals, 1)

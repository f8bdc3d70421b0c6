"""BD-CSPN: prototypes that are rectified by the queries, which are labelled by them first."""

import jax
import jax.numpy as jnp

from jmeta.core._numbers import product, require_positive
from jmeta.distances import cosine_similarity
from jmeta.learners.comparison._heads import Head, only_present
from jmeta.learners.transductive._episode import (
    Episode,
    mean_of,
    means,
    transductive_head,
)


def bd_cspn(
    ways: int, *, confidence: float | jax.Array = 1.0, scale: float | jax.Array = 10.0
) -> Head:
    """Prototype rectification: queries join the class that they resemble most.

        z'_q = z_q + mean_S z − mean_Q z,   ŷ_q = argmax_n cos(z'_q, c_n)
        p_n = Σ_i a_i z_i / Σ_i a_i   over the support examples of class n and the z'_q with ŷ_q = n
        a_i = exp(ε cos(z_i, c_n)),   logits_n(z) = s cos(z, p_n)

    c_n are the class means. All queries of a class count, as in easyfsl, where the paper takes the
    most certain ones; and the queries that are classified in the end are not shifted.

    Args:
        ways: N, the number of classes of an episode (static).
        confidence: ε ≥ 0, how much more the examples near the class mean count. It is 1 in easyfsl
            and 10 in the paper.
        scale: s, the inverse temperature; easyfsl has 1. Both may be traced, learned arrays.

    Returns:
        A transductive head over embeddings [S, D].

    Raises:
        ValueError: `ways` is less than 1, `confidence` or `scale` is not positive, or the
            embeddings are not [S, D].

    Prototype Rectification for Few-Shot Learning (Liu, Song, Qin, 2020, arXiv:1911.10713).

    >>> head = bd_cspn(2)
    >>> state = head.fit(jnp.array([[1.0, 0.1], [0.1, 1.0]]), jnp.array([0, 1]))
    >>> head.predict(state, jnp.array([[1.0, 0.0], [0.5, 0.6], [0.0, 1.0]])).argmax(-1).tolist()
    [0, 1, 1]
    """
    require_positive(confidence, name="confidence", of="bd_cspn")
    require_positive(scale, name="scale", of="bd_cspn")

    def classify(episode: Episode) -> jax.Array:
        return scale * cosine_similarity(episode.queries, rectified(episode, confidence))

    return transductive_head(ways, classify, name="bd_cspn")


def rectified(episode: Episode, confidence: float | jax.Array) -> jax.Array:
    """The rectified prototypes of an episode, [N, D]; 0 for an absent class.

    >>> one = jnp.ones((1, 1))
    >>> rectified(Episode(2 * one, one, one[0] > 0, 4 * one, one[0]), 1.0).tolist()
    [[2.0]]
    """
    real = episode.members.sum(1)  # [S], 1 for a support example and 0 for padding
    shift = mean_of(episode.support, real) - mean_of(episode.queries, episode.real)
    z = jnp.concatenate([episode.support, episode.queries + shift[None]])
    near = cosine_similarity(z, means(episode))
    best = only_present(near, episode.present)[len(real) :].argmax(-1)
    named = jax.nn.one_hot(best, near.shape[1], dtype=z.dtype) * episode.real[:, None]
    shares = jnp.concatenate([episode.members, named]) * jnp.exp(confidence * (near - 1))
    total = shares.sum(0)
    return product(shares.T, z) / jnp.where(total > 0, total, 1)[:, None]

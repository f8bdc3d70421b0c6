"""LaplacianShot: queries that are near each other are given the same class."""

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.core._numbers import product, require_positive, require_weight
from jmeta.core._solvers import check_steps
from jmeta.distances import squared_euclidean
from jmeta.learners.comparison._heads import Head
from jmeta.learners.transductive._bd_cspn import rectified
from jmeta.learners.transductive._episode import (
    Episode,
    mean_of,
    probabilities,
    transductive_head,
)


def laplacian_shot(
    ways: int,
    *,
    neighbours: int = 2,
    smoothness: float | jax.Array = 0.7,
    steps: int = 20,
    confidence: float | jax.Array = 1.0,
) -> Head:
    """Laplacian regularisation: assignments that agree with those of the nearest queries.

        y_q = softmax(−a_q),   then K times   y_q ← softmax(−a_q + λ Σ_r w_qr y_r)
        a_qn = |z_q − p_n|²,   w_qr = 1 if r is among the k queries nearest to q, otherwise 0
        logits = log y

    p_n are the rectified prototypes of `bd_cspn`, and each step lowers an upper bound of the
    paper's objective. easyfsl stops once the bound changes by less than 1e-6 of itself; here all
    steps are taken, so that a step costs the same for each episode. The neighbours have no
    derivative.

    Args:
        ways: N, the number of classes of an episode (static).
        neighbours: k, the other queries that a query is compared with (static). easyfsl's `knn`,
            as that of the authors, counts the query itself too: knn = 3 is k = 2.
        smoothness: λ ≥ 0, which may be a traced, learned array.
        steps: K ≥ 0, the number of updates.
        confidence: see `bd_cspn`.

    Returns:
        A transductive head over embeddings [S, D], whose logits are log probabilities.

    Raises:
        ValueError: `ways` or `neighbours` is less than 1, `smoothness` or `steps` is negative,
            `confidence` is not positive, or the embeddings are not [S, D].

    Laplacian Regularized Few-Shot Learning (Ziko, Dolz, Granger, Ben Ayed, 2020,
    arXiv:2006.15486).

    >>> head = laplacian_shot(2, neighbours=1)
    >>> state = head.fit(jnp.array([[1.0, 0.1], [0.1, 1.0]]), jnp.array([0, 1]))
    >>> head.predict(state, jnp.array([[1.0, 0.0], [0.5, 0.6], [0.0, 1.0]])).argmax(-1).tolist()
    [0, 1, 1]
    """
    if neighbours < 1:
        raise ValueError(f"laplacian_shot expects neighbours >= 1, but got {neighbours}.")
    require_weight(smoothness, name="smoothness", of="laplacian_shot")
    check_steps("laplacian_shot", steps)
    require_positive(confidence, name="confidence", of="laplacian_shot")

    def classify(episode: Episode) -> jax.Array:
        far = squared_euclidean(episode.queries, rectified(episode, confidence))
        near = _neighbours(episode.queries, episode.real, neighbours)

        def assigned(bonus: jax.Array | float) -> tuple[jax.Array, jax.Array]:
            return probabilities(bonus - far, episode.present)

        def update(y: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple, None]:
            return assigned(smoothness * product(near, y[0])), None

        return lax.scan(update, assigned(0.0), length=steps)[0][1]

    return transductive_head(ways, classify, name="laplacian_shot")


def _neighbours(z: jax.Array, real: jax.Array, count: int) -> jax.Array:
    """Which queries are the nearest to each: [Q, Q] zeros and ones, without a derivative."""
    z = lax.stop_gradient(z)
    centred = z - mean_of(z, real)[None]
    # Of |a − b|², only what depends on b: the rest moves no neighbour.
    apart = jnp.sum(centred**2, -1)[None] - 2 * product(centred, centred.T)
    itself = jnp.eye(z.shape[0], dtype=bool)
    apart = jnp.where(itself | (real == 0)[None], jnp.inf, apart)
    near = jnp.zeros_like(apart)
    for _ in range(count):
        first = jax.nn.one_hot(apart.argmin(-1), z.shape[0], dtype=z.dtype)
        near = near + first * jnp.isfinite(apart)
        apart = jnp.where(first > 0, jnp.inf, apart)
    return near

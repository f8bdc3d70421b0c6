"""Learners that compare embeddings."""

from jmeta.core.types import Adapted, Apply, Batch, Learner, Outputs, Params, PyTree
from jmeta.learners.heads import Head


def metric(embed: Apply, head: Head) -> Learner:
    """Embed the support set, fit a head to it, classify embedded queries.

        state = head.fit(f(θ, x_S), y_S),   logits = head.predict(state, f(θ, x_Q))

    Args:
        embed: `embed(params, x [N, ...]) -> embeddings [N, D]`.
        head: e.g. `prototypical(ways)`.

    >>> import jax.numpy as jnp
    >>> from jmeta.learners.heads import prototypical
    >>> learner = metric(lambda w, x: x * w, prototypical(2))
    >>> support = Batch(jnp.array([[0.0], [2.0]]), jnp.array([0, 1]))
    >>> adapted = learner.adapt(jnp.ones(()), support)
    >>> learner.predict(adapted, jnp.array([[0.5]])).argmax(-1).tolist()
    [0]
    """

    def adapt(params: Params, support: Batch) -> Adapted:
        return params, head.fit(embed(params, support.x), support.y)

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, state = adapted
        return head.predict(state, embed(params, x))

    return Learner(adapt, predict)

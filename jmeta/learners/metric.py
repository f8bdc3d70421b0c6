"""Learners that compare embeddings."""

import jax
import jax.numpy as jnp

from jmeta.core.types import (
    Adapted,
    Apply,
    Batch,
    Learner,
    Loss,
    Objective,
    Outputs,
    Params,
    PyTree,
    Scalar,
    Task,
)
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


def embedding_loss(embed: Apply, objective: Objective, head: Head) -> Loss:
    """Train an embedding by a loss over all embeddings of an episode, and judge it by a head.

        L(θ) = objective( f(θ, [x_S; x_Q]), [y_S; y_Q] )

    Args:
        embed: `embed(params, x [N, ...]) -> embeddings [N, D]`.
        objective: a loss over embeddings, e.g. `jmeta.triplet_margin_loss`; its options are
            bound with `functools.partial`.
        head: makes the query outputs; its part takes no gradient.

    >>> from jmeta.core.embedding_losses import contrastive_loss
    >>> from jmeta.learners.heads import prototypical
    >>> batch = Batch(jnp.array([[1.0], [-2.0]]), jnp.array([0, 1]))
    >>> loss = embedding_loss(lambda w, x: x * w, contrastive_loss, prototypical(2))
    >>> value, logits = loss(jnp.ones(()), Task(batch, batch))
    >>> round(float(value), 4), logits.shape
    (0.0, (2, 2))
    """

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        both = [embed(params, batch.x) for batch in task]
        joined = jax.tree.map(lambda s, q: jnp.concatenate([s, q]), *both)
        labels = jnp.concatenate([task.support.y, task.query.y])
        state = head.fit(both[0], task.support.y)
        return objective(joined, labels), jax.lax.stop_gradient(head.predict(state, both[1]))

    return loss

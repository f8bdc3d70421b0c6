"""A learner made of an embedding network and a head, and a loss that trains the embedding."""

import jax
import jax.numpy as jnp

from jmeta.core import (
    Adapted,
    Batch,
    Key,
    Learner,
    Loss,
    Net,
    Objective,
    Outputs,
    Params,
    PyTree,
    Scalar,
    Task,
)
from jmeta.core._losses import require_objective
from jmeta.core._networks import bound, first_example, init_net, key_of, require_net
from jmeta.core._padding import (
    again_marked,
    is_masked,
    is_transductive,
    marked,
    real_examples,
    unmarked,
)
from jmeta.learners.comparison._heads import Head, require_head


def metric(embed: Net, head: Head) -> Learner:
    """Embed the support set, fit a head to it, and classify embedded queries.

        state = head.fit(f(θ, x_S), y_S),   logits = head.predict(state, f(θ, x_Q))

    Args:
        embed: f, the embedding network, inputs [N, ...] -> embeddings [N, D]. A stochastic one
            takes `support.key`.
        head: a head, such as `prototypical(ways)`.

    Returns:
        A learner whose parameters θ are those of `embed`.

    Raises:
        ValueError: the arguments are in another order, or a stochastic network has no key.

    >>> from jmeta.learners.comparison import prototypical
    >>> from jmeta.nn import MLP
    >>> learner = metric(MLP((8,), 4), prototypical(2))
    >>> support = Batch(jnp.array([[0.0], [2.0]]), jnp.array([0, 1]))
    >>> params = learner.init(jax.random.key(0), Task(support, support))
    >>> learner.predict(learner.adapt(params, support), support.x).argmax(-1).tolist()
    [0, 1]
    """
    require_net(embed, of="metric")
    require_head(head, of="metric")

    def init(key: Key, task: Task) -> Params:
        return init_net(embed, key, first_example(task.support.x))

    def adapt(params: Params, support: Batch) -> Adapted:
        key = key_of(embed, support.key, of="metric")
        features = bound(embed, key, -1)(params, marked(embed, support))
        return params, head.fit(features, support.y), key

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, state, key = adapted
        features = bound(embed, key, -2)(params, x)
        return head.predict(state, again_marked(head, features, unmarked(x)[1]))

    return Learner(init, adapt, predict, is_masked(embed) or is_masked(head), is_transductive(head))


def embedding_loss(embed: Net, objective: Objective, head: Head) -> Loss:
    """Train an embedding network with a loss of all embeddings of an episode.

        L(θ) = objective( f(θ, [x_S; x_Q]), [y_S; y_Q] )

    Args:
        embed: f, the embedding network, inputs [N, ...] -> embeddings [N, D]. Its parameters
            are those of `metric(embed, head)`.
        objective: a loss of embeddings and labels, such as `jmeta.losses.triplet_margin`. Bind
            its options with `functools.partial`.
        head: computes the query outputs, which are reported and not differentiated.

    Returns:
        `loss(params, task) -> (scalar, query outputs [Q, N])`.

    Raises:
        ValueError: the arguments are in another order, or a stochastic network has no key.

    >>> from jmeta.learners.comparison import prototypical
    >>> from jmeta.losses import contrastive
    >>> from jmeta.nn import from_functions
    >>> batch = Batch(jnp.array([[1.0], [-2.0]]), jnp.array([0, 1]))
    >>> net = from_functions(lambda key, x: jnp.ones(()), lambda w, x: x * w)
    >>> loss = embedding_loss(net, contrastive, prototypical(2))
    >>> value, logits = loss(jnp.ones(()), Task(batch, batch))
    >>> round(float(value), 4), logits.shape
    (0.0, (2, 2))
    """
    require_net(embed, of="embedding_loss")
    require_objective(objective, of="embedding_loss")
    require_head(head, of="embedding_loss")

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        key = key_of(embed, task.support.key, of="embedding_loss")
        both = [
            bound(embed, key, k)(params, marked(embed, batch))
            for k, batch in zip((-1, -2), task, strict=True)
        ]
        joined = jax.tree.map(lambda s, q: jnp.concatenate([s, q]), *both)
        labels = jnp.concatenate([task.support.y, task.query.y])
        state = head.fit(both[0], task.support.y)
        queries = again_marked(head, both[1], real_examples(task.query.y))
        return objective(joined, labels), jax.lax.stop_gradient(head.predict(state, queries))

    return loss

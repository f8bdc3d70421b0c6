"""Matching Networks: attention over the support set, with and without its context."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core.distances import cosine
from jmeta.core.types import Adapted, Apply, Batch, Learner, Outputs, Params, PyTree
from jmeta.learners.heads import Head, check_ways, membership, only_present


class Examples(NamedTuple):
    """The embedded support set itself."""

    embeddings: PyTree  # [S, D]
    members: jax.Array  # [S, N] bool: the example's class; none for padding


def remember(ways: int) -> Callable[[PyTree, jax.Array], Examples]:
    """A head's `fit` that keeps the support set as it is.

    >>> remember(2)(jnp.zeros((1, 3)), jnp.array([1])).members.tolist()
    [[False, True]]
    """
    return lambda embeddings, labels: Examples(embeddings, membership(labels, ways, jnp.bool_))


def matching(ways: int, *, scale: float | jax.Array = 1.0) -> Head:
    """Attention over the support set: logits_n(z) = log Σ_{s in class n} a(z, z_s).

        a(z, z_s) = softmax_s( s cos(z, z_s) )

    The logits are log probabilities, computed without leaving the logarithm.

    Args:
        ways: N, static.
        scale: s, the inverse temperature, 1 in the paper; may be a traced, learned array.

    Raises:
        ValueError: `ways` is less than 1.

    Matching Networks for One Shot Learning (Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra,
    2016, arXiv:1606.04080).

    >>> head = matching(2)
    >>> state = head.fit(jnp.eye(2), jnp.array([0, 1]))
    >>> [round(p, 4) for p in jnp.exp(head.predict(state, jnp.eye(2)[:1]))[0].tolist()]
    [0.7311, 0.2689]
    """
    check_ways(ways, name="matching")

    def predict(state: Examples, embeddings: PyTree) -> jax.Array:
        scores = scale * (1 - cosine(embeddings, state.embeddings))  # [Q, S]
        least = jnp.finfo(scores.dtype).min
        split = jnp.where(state.members[None], scores[:, :, None], least)  # [Q, S, N]
        logits = jax.nn.logsumexp(split, 1)
        present = state.members.any(0)
        total = jax.nn.logsumexp(only_present(logits, present), 1, keepdims=True)
        return only_present(logits - total, present)

    return Head(remember(ways), predict)


def contextual(
    embed: Apply, support_context: Callable, query_context: Callable, head: Head
) -> Learner:
    """Full-context embeddings: the support set changes how it and the queries are embedded.

        g = g(γ, f(θ, x_S)),   state = head.fit(g, y_S)
        logits = head.predict(state, f(γ, f(θ, x_Q), g))

    With `jmeta.nn.FullContext` the order of the support set counts.

    Args:
        embed: `embed(params["embed"], x [N, ...]) -> embeddings [N, D]`.
        support_context: `(params["context"], z [S, D], valid [S]) -> g [S, D]`.
        query_context: `(params["context"], z [Q, D], g [S, D], valid [S]) -> [Q, D]`.
        head: e.g. `matching(ways)`.

    Returns:
        a learner whose parameters are `{"embed": θ, "context": γ}`.

    Matching Networks for One Shot Learning (Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra,
    2016, arXiv:1606.04080), section 2.1.2.

    >>> learner = contextual(lambda w, x: x * w, lambda c, z, valid: z + c,
    ...     lambda c, z, g, valid: z - c, matching(2))
    >>> params = {"embed": jnp.ones(()), "context": jnp.zeros(())}
    >>> adapted = learner.adapt(params, Batch(jnp.eye(2), jnp.array([0, 1])))
    >>> learner.predict(adapted, jnp.eye(2)).argmax(-1).tolist()
    [0, 1]
    """

    def adapt(params: Params, support: Batch) -> Adapted:
        valid = support.y >= 0
        context = support_context(params["context"], embed(params["embed"], support.x), valid)
        return params, context, valid, head.fit(context, support.y)

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, context, valid, state = adapted
        embedded = embed(params["embed"], x)
        return head.predict(state, query_context(params["context"], embedded, context, valid))

    return Learner(adapt, predict)

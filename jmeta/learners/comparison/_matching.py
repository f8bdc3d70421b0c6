"""Matching Networks: attention over the support set, with and without full-context embeddings."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core import Adapted, Batch, Key, Learner, MethodNet, Net, Outputs, Params, PyTree, Task
from jmeta.core._labels import in_range
from jmeta.core._networks import bound, first_example, init_net, key_of, require_net
from jmeta.core._numbers import require_positive
from jmeta.core._padding import again_marked, is_masked, is_transductive, marked, unmarked
from jmeta.core._tree import require_keys
from jmeta.distances import cosine
from jmeta.learners.comparison._heads import (
    Head,
    check_ways,
    membership,
    only_present,
    real_rows,
    require_head,
)


class Examples(NamedTuple):
    """An embedded support set."""

    embeddings: PyTree  # [S, D]
    members: jax.Array  # [S, N] bool: the example belongs to the class; all false for padding


def remember(ways: int) -> Callable[[PyTree, jax.Array], Examples]:
    """The `fit` of a head that keeps the whole support set.

    >>> remember(2)(jnp.zeros((1, 3)), jnp.array([1])).members.tolist()
    [[False, True]]
    """

    def fit(embeddings: PyTree, labels: jax.Array) -> Examples:
        members = membership(labels, ways, jnp.bool_)
        known = in_range(labels, ways).all()

        def leaf(z: jax.Array) -> jax.Array:  # a traced label out of range makes all logits NaN
            return jnp.where(known, z, jnp.nan)

        return Examples(jax.tree.map(leaf, real_rows(embeddings, labels)), members)

    return fit


def matching(ways: int, *, scale: float | jax.Array = 30.0) -> Head:
    """Attention over the support set.

        logits_n(z) = log Σ_{i in class n} a_i(z),   a_i(z) = softmax_i( s cos(z, z_i) )

    The logits are log probabilities, which are computed in the log domain.

    Args:
        ways: N, the number of classes (static).
        scale: s, the inverse temperature, which may be a traced, learned array. The paper has 1,
            with which cosines cannot give any class a probability near 1.

    Returns:
        A head.

    Raises:
        ValueError: `ways` is less than 1, or `scale` is not positive.

    Matching Networks for One Shot Learning (Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra,
    2016, arXiv:1606.04080).

    >>> head = matching(2, scale=1.0)
    >>> state = head.fit(jnp.eye(2), jnp.array([0, 1]))
    >>> [round(p, 4) for p in jnp.exp(head.predict(state, jnp.eye(2)[:1]))[0].tolist()]
    [0.7311, 0.2689]
    """
    check_ways(ways, name="matching")
    require_positive(scale, name="scale", of="matching")

    def predict(state: Examples, embeddings: PyTree) -> jax.Array:
        scores = scale * (1 - cosine(embeddings, state.embeddings))  # [Q, S]
        least = jnp.finfo(scores.dtype).min
        split = jnp.where(state.members[None], scores[:, :, None], least)  # [Q, S, N]
        logits = jax.nn.logsumexp(split, 1)
        present = state.members.any(0)
        total = jax.nn.logsumexp(only_present(logits, present), 1, keepdims=True)
        return only_present(logits - total, present)

    return Head(remember(ways), predict)


def full_context(embed: Net, context: MethodNet, head: Head) -> Learner:
    """Full-context embeddings, in which embeddings depend on the whole support set.

        g = g(γ, f(θ, x_S)),   state = head.fit(g, y_S)
        logits = head.predict(state, f(γ, f(θ, x_Q), g))

    With `jmeta.nn.FullContext`, predictions depend on the order of the support set.

    Args:
        embed: the embedding network, inputs [N, ...] -> embeddings [N, D].
        context: a network with the methods `support(z [S, D], valid [S]) -> g [S, D]` and
            `query(z [Q, D], g [S, D], valid [S]) -> [Q, D]`, such as `jmeta.nn.FullContext(D)`.
        head: a head, such as `matching(ways)`.

    Returns:
        A learner with parameters {"embed": θ, "context": γ}.

    Raises:
        ValueError: the arguments are in another order, or the parameters were not made by this
            learner's `init`.

    Matching Networks for One Shot Learning (Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra,
    2016, arXiv:1606.04080), section 2.1.2.

    >>> from jmeta.nn import MLP, FullContext
    >>> learner = full_context(MLP((8,), 4), FullContext(4), matching(2))
    >>> support = Batch(jnp.eye(2), jnp.array([0, 1]))
    >>> params = learner.init(jax.random.key(0), Task(support, support))
    >>> learner.predict(learner.adapt(params, support), jnp.eye(2)).shape
    (2, 2)
    """
    require_net(embed, of="full_context")
    require_net(context, of="full_context")
    require_head(head, of="full_context")

    def init(key: Key, task: Task) -> Params:
        first, second = jax.random.split(key)
        params = init_net(embed, first, first_example(task.support.x))
        f = bound(embed, key_of(embed, key, of="full_context"))
        z = jnp.zeros_like(f(params, task.support.x))
        return {"embed": params, "context": context.init(second, z, task.support.y >= 0, z)}

    def adapt(params: Params, support: Batch) -> Adapted:
        require_keys(params, ("embed", "context"), of="full_context")
        key, valid = key_of(embed, support.key, of="full_context"), support.y != -1
        z = bound(embed, key, -1)(params["embed"], marked(embed, support))
        context_of = context.apply(params["context"], z, valid, method="support")
        return params, context_of, valid, head.fit(context_of, support.y), key

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, g, valid, state, key = adapted
        z = bound(embed, key, -2)(params["embed"], x)
        queries = context.apply(params["context"], z, g, valid, method="query")
        return head.predict(state, again_marked(head, queries, unmarked(x)[1]))

    return Learner(init, adapt, predict, is_masked(embed) or is_masked(head), is_transductive(head))

"""Relation Networks: a learned comparison of a query with each class."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from jmeta.core.objectives import masked_mean
from jmeta.core.types import Adapted, Apply, Batch, Learner, Outputs, Params, PyTree, Scalar
from jmeta.learners.heads import check_ways, class_means, class_sums, only_present

Combine = Literal["sum", "mean"]
Compare = Callable[[Params, jax.Array, jax.Array], jax.Array]  # classes, queries -> logits


def relation(embed: Apply, compare: Compare, *, ways: int, combine: Combine = "sum") -> Learner:
    """A network judges how alike a query and a class are: r_{q,n} = h(γ, [f_n; f(θ, x_q)]).

        f_n = Σ over s in class n of f(θ, x_s),   score = σ(r)

    Args:
        embed: `embed(params["embed"], x [M, ...]) -> features [M, D] or maps [M, H, W, C]`.
        compare: `compare(params["relation"], classes [N, ...], queries [Q, ...])`, which gives
            relation logits [Q, N], e.g. `jmeta.nn.RelationConv` or `jmeta.nn.RelationMLP`; σ of
            them is the paper's score.
        ways: N, static.
        combine: "sum" of a class's examples as in the paper, or their "mean", which does not
            grow with the shots.

    Returns:
        a learner whose parameters are `{"embed": θ, "relation": γ}`. Train it with
        `relation_error`, or with `cross_entropy`.

    Raises:
        ValueError: `ways` is less than 1, or an unknown combination.

    Learning to Compare: Relation Network for Few-Shot Learning (Sung, Yang, Zhang, Xiang, Torr,
    Hospedales, 2018, arXiv:1711.06025).

    >>> learner = relation(lambda w, x: x * w, lambda c, left, right: c * right @ left.T, ways=2)
    >>> params = {"embed": jnp.ones(()), "relation": jnp.ones(())}
    >>> adapted = learner.adapt(params, Batch(jnp.array([[1.0], [-2.0]]), jnp.array([0, 1])))
    >>> learner.predict(adapted, jnp.array([[3.0]])).tolist()
    [[3.0, -6.0]]
    """
    check_ways(ways, name="relation")
    if combine not in ("sum", "mean"):
        raise ValueError(f"relation got combine={combine!r}; it knows 'sum' and 'mean'.")

    def adapt(params: Params, support: Batch) -> Adapted:
        features = embed(params["embed"], support.x)
        means, present = class_means(features, support.y, ways=ways)
        sums = class_sums(features, support.y, ways=ways)
        return params, sums if combine == "sum" else means, present

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, classes, present = adapted
        logits = compare(params["relation"], classes, embed(params["embed"], x))
        return only_present(logits, present)

    return Learner(adapt, predict)


def relation_error(logits: jax.Array, labels: jax.Array) -> Scalar:
    """Mean over queries of Σ_n (σ(r_{q,n}) − 1[y_q = n])²: the paper's loss.

    Args:
        logits: [Q, N] relation logits; an absent class has score 0 and no error.
        labels: [Q] integers, -1 for padding.

    Learning to Compare: Relation Network for Few-Shot Learning (Sung, Yang, Zhang, Xiang, Torr,
    Hospedales, 2018, arXiv:1711.06025), equation 2.

    >>> float(relation_error(jnp.zeros((1, 2)), jnp.array([0])))
    0.5
    """
    truth = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return masked_mean(jnp.sum((jax.nn.sigmoid(logits) - truth) ** 2, -1), labels >= 0)

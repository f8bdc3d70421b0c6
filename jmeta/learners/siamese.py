"""Siamese networks: pairs of examples that are of one class or not."""

from typing import Literal

import jax
import jax.numpy as jnp

from jmeta.core.objectives import masked_mean
from jmeta.core.types import (
    Adapted,
    Apply,
    Batch,
    Learner,
    Loss,
    Outputs,
    Params,
    PyTree,
    Scalar,
    Task,
)
from jmeta.learners.heads import Head, check_ways, only_present
from jmeta.learners.matching import Examples, remember

Match = Literal["best", "mean"]


def pair_logits(left: jax.Array, right: jax.Array, alpha: jax.Array, bias: jax.Array) -> jax.Array:
    """Koch's weighted L1 for all pairs: Σ_j α_j |a_j − b_j| + b, [N, D], [M, D] -> [N, M].

    >>> pair_logits(jnp.ones((1, 2)), jnp.zeros((1, 2)), -jnp.ones(2), jnp.ones(())).tolist()
    [[-1.0]]
    """
    return jnp.abs(left[:, None] - right[None]) @ alpha + bias


def weighted_l1(ways: int, alpha: jax.Array, bias: jax.Array, *, match: Match = "best") -> Head:
    """The class whose support examples are likeliest of the query's class.

        logit_n(z) = max or mean over s in class n of  Σ_j α_j |z_j − z_sj| + b

    Args:
        ways: N, static.
        alpha: α [D], learned; negative where a difference tells classes apart.
        bias: b [], learned.
        match: "best", the nearest example as in the paper's one-shot trials, or "mean".

    Raises:
        ValueError: `ways` is less than 1, or an unknown match.

    Siamese Neural Networks for One-shot Image Recognition (Koch, Zemel, Salakhutdinov, 2015,
    ICML Deep Learning Workshop).

    >>> head = weighted_l1(2, -jnp.ones(1), jnp.zeros(()))
    >>> state = head.fit(jnp.array([[0.0], [3.0]]), jnp.array([0, 1]))
    >>> head.predict(state, jnp.array([[1.0]])).tolist()
    [[-1.0, -2.0]]
    """
    check_ways(ways, name="weighted_l1")
    if match not in ("best", "mean"):
        raise ValueError(f"weighted_l1 got match={match!r}; it knows 'best' and 'mean'.")

    def predict(state: Examples, embeddings: jax.Array) -> jax.Array:
        scores = pair_logits(embeddings, state.embeddings, alpha, bias)[:, :, None]
        members = state.members[None]
        if match == "best":
            logits = jnp.max(jnp.where(members, scores, jnp.finfo(scores.dtype).min), 1)
        else:
            logits = jnp.where(members, scores, 0).sum(1) / jnp.maximum(members.sum(1), 1)
        return only_present(logits, state.members.any(0))

    return Head(remember(ways), predict)


def siamese(embed: Apply, *, ways: int, features: int, match: Match = "best") -> Learner:
    """A Siamese network: embeddings compared by a learned weighted L1 distance.

    Args:
        embed: `embed(params, x [N, ...]) -> embeddings [N, D]`.
        ways: N, static.
        features: D, for the first α = −1/√D.
        match: see `weighted_l1`.

    Returns:
        a learner whose parameters are `{"embed": θ, "alpha": [D], "bias": []}`; its `init`
        makes them of θ. Train it with `siamese_loss`.

    Siamese Neural Networks for One-shot Image Recognition (Koch, Zemel, Salakhutdinov, 2015,
    ICML Deep Learning Workshop).

    >>> learner = siamese(lambda w, x: x * w, ways=2, features=1)
    >>> support = Batch(jnp.array([[0.0], [3.0]]), jnp.array([0, 1]))
    >>> adapted = learner.adapt(learner.init(jnp.ones(())), support)
    >>> learner.predict(adapted, jnp.array([[1.0]])).tolist()
    [[-1.0, -2.0]]
    """
    fit = remember(ways)

    def adapt(params: Params, support: Batch) -> Adapted:
        return params, fit(embed(params["embed"], support.x), support.y)

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, state = adapted
        rule = weighted_l1(ways, params["alpha"], params["bias"], match=match)
        return rule.predict(state, embed(params["embed"], x))

    def init(params: Params) -> Params:
        alpha = jnp.full((features,), -(features**-0.5))
        return {"embed": params, "alpha": alpha, "bias": jnp.zeros(())}

    return Learner(adapt, predict, init)


def pair_cross_entropy(logits: jax.Array, same: jax.Array, real: jax.Array) -> Scalar:
    """Binary cross-entropy, the mean over pairs of an episode.

        −mean( log σ(l) of pairs of one class,  log(1 − σ(l)) of the others )

    Not balanced: with N classes a pair of one class meets N − 1 others, and it is they who decide
    which class is nearest.

    Args:
        logits, same, real: [N, M]; `same` says that a pair is of one class, `real` that it is
            no padding.

    >>> one = jnp.ones((1, 2), bool)
    >>> round(float(pair_cross_entropy(jnp.zeros((1, 2)), jnp.array([[True, False]]), one)), 4)
    0.6931
    """
    return masked_mean(jax.nn.softplus(jnp.where(same, -logits, logits)), real)


def siamese_loss(embed: Apply, *, ways: int, match: Match = "best") -> Loss:
    """Koch's loss over every (query, support) pair of an episode.

        pair_cross_entropy( Σ_j α_j |z_qj − z_sj| + b,  y_q = y_s )

    Args:
        embed, ways, match: as for `siamese`, whose parameters it descends.

    Returns:
        `loss(params, task) -> (scalar, logits [Q, N])`.

    Siamese Neural Networks for One-shot Image Recognition (Koch, Zemel, Salakhutdinov, 2015,
    ICML Deep Learning Workshop).

    >>> params = {"embed": jnp.ones(()), "alpha": -jnp.ones(1), "bias": jnp.zeros(())}
    >>> batch = Batch(jnp.array([[0.0], [3.0]]), jnp.array([0, 1]))
    >>> value, logits = siamese_loss(lambda w, x: x * w, ways=2)(params, Task(batch, batch))
    >>> round(float(value), 4), logits.shape
    (0.3709, (2, 2))
    """

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        alpha, bias = params["alpha"], params["bias"]
        support, query = (embed(params["embed"], batch.x) for batch in task)
        same = task.query.y[:, None] == task.support.y[None]
        real = (task.query.y[:, None] >= 0) & (task.support.y[None] >= 0)
        value = pair_cross_entropy(pair_logits(query, support, alpha, bias), same, real)
        head = weighted_l1(ways, alpha, bias, match=match)
        return value, head.predict(head.fit(support, task.support.y), query)

    return loss

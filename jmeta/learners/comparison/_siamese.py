"""Siamese networks, which decide whether two examples belong to the same class."""

from typing import Literal

import jax
import jax.numpy as jnp

from jmeta.core import (
    Adapted,
    Batch,
    Key,
    Learner,
    Loss,
    Net,
    Outputs,
    Params,
    PyTree,
    Scalar,
    Task,
)
from jmeta.core._networks import bound, first_example, init_net, key_of, require_net
from jmeta.core._padding import is_masked, marked
from jmeta.core._tree import require_keys
from jmeta.learners.comparison._heads import Head, check_ways, only_present
from jmeta.learners.comparison._matching import Examples, remember
from jmeta.losses._objectives import masked_mean

Match = Literal["mean", "best"]
KEYS = ("embed", "alpha", "bias")


def pair_logits(left: jax.Array, right: jax.Array, alpha: jax.Array, bias: jax.Array) -> jax.Array:
    """Koch's weighted L1 distance of all pairs, as a logit: [N, D], [M, D] -> [N, M].

        Σ_j α_j |l_j − r_j| + b

    >>> pair_logits(jnp.ones((1, 2)), jnp.zeros((1, 2)), -jnp.ones(2), jnp.ones(())).tolist()
    [[-1.0]]
    """
    return jnp.abs(left[:, None] - right[None]) @ alpha + bias


def check_match(ways: int, match: str) -> None:
    """Refuse fewer than one class and an unknown `match`.

    Raises:
        ValueError: `ways` is less than 1, or `match` is neither "mean" nor "best".

    >>> check_match(5, "mean")
    """
    check_ways(ways, name="a Siamese network")
    if match not in ("mean", "best"):
        raise ValueError(f"match must be 'mean' or 'best', but got {match!r}.")


def weighted_l1(ways: int, alpha: jax.Array, bias: jax.Array, *, match: Match = "mean") -> Head:
    """Classify by a learned, weighted L1 distance to the support examples of each class.

        logit_n(z) = mean or max over s in class n of  Σ_j α_j |z_j − z_sj| + b

    Args:
        ways: N, the number of classes (static).
        alpha: α [D], learned. It is negative for features that differ between classes.
        bias: b [], learned.
        match: "mean" takes the mean over the examples of a class, "best" the maximum. The two are
            equal for one shot, as in the paper's trials.

    Returns:
        A head.

    Raises:
        ValueError: `ways` is less than 1, or `match` is unknown.

    Siamese Neural Networks for One-shot Image Recognition (Koch, Zemel, Salakhutdinov, 2015,
    ICML Deep Learning Workshop).

    >>> head = weighted_l1(2, -jnp.ones(1), jnp.zeros(()))
    >>> state = head.fit(jnp.array([[0.0], [3.0]]), jnp.array([0, 1]))
    >>> head.predict(state, jnp.array([[1.0]])).tolist()
    [[-1.0, -2.0]]
    """
    check_match(ways, match)

    def predict(state: Examples, embeddings: jax.Array) -> jax.Array:
        scores = pair_logits(embeddings, state.embeddings, alpha, bias)[:, :, None]
        members = state.members[None]
        if match == "best":
            logits = jnp.max(jnp.where(members, scores, jnp.finfo(scores.dtype).min), 1)
        else:
            logits = jnp.where(members, scores, 0).sum(1) / jnp.maximum(members.sum(1), 1)
        return only_present(logits, state.members.any(0))

    return Head(remember(ways), predict)


def siamese(embed: Net, *, ways: int, match: Match = "mean") -> Learner:
    """A Siamese network, which compares embeddings by a learned, weighted L1 distance.

        logit_n(x) = mean or max over s in class n of  Σ_j α_j |f(θ, x)_j − f(θ, x_s)_j| + b

    Initially α is −1/√D and b is 0. Train the network with `siamese_loss`.

    Args:
        embed: f, the embedding network, inputs [N, ...] -> embeddings [N, D].
        ways: N, the number of classes (static).
        match: see `weighted_l1`.

    Returns:
        A learner with parameters {"embed": θ, "alpha": α, "bias": b}.

    Raises:
        ValueError: `ways` is less than 1, `match` is unknown, or the parameters were not made by
            this learner's `init`.

    Siamese Neural Networks for One-shot Image Recognition (Koch, Zemel, Salakhutdinov, 2015,
    ICML Deep Learning Workshop).

    >>> from jmeta.nn import from_functions
    >>> net = from_functions(lambda key, x: jnp.ones(()), lambda w, x: x * w)
    >>> learner = siamese(net, ways=2)
    >>> support = Batch(jnp.array([[0.0], [3.0]]), jnp.array([0, 1]))
    >>> params = learner.init(jax.random.key(0), Task(support, support))
    >>> learner.predict(learner.adapt(params, support), jnp.array([[1.0]])).tolist()
    [[-1.0, -2.0]]
    """
    require_net(embed, of="siamese")
    check_match(ways, match)
    fit = remember(ways)

    def init(key: Key, task: Task) -> Params:
        x = first_example(task.support.x)
        params = init_net(embed, key, x)
        bind = bound(embed, key_of(embed, key, of="siamese"))
        features = jax.eval_shape(bind, params, x)
        width, dtype = features.shape[-1], features.dtype
        alpha = jnp.full((width,), -(width**-0.5), dtype)  # of no weak type, or a step retraces
        return {"embed": params, "alpha": alpha, "bias": jnp.zeros((), dtype)}

    def adapt(params: Params, support: Batch) -> Adapted:
        require_keys(params, KEYS, of="siamese")
        key = key_of(embed, support.key, of="siamese")
        features = bound(embed, key, -1)(params["embed"], marked(embed, support))
        return params, fit(features, support.y), key

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, state, key = adapted
        rule = weighted_l1(ways, params["alpha"], params["bias"], match=match)
        return rule.predict(state, bound(embed, key, -2)(params["embed"], x))

    return Learner(init, adapt, predict, is_masked(embed))


def pair_cross_entropy(logits: jax.Array, same: jax.Array, real: jax.Array) -> Scalar:
    """The binary cross-entropy, averaged over all pairs of an episode.

        −mean( log σ(l) for pairs of the same class,  log(1 − σ(l)) for other pairs )

    The two kinds of pairs are not balanced. With N classes there are N − 1 times as many pairs of
    different classes, and they determine which class is nearest.

    Args:
        logits: l [N, M].
        same: [N, M] bool: both examples belong to the same class.
        real: [N, M] bool: neither example is padding.

    >>> one = jnp.ones((1, 2), bool)
    >>> round(float(pair_cross_entropy(jnp.zeros((1, 2)), jnp.array([[True, False]]), one)), 4)
    0.6931
    """
    return masked_mean(jax.nn.softplus(jnp.where(same, -logits, logits)), real)


def siamese_loss(embed: Net, *, ways: int, match: Match = "mean") -> Loss:
    """Koch's loss, the binary cross-entropy of every (query, support) pair of an episode.

        pair_cross_entropy( Σ_j α_j |z_qj − z_sj| + b,  y_q = y_s )

    Args:
        embed, ways, match: those of `siamese`, whose parameters the loss takes.

    Returns:
        `loss(params, task) -> (scalar, logits [Q, N])`.

    Siamese Neural Networks for One-shot Image Recognition (Koch, Zemel, Salakhutdinov, 2015,
    ICML Deep Learning Workshop).

    >>> from jmeta.nn import from_functions
    >>> net = from_functions(lambda key, x: jnp.ones(()), lambda w, x: x * w)
    >>> params = {"embed": jnp.ones(()), "alpha": -jnp.ones(1), "bias": jnp.zeros(())}
    >>> batch = Batch(jnp.array([[0.0], [3.0]]), jnp.array([0, 1]))
    >>> value, logits = siamese_loss(net, ways=2)(params, Task(batch, batch))
    >>> round(float(value), 4), logits.shape
    (0.3709, (2, 2))
    """
    require_net(embed, of="siamese_loss")
    check_match(ways, match)

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        require_keys(params, KEYS, of="siamese_loss")
        alpha, bias = params["alpha"], params["bias"]
        key = key_of(embed, task.support.key, of="siamese_loss")
        support = bound(embed, key, -1)(params["embed"], marked(embed, task.support))
        query = bound(embed, key, -2)(params["embed"], marked(embed, task.query))
        same = task.query.y[:, None] == task.support.y[None]
        real = (task.query.y[:, None] >= 0) & (task.support.y[None] >= 0)
        value = pair_cross_entropy(pair_logits(query, support, alpha, bias), same, real)
        head = weighted_l1(ways, alpha, bias, match=match)
        return value, head.predict(head.fit(support, task.support.y), query)

    return loss

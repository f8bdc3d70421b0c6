"""Meta Networks: gradients as information, turned into fast weights."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jmeta.core.objectives import cross_entropy
from jmeta.core.types import Adapted, Apply, Batch, Learner, Params, PyTree, Scalar

SlowFastApply = Callable[[Params, Params | None, PyTree], tuple[jax.Array, jax.Array]]


class MetaNetworkParams(NamedTuple):
    """The slow weights: of both networks and of what makes their fast weights."""

    embed: Params  # Q, of the representation u
    base: Params  # W, of the base learner b
    embed_weights: Params  # G, of the generator d
    base_weights: Params  # Z, of the generator m


class FastMemory(NamedTuple):
    """The support set as a memory of fast weights."""

    keys: jax.Array  # R [S, D] representations
    weights: jax.Array  # M [S, P] fast weights of the base learner
    mask: jax.Array  # [S] bool


def meta_network(
    embed: SlowFastApply,
    base: SlowFastApply,
    embed_weights: Apply,
    base_weights: Apply,
    *,
    sharpness: float = 1.0,
    second_order: bool = False,
) -> Learner:
    """Fast weights from the gradients of the support losses, slow ones from meta-training.

        Q* = d(G, {∇_Q L(u(Q, x_i), y_i)}_i)            fast weights of the representation
        r_i = u(Q, Q*, x_i)
        W*_i = m(Z, ∇_W L(b(W, r_i), y_i))              fast weights, one set a support example
        W*(x) = Σ_i softmax_i(β cos(r_i, r)) W*_i,      r = u(Q, Q*, x)
        logits(x) = b(W, W*(x), r)

    with L the cross-entropy. This is the form in which the base learner works on representations.
    d reads the support in its order. Labels of -1 are padding and count for nothing.

    Args:
        embed: u, `embed(slow, fast or None, x [N, ...]) -> (r [N, D], logits [N, ways])`.
        base: b, the same with r for x. Both come from `jmeta.nn.SlowFast` through
            `jmeta.nn.slow_and_fast`; their number of outputs is the number of ways.
        embed_weights: d, `(G, (gradients [S, P], mask [S])) -> weights [P]`: `GradientLSTM.apply`.
        base_weights: m, `(Z, gradients [S, P]) -> weights [S, P]`: `GradientMLP.apply`.
        sharpness: β of the attention; 1 as published.
        second_order: differentiate the gradients ∇_Q L and ∇_W L too. They are constants of the
            meta-gradient otherwise: cheaper, and in training better, for of the logarithm of a
            small gradient the slope is large.

    Returns:
        A learner whose parameters are `MetaNetworkParams`.

    Meta Networks (Munkhdalai, Yu, 2017, arXiv:1703.00837), algorithm 1.

    >>> linear = lambda slow, fast, x: (x, x @ (slow if fast is None else slow + fast))
    >>> mean, same = (lambda g, gm: -gm[0].mean(0)), (lambda z, gradients: -9 * gradients)
    >>> learner = meta_network(linear, linear, mean, same)
    >>> params = MetaNetworkParams(jnp.zeros((2, 2)), jnp.zeros((2, 2)), (), ())
    >>> adapted = learner.adapt(params, Batch(jnp.eye(2), jnp.array([1, 0])))
    >>> learner.predict(adapted, jnp.eye(2)).argmax(-1).tolist()
    [1, 0]
    """

    def information(apply: SlowFastApply, slow: Params, x: PyTree, y: jax.Array) -> jax.Array:
        gradients = _gradients(apply, slow, x, y)
        return gradients if second_order else jax.lax.stop_gradient(gradients)

    def adapt(params: MetaNetworkParams, support: Batch) -> Adapted:
        x, y = support
        mask = y >= 0
        gradients = information(embed, params.embed, x, y)
        fast = _unravel(params.embed, embed_weights(params.embed_weights, (gradients, mask)))
        keys = embed(params.embed, fast, x)[0]
        weights = base_weights(params.base_weights, information(base, params.base, keys, y))
        return params, fast, FastMemory(keys, weights, mask)

    def predict(adapted: Adapted, x: PyTree) -> jax.Array:
        params, fast, memory = adapted
        queries = embed(params.embed, fast, x)[0]
        weights = _attention(memory, queries, sharpness) @ memory.weights  # [Q, P]

        def one(weights: jax.Array, r: jax.Array) -> jax.Array:
            return base(params.base, _unravel(params.base, weights), r[None])[1][0]

        return jax.vmap(one)(weights, queries)

    return Learner(adapt, predict)


def _gradients(apply: SlowFastApply, slow: Params, x: PyTree, y: jax.Array) -> jax.Array:
    """∇ of each example's cross-entropy by the slow weights, flat: [S, P]; zeros where padded."""

    def loss(slow: Params, x: PyTree, y: jax.Array) -> Scalar:
        return cross_entropy(apply(slow, None, jax.tree.map(lambda v: v[None], x))[1], y[None])

    each = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(slow, x, y)
    return jax.vmap(lambda tree: ravel_pytree(tree)[0])(each)


def _unravel(like: Params, flat: jax.Array) -> Params:
    return ravel_pytree(like)[1](flat)


def _attention(memory: FastMemory, queries: jax.Array, sharpness: float) -> jax.Array:
    """softmax over the support of β cos(r_i, r_q): [Q, S]; padding gets 0."""
    epsilon = 1e-6  # inside the roots
    lengths = [jnp.sqrt(jnp.sum(v**2, -1) + epsilon) for v in (queries, memory.keys)]
    cosines = queries @ memory.keys.T / (lengths[0][:, None] * lengths[1][None, :])
    logits = jnp.where(memory.mask[None, :], sharpness * cosines, jnp.finfo(cosines.dtype).min)
    return jax.nn.softmax(logits, -1)

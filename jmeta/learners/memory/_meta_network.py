"""Meta Networks: fast weights that networks compute from the gradients of the support losses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jmeta.core import Adapted, Batch, Key, Learner, Net, Params, PyTree, Scalar, Task
from jmeta.core._networks import first_example, require_net
from jmeta.core._padding import blanked
from jmeta.distances import cosine_similarity
from jmeta.losses import cross_entropy


class MetaNetworkParams(NamedTuple):
    """The slow weights of both networks and of the generators of their fast weights."""

    embed: Params  # Q, the weights of the representation u
    base: Params  # W, the weights of the base learner b
    embed_weights: Params  # G, the weights of the generator d
    base_weights: Params  # Z, the weights of the generator m


class FastMemory(NamedTuple):
    """The support set as a memory of fast weights."""

    keys: jax.Array  # R [S, D] representations
    weights: jax.Array  # M [S, P] fast weights of the base learner
    mask: jax.Array  # [S] bool


def meta_network(
    embed: Net,
    base: Net,
    embed_weights: Net,
    base_weights: Net,
    *,
    sharpness: float = 30.0,
    second_order: bool = False,
) -> Learner:
    """Combine slow weights from meta-training with fast weights from the support gradients.

        Q* = d(G, {∇_Q L(u(Q, x_i), y_i)}_i)            fast weights of the representation
        r_i = u(Q, Q*, x_i)
        W*_i = m(Z, ∇_W L(b(W, r_i), y_i))              fast weights, one set a support example
        W*(x) = Σ_i softmax_i(β cos(r_i, r)) W*_i,      r = u(Q, Q*, x)
        logits(x) = b(W, W*(x), r)

    L is the cross-entropy. This is the variant of the paper in which the base learner takes the
    representations as inputs. d reads the support examples in their order. Examples with the label
    -1 are padding and are ignored.

    Args:
        embed: u, a network with `apply(slow, fast or None, x [N, ...]) -> (r [N, D], logits
            [N, ways])`.
        base: b, a network of the same kind that takes r instead of x. Make both with
            `jmeta.nn.slow_and_fast(jmeta.nn.SlowFast(ways))`.
        embed_weights: d, `(gradients [S, P], mask [S]) -> weights [P]`: `jmeta.nn.GradientLSTM`.
        base_weights: m, `gradients [S, P] -> weights [S, P]`: `jmeta.nn.GradientMLP`.
        sharpness: β of the attention; the paper has 1.
        second_order: whether to differentiate the gradients ∇_Q L and ∇_W L. By default the
            meta-gradient treats them as constants. This is cheaper and trains better, because the
            generators read logarithms of gradients, whose slopes are large for small gradients.

    Returns:
        A learner with parameters `MetaNetworkParams`.

    Meta Networks (Munkhdalai, Yu, 2017, arXiv:1703.00837), algorithm 1.

    >>> from jmeta import nn
    >>> both = [nn.slow_and_fast(nn.SlowFast(2, features=(4,))) for _ in range(2)]
    >>> learner = meta_network(*both, nn.GradientLSTM(), nn.GradientMLP())
    >>> support = Batch(jnp.eye(2), jnp.array([1, 0]))
    >>> params = learner.init(jax.random.key(0), Task(support, support))
    >>> jax.jit(lambda p: learner.predict(learner.adapt(p, support), jnp.eye(2)))(params).shape
    (2, 2)
    """
    for net in (embed, base, embed_weights, base_weights):
        require_net(net, of="meta_network")

    def init(key: Key, task: Task) -> MetaNetworkParams:
        keys, gradients = jax.random.split(key, 4), jnp.zeros((1, 1))
        x = first_example(task.support.x)
        slow = embed.init(keys[0], x)
        r = jax.eval_shape(lambda: embed.apply(slow, None, x)[0])
        return MetaNetworkParams(
            slow,
            base.init(keys[1], jnp.zeros(r.shape, r.dtype)),
            embed_weights.init(keys[2], (gradients, jnp.ones(1, bool))),
            base_weights.init(keys[3], gradients),
        )

    def information(net: Net, slow: Params, x: PyTree, y: jax.Array) -> jax.Array:
        gradients = _gradients(net, slow, x, y)
        return gradients if second_order else jax.lax.stop_gradient(gradients)

    def adapt(params: MetaNetworkParams, support: Batch) -> Adapted:
        if not isinstance(params, MetaNetworkParams):
            raise ValueError(
                f"the parameters of meta_network are MetaNetworkParams, but got "
                f"{type(params).__name__}; make them with learner.init(key, task)."
            )
        mask, y = support.y != -1, support.y
        x = blanked(support.x, mask)
        gradients = information(embed, params.embed, x, y)
        fast = _unravel(params.embed, embed_weights.apply(params.embed_weights, (gradients, mask)))
        keys = embed.apply(params.embed, fast, x)[0]
        weights = base_weights.apply(params.base_weights, information(base, params.base, keys, y))
        return params, fast, FastMemory(keys, weights, mask)

    def predict(adapted: Adapted, x: PyTree) -> jax.Array:
        params, fast, memory = adapted
        queries = embed.apply(params.embed, fast, x)[0]
        weights = _attention(memory, queries, sharpness) @ memory.weights  # [Q, P]

        def one(weights: jax.Array, r: jax.Array) -> jax.Array:
            return base.apply(params.base, _unravel(params.base, weights), r[None])[1][0]

        return jax.vmap(one)(weights, queries)

    return Learner(init, adapt, predict)


def _gradients(net: Net, slow: Params, x: PyTree, y: jax.Array) -> jax.Array:
    """The flattened gradient of each example's cross-entropy, [S, P]; zeros for padding."""

    def loss(slow: Params, x: PyTree, y: jax.Array) -> Scalar:
        return cross_entropy(net.apply(slow, None, jax.tree.map(lambda v: v[None], x))[1], y[None])

    each = jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(slow, x, y)
    return jax.vmap(lambda tree: ravel_pytree(tree)[0])(each)


def _unravel(like: Params, flat: jax.Array) -> Params:
    return ravel_pytree(like)[1](flat)


def _attention(memory: FastMemory, queries: jax.Array, sharpness: float) -> jax.Array:
    """The softmax over the support of β cos(r_i, r_q), [Q, S]; 0 for padding."""
    cosines = cosine_similarity(queries, memory.keys, epsilon=1e-6)
    logits = jnp.where(memory.mask[None, :], sharpness * cosines, jnp.finfo(cosines.dtype).min)
    return jax.nn.softmax(logits, -1)

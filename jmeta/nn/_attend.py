"""Dot-product attention, and how a module with two methods becomes two functions."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Apply = Callable[[Any, Any], Any]  # (parameters, inputs) -> outputs


def attention(queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mix values by how well their keys fit each query.

        out_q = Σ_s softmax_s(k_s · q_q / √K) v_s    over the s that query q may see

    Args:
        queries: [Q, K].
        keys: [S, K].
        values: [S, V].
        mask: [Q, S] bool: query q may see s. A query that may see nothing gets zeros.

    Returns:
        [Q, V].

    Attention Is All You Need (Vaswani et al., 2017, arXiv:1706.03762), equation 1.

    >>> import jax.numpy as jnp
    >>> seen = jnp.array([[True, True], [False, True]])
    >>> attention(jnp.zeros((2, 1)), jnp.ones((2, 1)), jnp.array([[1.0], [3.0]]), seen).tolist()
    [[2.0], [3.0]]
    """
    return masked_softmax(queries @ keys.T / keys.shape[-1] ** 0.5, mask) @ values


def masked_softmax(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Softmax over the last axis where the mask holds, 0 elsewhere; all 0 where it never does.

    >>> masked_softmax(jnp.zeros(3), jnp.array([True, True, False])).tolist()
    [0.5, 0.5, 0.0]
    """
    weights = jax.nn.softmax(jnp.where(mask, logits, jnp.finfo(logits.dtype).min), axis=-1)
    return jnp.where(mask, weights, 0)


def encode_decode(model: nn.Module) -> tuple[Apply, Apply]:
    """The two functions that a learner which reads its support set is made of.

        encode(params, support) -> state,   decode(params, (state, queries)) -> outputs

    Args:
        model: a Linen module with methods `encode(support)` and `decode(state, queries)`:
            `SNAIL`, `MANN` or `NeuralProcess`.

    >>> import jax, jax.numpy as jnp
    >>> from jmeta.nn._neural_process import NeuralProcess
    >>> model = NeuralProcess(width=8)
    >>> support = jnp.ones((3, 1)), jnp.ones((3, 1)), jnp.ones(3, bool)
    >>> params = jax.jit(model.init)(jax.random.key(0), support, jnp.ones((2, 1)))
    >>> encode, decode = encode_decode(model)
    >>> state, _ = jax.jit(encode)(params, support)
    >>> mean, scale = jax.jit(decode)(params, ((state, None), jnp.ones((2, 1))))
    >>> mean.shape
    (2, 1)
    """

    def encode(params: Any, support: Any) -> Any:
        return model.apply(params, support, method="encode")

    def decode(params: Any, state_and_queries: tuple[Any, Any]) -> Any:
        return model.apply(params, *state_and_queries, method="decode")

    return encode, decode


def embedded(embed: nn.Module | None, x: Any, labels: jax.Array) -> jax.Array:
    """Inputs [N, ...] and their one-hot labels [N, ways], side by side: [N, D + ways]."""
    z = x.reshape(len(x), -1) if embed is None else embed(x)
    return jnp.concatenate([z, labels.astype(z.dtype)], axis=-1)

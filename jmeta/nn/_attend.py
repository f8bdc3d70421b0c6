"""Dot-product attention, and inputs joined with their labels."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def attention(queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array) -> jax.Array:
    """Average the values, weighted by how well their keys match each query.

        out_q = Σ_s softmax_s(k_s · q_q / √K) v_s    over the s with mask[q, s]

    Args:
        queries: [Q, K].
        keys: [S, K].
        values: [S, V].
        mask: [Q, S] bool, true where query q may see element s. A query that may see nothing
            gets zeros.

    Returns:
        Outputs [Q, V].

    Attention Is All You Need (Vaswani et al., 2017, arXiv:1706.03762), equation 1.

    >>> import jax.numpy as jnp
    >>> seen = jnp.array([[True, True], [False, True]])
    >>> attention(jnp.zeros((2, 1)), jnp.ones((2, 1)), jnp.array([[1.0], [3.0]]), seen).tolist()
    [[2.0], [3.0]]
    """
    return masked_softmax(queries @ keys.T / keys.shape[-1] ** 0.5, mask) @ values


def masked_softmax(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Softmax over the entries of the last axis where the mask is true; the others get 0.

    A row whose mask is false everywhere gets zeros.

    >>> masked_softmax(jnp.zeros(3), jnp.array([True, True, False])).tolist()
    [0.5, 0.5, 0.0]
    """
    weights = jax.nn.softmax(jnp.where(mask, logits, jnp.finfo(logits.dtype).min), axis=-1)
    return jnp.where(mask, weights, 0)


def embedded(
    embed: nn.Module | None, x: Any, labels: jax.Array, real: jax.Array | None = None
) -> jax.Array:
    """Concatenate embedded inputs [N, D] with one-hot labels [N, ways] to [N, D + ways].

    Without an embedding network the inputs [N, ...] are flattened to [N, D]. `real` [N] is false
    for padded examples; a masked network is told.
    """
    if embed is None:
        z = x.reshape(x.shape[0], -1)
    elif real is not None and getattr(embed, "masked", False):
        z = embed(x, real=real)
    else:
        z = embed(x)
    return jnp.concatenate([z, labels.astype(z.dtype)], axis=-1)

"""Attention among the members of a set, which adapts each of them to the others."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._attend import attention


class SetAttention(nn.Module):
    """One layer of multi-head self-attention over a set, the Transformer of FEAT.

        out_n = LayerNorm( z_n + W_o [h_1n; ...; h_Hn] + b_o )
        h_jn = Σ_m softmax_m( (W_qj z_n) · (W_kj z_m) / √D ) W_vj z_m   over the m that are there

    The result does not depend on the order of the set. The dropout of the authors' code is left
    out.

    Args:
        heads: H, the number of heads. Each has keys and values of the width D of the inputs.

    Raises:
        ValueError: `heads` is less than 1, or the inputs are not [N, D].

    Few-Shot Learning via Embedding Adaptation with Set-to-Set Functions (Ye, Hu, Zhan, Sha, 2020,
    arXiv:1812.03664).

    >>> model, z, real = SetAttention(), jnp.eye(3, 4), jnp.array([True, True, False])
    >>> params = jax.jit(model.init)(jax.random.key(0), z, real)
    >>> found = model.apply(params, z, real)
    >>> found.shape, bool(jnp.allclose(model.apply(params, z[::-1], real[::-1]), found[::-1]))
    ((3, 4), True)
    """

    heads: int = 1

    @nn.compact
    def __call__(self, z: jax.Array, real: jax.Array) -> jax.Array:
        """A set [N, D], of which the members with `real` [N] are there, to [N, D]."""
        if self.heads < 1 or z.ndim != 2:
            raise ValueError(
                f"SetAttention expects heads >= 1 and a set [N, D], but got heads={self.heads} and "
                f"{z.shape}."
            )
        width = z.shape[1]
        initial = nn.initializers.normal(width**-0.5)

        def projected(name: str) -> jax.Array:  # [H, N, D]
            layer = nn.Dense(self.heads * width, use_bias=False, kernel_init=initial, name=name)
            return jnp.moveaxis(layer(z).reshape(-1, self.heads, width), 1, 0)

        mask = jnp.broadcast_to(real[None, :], (z.shape[0], z.shape[0]))
        queries, keys, values = (projected(name) for name in ("queries", "keys", "values"))
        read = jax.vmap(attention, (0, 0, 0, None))(queries, keys, values, mask)
        joined = jnp.moveaxis(read, 0, 1).reshape(z.shape[0], -1)
        out = nn.Dense(width, kernel_init=nn.initializers.glorot_normal(), name="out")(joined)
        return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False)(z + out)

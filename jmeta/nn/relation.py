"""Relation modules: how alike the two halves of the last axis are, as one logit."""

import flax.linen as nn
import jax

from jmeta.nn.conv import Conv, Impl
from jmeta.nn.norm import Kind, Norm
from jmeta.nn.pool import max_pool


class RelationConv(nn.Module):
    """The paper's: two convolution blocks with 2x2 max-pooling, then two linear layers.

    Args:
        filters: channels of each convolution.
        hidden: width of the layer before the last.
        norm: normalisation of each block (see `Norm`); "batch" mixes all pairs of an episode.
        impl: see `conv2d`.

    Raises:
        ValueError: inputs that are not floating-point maps [M, H, W, C] of 4x4 pixels or more.

    Learning to Compare: Relation Network for Few-Shot Learning (Sung, Yang, Zhang, Xiang, Torr,
    Hospedales, 2018, arXiv:1711.06025), figure 2.

    >>> import jax, jax.numpy as jnp
    >>> model, pairs = RelationConv(filters=4), jnp.ones((3, 5, 5, 8))
    >>> model.init_with_output(jax.random.key(0), pairs)[0].shape
    (3,)
    """

    filters: int = 64
    hidden: int = 8
    norm: Kind | None = "batch"
    impl: Impl | None = None

    @nn.compact
    def __call__(self, pairs: jax.Array) -> jax.Array:
        """Feature maps of pairs [M, H, W, 2C] to relation logits [M]."""
        if pairs.ndim != 4 or min(pairs.shape[1:3]) < 4:
            raise ValueError(
                f"RelationConv expects maps [M, H, W, C] of 4x4 pixels or more, but got "
                f"{pairs.shape}; pool less before it, or take RelationMLP."
            )
        x = pairs
        for _ in range(2):
            conv = Conv(self.filters, use_bias=self.norm is None, impl=self.impl)
            x = max_pool(Norm(self.norm)(conv(x)), relu=True)
        x = nn.relu(nn.Dense(self.hidden)(x.reshape(len(x), -1)))
        return nn.Dense(1)(x)[:, 0]


class RelationMLP(nn.Module):
    """The same over vectors: linear layers with ReLU between them.

    Args:
        features: widths of the hidden layers.

    Raises:
        ValueError: inputs that are not [M, D].

    Learning to Compare: Relation Network for Few-Shot Learning (Sung, Yang, Zhang, Xiang, Torr,
    Hospedales, 2018, arXiv:1711.06025), whose zero-shot network has this form.

    >>> import jax, jax.numpy as jnp
    >>> RelationMLP((4,)).init_with_output(jax.random.key(0), jnp.ones((3, 6)))[0].shape
    (3,)
    """

    features: tuple[int, ...] = (64, 8)

    @nn.compact
    def __call__(self, pairs: jax.Array) -> jax.Array:
        """Vectors of pairs [M, 2D] to relation logits [M]."""
        if pairs.ndim != 2:
            raise ValueError(
                f"RelationMLP expects pairs [M, D], but got {pairs.shape}; flatten the maps, or "
                "take RelationConv."
            )
        for width in self.features:
            pairs = nn.relu(nn.Dense(width)(pairs))
        return nn.Dense(1)(pairs)[:, 0]

"""Relation modules: how alike every query is to every class, as logits.

A layer over the concatenation of two maps is the sum of a layer over each of them. So the first
one reads N classes and Q queries rather than N Q pairs.
"""

import flax.linen as nn
import jax

from jmeta.nn._conv import Conv, Impl
from jmeta.nn._norm import Kind, Norm
from jmeta.nn._pool import max_pool


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
    >>> model, maps = RelationConv(filters=4), jnp.ones((3, 5, 5, 8))
    >>> model.init_with_output(jax.random.key(0), maps[:2], maps)[0].shape
    (3, 2)
    """

    filters: int = 64
    hidden: int = 8
    norm: Kind | None = "batch"
    impl: Impl | None = None

    @nn.compact
    def __call__(self, classes: jax.Array, queries: jax.Array) -> jax.Array:
        """Feature maps of classes [N, H, W, C] and of queries [Q, H, W, C] to logits [Q, N]."""
        for maps in (classes, queries):
            if maps.ndim != 4 or min(maps.shape[1:3]) < 4:
                raise ValueError(
                    f"RelationConv expects maps [M, H, W, C] of 4x4 pixels or more, but got "
                    f"{maps.shape}; pool less before it, or take RelationMLP."
                )
        bias = self.norm is None
        left = Conv(self.filters, use_bias=bias, impl=self.impl, name="class_conv")(classes)
        right = Conv(self.filters, use_bias=False, impl=self.impl, name="query_conv")(queries)
        x = _pairs(left, right)
        x = max_pool(Norm(self.norm)(x), relu=True)
        x = Conv(self.filters, use_bias=bias, impl=self.impl)(x)
        x = max_pool(Norm(self.norm)(x), relu=True)
        x = nn.relu(nn.Dense(self.hidden)(x.reshape(len(x), -1)))
        return nn.Dense(1)(x).reshape(len(queries), len(classes))


class RelationMLP(nn.Module):
    """The same over vectors: linear layers with ReLU between them.

    Args:
        features: widths of the hidden layers, one or more.

    Raises:
        ValueError: inputs that are not [M, D].

    Learning to Compare: Relation Network for Few-Shot Learning (Sung, Yang, Zhang, Xiang, Torr,
    Hospedales, 2018, arXiv:1711.06025), whose zero-shot network has this form.

    >>> import jax, jax.numpy as jnp
    >>> model, z = RelationMLP((4,)), jnp.ones((3, 6))
    >>> model.init_with_output(jax.random.key(0), z[:2], z)[0].shape
    (3, 2)
    """

    features: tuple[int, ...] = (64, 8)

    @nn.compact
    def __call__(self, classes: jax.Array, queries: jax.Array) -> jax.Array:
        """Vectors of classes [N, D] and of queries [Q, D] to logits [Q, N]."""
        for vectors in (classes, queries):
            if vectors.ndim != 2:
                raise ValueError(
                    f"RelationMLP expects vectors [M, D], but got {vectors.shape}; flatten the "
                    "maps, or take RelationConv."
                )
        first, *rest = self.features
        left = nn.Dense(first, name="class_dense")(classes)
        right = nn.Dense(first, use_bias=False, name="query_dense")(queries)
        x = nn.relu(_pairs(left, right))
        for width in rest:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(1)(x).reshape(len(queries), len(classes))


def _pairs(classes: jax.Array, queries: jax.Array) -> jax.Array:
    """Every query with every class: [N, ...], [Q, ...] -> sums [Q N, ...]."""
    return (queries[:, None] + classes[None]).reshape(-1, *classes.shape[1:])

"""Relation modules: networks that score how alike every query is to every class.

A linear layer of two concatenated inputs is the sum of a layer of each. So the first layer here
runs on N classes and Q queries separately, instead of on N Q pairs.
"""

import flax.linen as nn
import jax

from jmeta.nn._conv import Conv, Impl
from jmeta.nn._norm import Kind, Norm
from jmeta.nn._pool import max_pool


class RelationConv(nn.Module):
    """The relation module of the paper: two convolution blocks, then two linear layers.

    Each block is a 3x3 convolution, a normalisation, ReLU and 2x2 max-pooling.

    Args:
        filters: channels of each convolution.
        hidden: width of the linear layer before the last.
        norm: normalisation of each block, see `Norm`. With "batch" the score of a pair depends on
            all pairs of the episode.
        impl: see `conv2d`.

    Raises:
        ValueError: the inputs are not floating-point maps [M, H, W, C] of at least 4x4 pixels.

    Learning to Compare: Relation Network for Few-Shot Learning (Sung, Yang, Zhang, Xiang, Torr,
    Hospedales, 2018, arXiv:1711.06025), figure 2.

    >>> import jax, jax.numpy as jnp
    >>> model, maps = RelationConv(filters=4), jnp.ones((3, 5, 5, 8))
    >>> model.init_with_output(jax.random.key(0), maps[:2], maps)[0].shape
    (3, 2)
    """

    filters: int = 64
    hidden: int = 8
    norm: Kind = "batch"
    impl: Impl | None = None

    @property
    def masked(self) -> bool:
        """Whether scores depend on which classes and queries are real: with batch statistics."""
        return self.norm == "batch"

    @nn.compact
    def __call__(
        self, classes: jax.Array, queries: jax.Array, *, real: jax.Array | None = None
    ) -> jax.Array:
        """Feature maps of classes [N, H, W, C] and of queries [Q, H, W, C] to logits [Q, N].

        `real` [Q, N] is false for pairs of a padded query or an absent class, which are left out of
        batch statistics.
        """
        for maps in (classes, queries):
            if maps.ndim != 4 or min(maps.shape[1:3]) < 4:
                raise ValueError(
                    "RelationConv expects maps [M, H, W, C] of at least 4x4 pixels, but got "
                    f"{maps.shape}; pool less before it, or use RelationMLP."
                )
        bias = self.norm == "none"
        left = Conv(self.filters, use_bias=bias, impl=self.impl, name="class_conv")(classes)
        right = Conv(self.filters, use_bias=False, impl=self.impl, name="query_conv")(queries)
        real = None if real is None else real.reshape(-1)
        x = _pairs(left, right)
        x = max_pool(Norm(self.norm)(x, real), relu=True)
        x = Conv(self.filters, use_bias=bias, impl=self.impl)(x)
        x = max_pool(Norm(self.norm)(x, real), relu=True)
        x = nn.relu(nn.Dense(self.hidden)(x.reshape(x.shape[0], -1)))
        return nn.Dense(1)(x).reshape(queries.shape[0], classes.shape[0])


class RelationMLP(nn.Module):
    """A relation module for vectors: linear layers with ReLU between them.

    Args:
        features: widths of the hidden layers, at least one.

    Raises:
        ValueError: the inputs are not vectors [M, D].

    Learning to Compare: Relation Network for Few-Shot Learning (Sung, Yang, Zhang, Xiang, Torr,
    Hospedales, 2018, arXiv:1711.06025); its network for zero-shot learning has this form.

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
                    "maps, or use RelationConv."
                )
        first, *rest = self.features
        left = nn.Dense(first, name="class_dense")(classes)
        right = nn.Dense(first, use_bias=False, name="query_dense")(queries)
        x = nn.relu(_pairs(left, right))
        for width in rest:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(1)(x).reshape(queries.shape[0], classes.shape[0])


def _pairs(classes: jax.Array, queries: jax.Array) -> jax.Array:
    """The sum of every query and every class: [N, ...], [Q, ...] -> [Q N, ...]."""
    return (queries[:, None] + classes[None]).reshape(-1, *classes.shape[1:])

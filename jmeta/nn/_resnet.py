"""ResNet-12, the usual larger network in few-shot learning, and DropBlock."""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._conv import Conv, Impl, Initializer, check_images
from jmeta.nn._mlp import linear
from jmeta.nn._norm import Kind, Norm
from jmeta.nn._pool import max_pool, mean_pool


class ResNet12(nn.Module):
    """Four residual blocks of three 3x3 convolutions, each of which ends with 2x2 max-pooling.

    Given images alone, the network is deterministic. Given a pair (images, key), it applies
    dropout after the first two blocks and DropBlock after the others. So does `with_dropout` of
    the network, which takes the key as an input of its own.

    Args:
        outputs: width of the last linear layer, "head". None leaves it out and gives the embedding
            [N, widths[-1]].
        widths: channels of the four blocks.
        norm: "batch" (transductive in an episode), "group", "layer" or "none"; see `Norm`.
        drop_rate: probability of dropping an activation, in [0, 1).
        drop_block: side of the squares that DropBlock drops, in pixels.
        head_init: initializer of the linear layer.
        impl: see `conv2d`.

    Raises:
        ValueError: the inputs are not floating-point images [N, H, W, C] of at least 16x16 pixels,
            there are not four widths, or `drop_rate` is not in [0, 1).

    Meta-Learning with Differentiable Convex Optimization (Lee, Maji, Ravichandran, Soatto, 2019,
    arXiv:1904.03758).

    >>> import jax, jax.numpy as jnp
    >>> model = ResNet12(5, widths=(4, 8, 8, 16), drop_rate=0.1)
    >>> x, key = jnp.ones((2, 16, 16, 3)), jax.random.key(0)
    >>> params = jax.eval_shape(model.init, key, x)
    >>> jax.eval_shape(model.apply, params, (x, key)).shape
    (2, 5)
    """

    outputs: int | None
    widths: tuple[int, ...] = (64, 160, 320, 640)
    norm: Kind = "batch"
    drop_rate: float = 0.0
    drop_block: int = 5
    head_init: Initializer = nn.initializers.glorot_uniform()
    impl: Impl | None = None
    by_example: ClassVar[bool] = True  # a mesh may share the examples, see `jmeta.step`

    @property
    def masked(self) -> bool:
        """Whether outputs depend on which examples are real: with batch statistics and dropout."""
        return self.norm == "batch" or self.drop_rate > 0

    @nn.compact
    def __call__(
        self, x: Any, *, real: jax.Array | None = None, deterministic: bool = True
    ) -> jax.Array:
        """Images [N, H, W, C], or (images, key), to [N, outputs] or [N, widths[-1]].

        `real` [N] is false for padded examples, which are left out of batch statistics.
        With `deterministic=False` a key that is not given comes from `self.make_rng("dropout")`.
        """
        x, key = x if isinstance(x, tuple) else (x, None)
        if key is None and not deterministic:
            key = self.make_rng("dropout")
        check_images(x, smallest=16)
        if len(self.widths) != 4 or not 0 <= self.drop_rate < 1:
            raise ValueError(
                f"ResNet12 got widths={self.widths}, drop_rate={self.drop_rate}; give four widths "
                "and a rate of at least 0 and less than 1."
            )
        for index, width in enumerate(self.widths):
            x = _Block(width, self.norm, self.impl)(x, real)
            if key is not None and self.drop_rate > 0:
                size, own = 1 if index < 2 else self.drop_block, jax.random.fold_in(key, index)
                x = drop_block(x, own, rate=self.drop_rate, size=size, real=real)
        x = mean_pool(x)
        if self.outputs is None:
            return x
        return linear(x, self.outputs, self.head_init, name="head")


class _Block(nn.Module):
    """Three convolutions and a shortcut of one, then max-pooling."""

    width: int
    norm: Kind
    impl: Impl | None

    @nn.compact
    def __call__(self, x: jax.Array, real: jax.Array | None) -> jax.Array:
        shortcut = self._layer(x, 1, real)
        for _ in range(2):
            x = _leaky(self._layer(x, 3, real))
        return _leaky(max_pool(self._layer(x, 3, real) + shortcut))

    def _layer(self, x: jax.Array, window: int, real: jax.Array | None) -> jax.Array:
        init = nn.initializers.variance_scaling(2 / (1 + 0.1**2), "fan_out", "normal")
        bias = self.norm == "none"
        conv = Conv(self.width, window, use_bias=bias, kernel_init=init, impl=self.impl)
        return Norm(self.norm)(conv(x), real)


def _leaky(x: jax.Array) -> jax.Array:
    return nn.leaky_relu(x, 0.1)


def drop_block(
    x: jax.Array, key: jax.Array, *, rate: float, size: int, real: jax.Array | None = None
) -> jax.Array:
    """Set random squares of each channel to zero and scale up the other activations.

    A square is drawn at every place where a whole one fits, with probability

        γ = rate / size² · H W / ((H - size + 1) (W - size + 1))

    and the activations that are kept are multiplied by (number of activations) / (number kept).
    With size 1 this is dropout.

    Args:
        x: images [N, H, W, C].
        key: a PRNG key.
        rate: expected share of activations to drop, in [0, 1).
        size: side of a square in pixels, at most that of the images.
        real: [N] bool, false for padded images, which are not counted; None if all are real.

    Returns:
        Images [N, H, W, C].

    Raises:
        ValueError: the rate is not in [0, 1), or the size is less than 1.

    DropBlock: A regularization method for convolutional networks (Ghiasi, Lin, Le, 2018,
    arXiv:1810.12890).

    >>> import jax, jax.numpy as jnp
    >>> x = jnp.ones((1, 8, 8, 1))
    >>> dropped = drop_block(x, jax.random.key(1), rate=0.2, size=2)
    >>> bool((dropped == 0).any()), round(float(dropped.mean()), 3)
    (True, 1.0)
    """
    if not 0 <= rate < 1 or size < 1:
        raise ValueError(
            f"drop_block got rate={rate}, size={size}; give a rate in [0, 1) and a size of at "
            "least 1."
        )
    images, height, width, channels = x.shape
    size = min(size, height, width)
    rows, cols = height - size + 1, width - size + 1
    gamma = min(1.0, rate / size**2 * height * width / (rows * cols))
    centres = jax.random.bernoulli(key, gamma, (images, rows, cols, channels))
    edge = size - 1
    padded = jnp.pad(centres, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    dropped = _any_in_window(_any_in_window(padded, 1, size), 2, size)
    kept = (~dropped).astype(x.dtype)
    counted = kept if real is None else kept * real[:, None, None, None]
    size_of_all = kept.size if real is None else real.sum() * (kept.size // images)
    return x * kept * (size_of_all / jnp.maximum(counted.sum(), 1))


def _any_in_window(mask: jax.Array, axis: int, size: int) -> jax.Array:
    """Whether any of `size` consecutive entries along an axis is true."""
    length = mask.shape[axis] - size + 1
    shifted = [jax.lax.slice_in_dim(mask, i, i + length, axis=axis) for i in range(size)]
    return jnp.stack(shifted).any(0)

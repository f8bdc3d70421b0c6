"""EfficientNet-Lite, a small convolutional network that was made for phones."""

import math
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jmeta.nn._conv import Conv, Initializer, check_images
from jmeta.nn._mlp import linear
from jmeta.nn._pool import mean_pool
from jmeta.nn._standard import Triple, standardised

_STEM, _HEAD = 32, 1280
_MEAN: Triple = (127 / 255,) * 3  # as the weights of ImageNet were trained
_STD: Triple = (128 / 255,) * 3


class _Stage(NamedTuple):
    """Blocks of one width; the first has the stride."""

    blocks: int
    window: int
    stride: int
    expand: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class EfficientNetLite(nn.Module):
    """Inverted residual blocks: 1x1 expansion, depthwise convolution, 1x1 projection.

        block(x) = [x +] BN(W_2 * relu6(BN(D * relu6(BN(W_1 * x)))))

    Batch normalisation goes by moments that are kept in the collection "batch_stats" and are
    never learned: 0 and 1 from `init`, those of the training images from a file. So no output
    depends on the other images of a batch. Images are RGB or grey, in 0..1, and are
    standardised here; grey ones are taken for RGB. `load_efficientnet_lite` gives the
    weights of ImageNet.

    Args:
        outputs: width of the linear layer "head". None leaves it out and gives the embedding
            [N, 1280].
        width: factor of the channels, except for those of the first and last convolution. It is
            1, 1, 1.1, 1.2, 1.4 in Lite0 to Lite4.
        depth: factor of the blocks, except for those of the first and last stage: 1, 1.1, 1.2,
            1.4, 1.8. Lite0 was made for images of 224, the others for 240, 260, 280 and 300 pixels.
        epsilon: added to the variances of the normalisations.
        mean, std: by which the channels are standardised. The weights of ImageNet were trained
            with 127/255 and 128/255 for each, not with the moments of ImageNet's images.
        head_init: initializer of the linear layer.

    Raises:
        ValueError: the inputs are not floating-point images [N, H, W, 1 or 3], or a factor is
            not positive.

    EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (Tan, Le, 2019,
    arXiv:1905.11946); without squeeze-and-excitation and with ReLU6, EfficientNet-Lite (2020).

    >>> import jax, jax.numpy as jnp
    >>> model, x = EfficientNetLite(None), jnp.ones((2, 32, 32, 3))
    >>> variables = jax.eval_shape(model.init, jax.random.key(0), x)
    >>> sorted(variables), jax.eval_shape(model.apply, variables, x).shape
    (['batch_stats', 'params'], (2, 1280))
    """

    outputs: int | None
    width: float = 1.0
    depth: float = 1.0
    epsilon: float = 1e-3
    mean: Triple = _MEAN
    std: Triple = _STD
    head_init: Initializer = nn.initializers.glorot_uniform()
    by_example: ClassVar[bool] = True  # a mesh may share the examples, see `jmeta.step`

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Images [N, H, W, C] in 0..1 to [N, outputs], or to [N, 1280] without outputs."""
        if not (self.width > 0 and self.depth > 0):
            raise ValueError(
                f"EfficientNetLite got width={self.width}, depth={self.depth}; give factors "
                "above 0."
            )
        check_images(x)
        x = standardised(x, self.mean, self.std, of="EfficientNetLite")
        x = _normed(x, _STEM, "stem", self.epsilon, window=3, stride=2)
        index, last = 0, len(_STAGES) - 1
        for number, stage in enumerate(_STAGES):
            inner = 0 < number < last
            blocks = math.ceil(self.depth * stage.blocks) if inner else stage.blocks
            for repeat in range(blocks):
                shape = stage._replace(
                    stride=1 if repeat else stage.stride,
                    channels=_scaled(stage.channels, self.width),
                )
                x = _Block(shape, self.epsilon, name=f"block_{index}")(x)
                index += 1
        x = mean_pool(_normed(x, _HEAD, "last", self.epsilon))
        return x if self.outputs is None else linear(x, self.outputs, self.head_init, name="head")


class _Block(nn.Module):
    """An inverted residual block."""

    shape: _Stage
    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, H, W, C] to [N, H / stride, W / stride, channels]."""
        y, shape = x, self.shape
        if shape.expand > 1:
            y = _normed(y, x.shape[-1] * shape.expand, "expand", self.epsilon)
        y = _Depthwise(shape.window, shape.stride, name="depthwise")(y)
        y = _relu6(_FixedNorm(self.epsilon, name="depthwise_norm")(y))
        y = _normed(y, shape.channels, "project", self.epsilon, relu=False)
        return x + y if shape.stride == 1 and x.shape[-1] == y.shape[-1] else y


class _FixedNorm(nn.Module):
    """Batch normalisation by moments that are kept, and not learned."""

    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, H, W, C] to maps of the same shape."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape).value
        variance = self.variable("batch_stats", "variance", jnp.ones, shape).value
        mean, variance = lax.stop_gradient((mean, variance))
        factor = scale * lax.rsqrt(variance + self.epsilon)
        one = (1, 1, 1, -1)
        return x * factor.reshape(one) + (bias - mean * factor).reshape(one)


class _Depthwise(nn.Module):
    """A convolution of each channel by a window of its own."""

    window: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [N, H, W, C] to maps [N, ceil(H / stride), ceil(W / stride), C]."""
        shape = (self.window, self.window, x.shape[-1])
        return depthwise(x, self.param("kernel", _kernel, shape), stride=self.stride)


def _kernel(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws whose sum over the window has the variance 2."""
    return jax.random.normal(key, shape) * (2 / (shape[0] * shape[1])) ** 0.5


def depthwise(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolve each channel by a window of its own, with the padding "SAME".

        out[n, i, j, c] = Σ_{a, b} x[n, stride i + a - pad, stride j + b - pad, c] k[a, b, c]

    It is a sum of shifted images. On a CPU, XLA makes one pass of it, while its own grouped
    convolution takes 2 to 20 times as long, and its derivatives too.

    Args:
        x: maps [N, H, W, C].
        kernel: [k, k, C].
        stride: step of the window in pixels.

    >>> depthwise(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2)), stride=2)[0, :, :, 0].tolist()
    [[9.0, 6.0], [6.0, 4.0]]
    """
    window = kernel.shape[0]
    sizes = [-(-size // stride) for size in x.shape[1:3]]
    needed = [(size - 1) * stride + window for size in sizes]
    pads = [max(need - size, 0) for need, size in zip(needed, x.shape[1:3], strict=True)]
    x = jnp.pad(x, [(0, 0), *((pad // 2, pad - pad // 2) for pad in pads), (0, 0)])
    rows, cols = ((size - 1) * stride + 1 for size in sizes)
    out = jnp.zeros((), x.dtype)
    for a in range(window):
        for b in range(window):
            shifted = x[:, a : a + rows : stride, b : b + cols : stride]
            out = out + shifted * kernel[a, b].reshape(1, 1, 1, -1)
    return out


def _normed(
    x: jax.Array,
    channels: int,
    name: str,
    epsilon: float,
    *,
    window: int = 1,
    stride: int = 1,
    relu: bool = True,
) -> jax.Array:
    """Convolution, normalisation, and ReLU6 unless it is left out, as layers of the caller."""
    init = nn.initializers.variance_scaling(2, "fan_out", "normal")
    conv = Conv(channels, window, stride, use_bias=False, kernel_init=init, name=name)
    y = _FixedNorm(epsilon, name=f"{name}_norm")(conv(x))
    return _relu6(y) if relu else y


def _relu6(x: jax.Array) -> jax.Array:
    return jnp.clip(x, 0, 6)


def _scaled(channels: int, width: float) -> int:
    """Channels times the factor, as a multiple of 8 that is at most a tenth below."""
    wanted = channels * width
    found = max(8, int(wanted + 4) // 8 * 8)
    return found + 8 if found < 0.9 * wanted else found

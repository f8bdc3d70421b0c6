"""Two-dimensional convolution: the function `conv2d` and the Flax layer `Conv`.

Use them instead of Flax's `nn.Conv` in networks that are adapted on a CPU. In an inner loop (a
scan, under `vmap` with a kernel for each task), `nn.Conv` is 5 to 40 times slower: XLA runs plain
forward convolutions fast on a CPU, but grouped convolutions and derivatives of convolutions slowly.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn import _bilinear as bilinear
from jmeta.nn import _roles as roles
from jmeta.nn._deferred import Deferred, defers
from jmeta.nn._linear import refuse_explicit
from jmeta.nn._precision import Precision, products

Padding = Literal["SAME", "VALID"]
Impl = Literal["bilinear", "patches", "native"]
Initializer = jax.nn.initializers.Initializer

_LIKELY_CHANNELS = (1, 3, 4)  # of images: grey, RGB, RGBA
_FEW = 8  # an axis of this length or more is taken for pixels rather than for channels


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: Padding = "SAME",
    impl: Impl | None = None,
    precision: Precision | None = None,
) -> jax.Array:
    """Cross-correlate images with a kernel. Derivatives of every order exist, in both modes.

        out[n, i, j, f] = Σ_{a, b, c} x[n, stride i + a - pad, stride j + b - pad, c] k[a, b, c, f]

    Args:
        x: images [N, H, W, C]. N may be a symbolic dimension of `jax.export`.
        kernel: weights [kh, kw, C, F].
        stride: step of the window in pixels, the same along both axes.
        padding: "SAME" (XLA's: H' = ceil(H / stride)) or "VALID".
        impl: "bilinear" is a primitive whose derivatives of every order are fast on a CPU and on
            NVIDIA GPUs of the Hopper generation (see `jmeta.nn._bilinear`); "patches" multiplies
            patches of the images by the kernel; "native" is `lax.conv_general_dilated`. The
            default, None, takes "patches" if the default backend is a TPU and "bilinear" otherwise.
        precision: "float32", "tf32" or "bfloat16", see `products`. None: as around the call.

    Returns:
        Images [N, H', W', F].

    Raises:
        ValueError: the shapes, types or options do not fit together.

    >>> import jax.numpy as jnp
    >>> conv2d(jnp.ones((2, 7, 7, 1)), jnp.ones((3, 3, 1, 4)), stride=2).shape
    (2, 4, 4, 4)
    """
    _check(x, kernel, stride, padding)
    dtype = jnp.result_type(x, kernel)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    if impl is None:
        impl = "patches" if jax.default_backend() == "tpu" else "bilinear"
    if impl not in ("bilinear", "patches", "native"):
        raise ValueError(
            f"The convolution got impl={impl!r}; give 'bilinear', 'patches', 'native' or None."
        )
    compute = {
        "bilinear": bilinear.conv,
        "patches": roles.patch_product,
        "native": roles.native,
    }[impl]
    with products(precision):
        return compute(x, kernel, _geometry(x, kernel, stride, padding))


class Conv(nn.Module):
    """A convolution layer with square windows, computed by `conv2d`.

    Inside an inner loop on a CPU (a scan, under `vmap` with a kernel for each task), Flax's
    `nn.Conv` is 5 to 40 times slower than this layer.

    Args:
        features: number of output channels F.
        window: height and width of the kernel in pixels.
        stride: step of the window in pixels.
        padding: "SAME" or "VALID".
        use_bias: whether to add a bias [F]; it has no effect before a batch normalisation.
        kernel_init: initializer of the kernel [window, window, C, F].
        impl, precision: see `conv2d`.

    Raises:
        ValueError: the inputs are not floating-point images [N, H, W, C].

    >>> import jax, jax.numpy as jnp
    >>> images = jnp.ones((2, 8, 8, 3))
    >>> Conv(4).init_with_output(jax.random.key(0), images)[0].shape
    (2, 8, 8, 4)
    """

    features: int
    window: int = 3
    stride: int = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    impl: Impl | None = None
    precision: Precision | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, defer: bool = False) -> Any:
        """Images [N, H, W, C] to [N, H', W', features].

        With `defer`, a convolution in float32 or float64 of few weights and no bias is returned as
        a `Deferred`, for `Norm` to pool.
        """
        check_maps(x)
        shape = (self.window, self.window, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        if defer and self.impl is None and not self.use_bias:
            _check(x, kernel, self.stride, self.padding)
            dtype = jnp.result_type(x, kernel)
            geometry = _geometry(x, kernel, self.stride, self.padding)
            if defers(shape, dtype, geometry):
                refuse_explicit(jax.typeof(x), jax.typeof(kernel))
                return Deferred(x.astype(dtype), kernel.astype(dtype), geometry, self.precision)
        options: dict[str, Any] = {"impl": self.impl, "precision": self.precision}
        out = conv2d(x, kernel, stride=self.stride, padding=self.padding, **options)
        if not self.use_bias:
            return out
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return out + bias.reshape(1, 1, 1, -1)


def check_maps(x: jax.Array) -> None:
    """Refuse inputs that are not floating-point images or feature maps [N, H, W, C].

    Raises:
        ValueError: the inputs have another rank or type.

    >>> import jax.numpy as jnp
    >>> check_maps(jnp.ones((2, 3, 64, 64)))
    """
    given = f"{jnp.result_type(x)} of shape {jnp.shape(x)}"
    if jnp.ndim(x) < 3:
        raise ValueError(
            f"Expected floating-point images [N, H, W, C], but got {given}; use jmeta.nn.MLP for "
            "vectors and tables."
        )
    if jnp.ndim(x) != 4 or not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        raise ValueError(
            f"Expected floating-point images [N, H, W, C], but got {given}; add the missing axis, "
            "or scale integers to floats first."
        )


def check_images(x: jax.Array, *, smallest: int = 1) -> None:
    """Refuse inputs that are not floating-point images [N, H, W, C] with H, W >= smallest.

    Images with channels first, [N, C, H, W], are recognised by C = 1, 3 or 4 and H = W >= 8.

    Args:
        x: the inputs of a network.
        smallest: least number of pixels along each axis.

    Raises:
        ValueError: the inputs have another rank or type, have their channels first, or are too
            small.

    >>> import jax.numpy as jnp
    >>> check_images(jnp.ones((2, 28, 28, 1)), smallest=16)
    """
    check_maps(x)
    _, first, height, width = x.shape
    if first in _LIKELY_CHANNELS and height == width and width >= _FEW:
        raise ValueError(
            f"Images {x.shape} seem to have their channels first, but [N, H, W, C] was expected; "
            "transpose them with x.transpose(0, 2, 3, 1)."
        )
    if min(x.shape[1:3]) < smallest:
        raise ValueError(
            f"Images of {x.shape[1]}x{x.shape[2]} pixels are too small, because this network needs "
            f"at least {smallest}x{smallest}; resize them or use a network that pools less."
        )


def _check(x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> None:
    """Refuse shapes, types and options that do not fit together."""
    check_maps(x)
    if jnp.ndim(kernel) != 4 or kernel.shape[2] != x.shape[3]:
        raise ValueError(
            f"Expected a kernel [kh, kw, {x.shape[3]}, F] for images {x.shape}, but got "
            f"{jnp.shape(kernel)}; the third axis must be the images' channels."
        )
    if not jnp.issubdtype(kernel.dtype, jnp.floating):
        raise ValueError(f"Expected a floating-point kernel, but got {kernel.dtype}; cast it.")
    if stride < 1 or padding not in ("SAME", "VALID"):
        raise ValueError(
            f"The convolution got stride={stride!r}, padding={padding!r}; give a stride of at "
            "least 1 and 'SAME' or 'VALID'."
        )
    if padding == "VALID" and (x.shape[1] < kernel.shape[0] or x.shape[2] < kernel.shape[1]):
        raise ValueError(
            f"A {kernel.shape[0]}x{kernel.shape[1]} window does not fit into images of "
            f"{x.shape[1]}x{x.shape[2]} pixels without padding; use padding='SAME'."
        )


def _geometry(x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> roles.Geometry:
    """The sizes of a convolution, with XLA's padding at each end of both axes."""

    def pads(size: int, window: int) -> tuple[int, int]:
        if padding == "VALID":
            return 0, 0
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
        return total // 2, total - total // 2

    height, width = x.shape[1], x.shape[2]
    window = (kernel.shape[0], kernel.shape[1])
    both = pads(height, window[0]), pads(width, window[1])
    return roles.Geometry(stride, both, (height, width), window)

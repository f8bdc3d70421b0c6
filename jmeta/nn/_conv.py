"""Two-dimensional convolution: the operator `conv2d` and the Flax layer `Conv`."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn import _bilinear as bilinear
from jmeta.nn import _roles as roles

Padding = Literal["SAME", "VALID"]
Impl = Literal["bilinear", "patches", "native"]
Initializer = jax.nn.initializers.Initializer


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: Padding = "SAME",
    impl: Impl | None = None,
) -> jax.Array:
    """Cross-correlate images with a kernel; differentiable any number of times, either mode.

        out[n, i, j, f] = Σ_{a, b, c} x[n, stride i + a - pad, stride j + b - pad, c] k[a, b, c, f]

    Args:
        x: images [N, H, W, C].
        kernel: weights [kh, kw, C, F].
        stride: step of the window in pixels, the same both ways.
        padding: "SAME" (XLA's: H' = ceil(H / stride)) or "VALID".
        impl: "bilinear" (see `jmeta.nn._bilinear`), "patches" (patches times the kernel, plain
            autodiff) or "native" (`lax.conv_general_dilated`). None takes "bilinear" where CPU is
            the default backend, "patches" elsewhere.

    Returns:
        [N, H', W', F].

    Raises:
        ValueError: shapes, types or options that do not fit together.

    >>> import jax.numpy as jnp
    >>> conv2d(jnp.ones((2, 7, 7, 1)), jnp.ones((3, 3, 1, 4)), stride=2).shape
    (2, 4, 4, 4)
    """
    _check(x, kernel, stride, padding)
    dtype = jnp.result_type(x, kernel)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    if impl is None:
        impl = "bilinear" if jax.default_backend() == "cpu" else "patches"
    if impl not in ("bilinear", "patches", "native"):
        raise ValueError(
            f"conv2d got impl={impl!r}; it knows 'bilinear', 'patches', 'native' and None."
        )
    geometry = _geometry(x, kernel, stride, padding)
    if impl == "bilinear":
        return bilinear.bind("out", x, kernel, geometry)
    compute = roles.patch_product if impl == "patches" else roles.native
    return compute(x, kernel, geometry)


class Conv(nn.Module):
    """A convolution layer over `conv2d`, with square windows.

    Args:
        features: number of output channels F.
        window: height and width of the kernel in pixels.
        stride: step of the window in pixels.
        padding: "SAME" or "VALID".
        use_bias: whether to add a bias [F]; useless before a batch normalisation.
        kernel_init: initializer of the kernel [window, window, C, F].
        impl: see `conv2d`.

    Raises:
        ValueError: inputs that are not floating-point images [N, H, W, C].

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

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Images [N, H, W, C] to [N, H', W', features]."""
        check_images(x)
        shape = (self.window, self.window, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        out = conv2d(x, kernel, stride=self.stride, padding=self.padding, impl=self.impl)
        if not self.use_bias:
            return out
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return out + bias.reshape(1, 1, 1, -1)


def check_images(x: jax.Array, *, smallest: int = 1) -> None:
    """Refuse what is not floating-point images [N, H, W, C] with H, W >= smallest pixels.

    Raises:
        ValueError: another rank or type, or too small an image.

    >>> import jax.numpy as jnp
    >>> check_images(jnp.ones((2, 28, 28, 1)), smallest=16)
    """
    if jnp.ndim(x) != 4 or not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        raise ValueError(
            f"Expected floating-point images [N, H, W, C], but got {jnp.result_type(x)} of shape "
            f"{jnp.shape(x)}; add the missing axis, or scale integers to floats first."
        )
    if min(x.shape[1:3]) < smallest:
        raise ValueError(
            f"Images of {x.shape[1]}x{x.shape[2]} pixels are too small: this network needs at "
            f"least {smallest}x{smallest}; resize them or take a network that pools less."
        )


def _check(x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> None:
    check_images(x)
    if jnp.ndim(kernel) != 4 or kernel.shape[2] != x.shape[3]:
        raise ValueError(
            f"Expected a kernel [kh, kw, {x.shape[3]}, F] for images {x.shape}, but got "
            f"{jnp.shape(kernel)}; the third axis must be the images' channels."
        )
    if not jnp.issubdtype(kernel.dtype, jnp.floating):
        raise ValueError(f"Expected a floating-point kernel, but got {kernel.dtype}; cast it.")
    if stride < 1 or padding not in ("SAME", "VALID"):
        raise ValueError(
            f"conv2d got stride={stride!r}, padding={padding!r}; give a stride of at least 1 and "
            "'SAME' or 'VALID'."
        )
    if padding == "VALID" and (x.shape[1] < kernel.shape[0] or x.shape[2] < kernel.shape[1]):
        raise ValueError(
            f"A {kernel.shape[0]}x{kernel.shape[1]} window does not fit into images of "
            f"{x.shape[1]}x{x.shape[2]} pixels without padding; use padding='SAME'."
        )


def _geometry(x: jax.Array, kernel: jax.Array, stride: int, padding: str) -> roles.Geometry:
    def pads(size: int, window: int) -> tuple[int, int]:
        if padding == "VALID":
            return 0, 0
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
        return total // 2, total - total // 2

    height, width = x.shape[1], x.shape[2]
    window = (kernel.shape[0], kernel.shape[1])
    both = pads(height, window[0]), pads(width, window[1])
    return roles.Geometry(stride, both, (height, width), window)

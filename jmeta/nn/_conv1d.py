"""One-dimensional convolution: the function `conv1d` and the Flax layer `Conv1D`.

Both are two-dimensional convolutions of images one pixel high. So derivatives of every order are
as fast as those of `jmeta.nn.Conv`; inside an inner loop on a CPU (a scan, under `vmap` with a
kernel for each task), Flax's `nn.Conv` is 5 to 40 times slower.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._conv import Impl, Initializer, Padding, conv2d
from jmeta.nn._precision import Precision


def conv1d(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: Padding = "SAME",
    impl: Impl | None = None,
    precision: Precision | None = None,
) -> jax.Array:
    """Cross-correlate sequences with a kernel. Derivatives of every order exist, in both modes.

        out[n, i, f] = Σ_{a, c} x[n, stride i + a - pad, c] k[a, c, f]

    Args:
        x: sequences [N, L, C]. N may be a symbolic dimension of `jax.export`.
        kernel: weights [k, C, F].
        stride: step of the window.
        padding: "SAME" (L' = ceil(L / stride)) or "VALID".
        impl, precision: see `conv2d`.

    Returns:
        Sequences [N, L', F].

    Raises:
        ValueError: the shapes, types or options do not fit together.

    >>> import jax.numpy as jnp
    >>> conv1d(jnp.ones((2, 9, 1)), jnp.ones((3, 1, 4)), stride=2).shape
    (2, 5, 4)
    """
    check_sequences(x)
    if jnp.ndim(kernel) != 3 or kernel.shape[1] != x.shape[2]:
        raise ValueError(
            f"Expected a kernel [k, {x.shape[2]}, F] for sequences {x.shape}, but got "
            f"{jnp.shape(kernel)}; the second axis must be the sequences' channels."
        )
    options: dict[str, Any] = {"stride": stride, "padding": padding, "impl": impl}
    return conv2d(x[:, None], kernel[None], precision=precision, **options)[:, 0]


class Conv1D(nn.Module):
    """A one-dimensional convolution layer for sequences and signals, computed by `conv1d`.

    Inside an inner loop on a CPU (a scan, under `vmap` with a kernel for each task), Flax's
    `nn.Conv` is 5 to 40 times slower than this layer.

    Args:
        features: number of output channels F.
        window: length of the kernel.
        stride: step of the window.
        padding: "SAME" or "VALID".
        use_bias: whether to add a bias [F]; it has no effect before a batch normalisation.
        kernel_init: initializer of the kernel [window, C, F].
        impl, precision: see `conv2d`.

    Raises:
        ValueError: the inputs are not floating-point sequences [N, L, C].

    >>> import jax, jax.numpy as jnp
    >>> Conv1D(4, 5).init_with_output(jax.random.key(0), jnp.ones((2, 8, 3)))[0].shape
    (2, 8, 4)
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
    def __call__(self, x: jax.Array) -> jax.Array:
        """Sequences [N, L, C] to [N, L', features]."""
        check_sequences(x)
        shape = (self.window, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        options: dict[str, Any] = {"impl": self.impl, "precision": self.precision}
        out = conv1d(x, kernel, stride=self.stride, padding=self.padding, **options)
        if not self.use_bias:
            return out
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        return out + bias.reshape(1, 1, -1)


def check_sequences(x: jax.Array) -> None:
    """Refuse inputs that are not floating-point sequences [N, L, C].

    Raises:
        ValueError: the inputs have another rank or type.

    >>> import jax.numpy as jnp
    >>> check_sequences(jnp.ones((2, 100, 1)))
    """
    if jnp.ndim(x) != 3 or not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        raise ValueError(
            f"Expected floating-point sequences [N, L, C], but got {jnp.result_type(x)} of shape "
            f"{jnp.shape(x)}; add a channel axis with x[..., None], or cast integers to floats."
        )

"""The three roles of a convolution as kernels for NVIDIA GPUs that write no patches to memory.

A product of patches reads an array that is kh kw times as large as the images, and that was written
for this. Here a program of the GPU computes one block of the result, and adds a product for each
place of the window, whose pixels it reads from the images themselves; what several programs read
comes from the cache.

The products are those of tensor cores in bfloat16. An array of float32 is the sum of three arrays
of bfloat16 (8 + 8 + 8 binary digits), and the six largest of their nine products give those digits
of a product that float32 has:

    (a₁ + a₂ + a₃)(b₁ + b₂ + b₃) ≈ a₁b₁ + (a₁b₂ + a₂b₁) + (a₂b₂ + a₁b₃ + a₃b₁)

With two parts, three products have more digits than TF32. Leveraging the bfloat16 Artificial
Intelligence Datatype For Higher-Precision Computations (Henry, Tang, Heinecke, 2019,
arXiv:1904.06376).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_LEAST = 16  # channels that one product of tensor cores takes
_PARTS = {None: 2, "default": 2, "tensorfloat32": 2, "bfloat16": 2, "BF16_BF16_F32": 1}
_EXACT = 3  # parts in any other precision


def fits(role: str, a: Any, b: Any, geometry: Any) -> bool:
    """Whether there is a kernel for these operands, and the default device is one that it suits."""
    images = b if role == "image" else a
    channels = (a.shape[-1], b.shape[-1], a.shape[2] if role == "image" else _LEAST)
    single = a.dtype == jnp.float32 and b.dtype == jnp.float32
    counted = isinstance(images.shape[0], int) and images.shape[0] > 0
    many = all(each % _LEAST == 0 for each in channels)
    return single and counted and many and geometry.window != (1, 1) and _suits()


def _suits() -> bool:
    """Whether the default device is an NVIDIA GPU of the generation that these were measured on."""
    if jax.default_backend() != "gpu":
        return False
    return str(getattr(jax.devices()[0], "compute_capability", "")).startswith("9.")


def compute(
    role: str, a: jax.Array, b: jax.Array, geometry: Any, precision: str | None, **options: Any
) -> jax.Array:
    """Compute a role of a convolution from its two operands of float32 (see `jmeta.nn._roles`).

    Args:
        role: "out", "image" or "kernel".
        a, b: its operands.
        geometry: the sizes of the convolution.
        precision: of the products, as `jax.default_matmul_precision` takes it.
        options: of `pallas_call`.
    """
    from jmeta.nn import _implicit_kernels as kernels  # Pallas takes long to import

    count = _PARTS.get(precision, _EXACT)
    first, second = _split(a, count), _split(b, count)
    if role == "kernel":
        return kernels.gradient(first, second, geometry, options)
    if role == "out":
        taps = tuple(part.reshape(-1, *part.shape[2:]).swapaxes(1, 2) for part in second)
        shape = kernels.Shape(a.shape[0], geometry.steps())
        return kernels.mapped(first, taps, shape, kernels.forward(geometry), options)
    taps = tuple(part.reshape(-1, *part.shape[2:]) for part in first)
    shape = kernels.Shape(b.shape[0], geometry.image)
    return kernels.mapped(second, taps, shape, kernels.backward(geometry), options)


def _split(x: jax.Array, count: int) -> tuple[jax.Array, ...]:
    """Arrays of bfloat16 whose sum is x to 8, 16 or 24 binary digits.

    `reduce_precision` rounds for certain. A conversion to bfloat16 and back may be compiled to
    nothing, and then the rest would be 0.
    """
    parts = []
    for _ in range(count):
        part = lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)
        parts.append(part.astype(jnp.bfloat16))
        x = x - part
    return tuple(parts)

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

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from jmeta.nn._linear import shaped_like

_LEAST = 16  # channels that one product of tensor cores takes
_CHANNELS = 64  # of a block, at most
# Measured on an H100, see benchmarks/gpu.py.
_PIXELS, _FEW_PIXELS = 128, 64  # of a block of images
_STEP = 32  # pixels that are added at once to the gradient by the kernel
_PART = 512  # pixels whose sum tensor cores accumulate, which do not round to nearest
_WARPS, _STAGES = 4, 3
_PARTS = {None: 2, "default": 2, "tensorfloat32": 2, "bfloat16": 2, "BF16_BF16_F32": 1}
_EXACT = 3  # parts in any other precision
_SMALL = {1: (), 2: ((1, 0), (0, 1)), 3: ((2, 0), (0, 2), (1, 1), (1, 0), (0, 1))}

Parts = tuple[jax.Array, ...]
Place = Callable[[Any, Any, Any], tuple[Any, Any, Any]]


class Shape(NamedTuple):
    """Images, and the pixels of each."""

    images: int
    extent: tuple[int, int]

    def rows(self) -> int:
        """The number of all pixels."""
        return self.images * math.prod(self.extent)


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
    count = _PARTS.get(precision, _EXACT)
    first, second = _split(a, count), _split(b, count)
    if role == "kernel":
        return _gradient(first, second, geometry, options)
    if role == "out":
        taps = tuple(part.reshape(-1, *part.shape[2:]).swapaxes(1, 2) for part in second)
        shape = Shape(a.shape[0], geometry.steps())
        return _mapped(first, taps, shape, _forward(geometry), options)
    taps = tuple(part.reshape(-1, *part.shape[2:]) for part in first)
    shape = Shape(b.shape[0], geometry.image)
    return _mapped(second, taps, shape, _backward(geometry), options)


def _split(x: jax.Array, count: int) -> Parts:
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


def _forward(geometry: Any) -> Place:
    """Where a pixel of the output reads the image, at each place of the window."""
    (high, wide), stride = geometry.image, geometry.stride

    def place(tap: Any, i: Any, j: Any) -> tuple[Any, Any, Any]:
        u = i * stride + _over(tap, geometry.window[1]) - geometry.pads[0][0]
        v = j * stride + _rest(tap, geometry.window[1]) - geometry.pads[1][0]
        return u, v, (u >= 0) & (v >= 0) & (u < high) & (v < wide)

    return place


def _backward(geometry: Any) -> Place:
    """Where a pixel of the image reads the cotangent of the output, at each place of the window."""
    (high, wide), stride = geometry.steps(), geometry.stride

    def place(tap: Any, i: Any, j: Any) -> tuple[Any, Any, Any]:
        u = i + geometry.pads[0][0] - _over(tap, geometry.window[1])
        v = j + geometry.pads[1][0] - _rest(tap, geometry.window[1])
        there = (u >= 0) & (v >= 0)
        if stride > 1:
            there = there & (_rest(u, stride) == 0) & (_rest(v, stride) == 0)
            u, v = _over(u, stride), _over(v, stride)
        return u, v, there & (u < high) & (v < wide)

    return place


def _mapped(x: Parts, taps: Parts, shape: Shape, place: Place, options: Any) -> jax.Array:
    """out[pixel, f] = Σ_t Σ_c x[place of the pixel at t, c] taps[t, f, c], for all pixels."""
    count, extent, size = shape.rows(), shape.extent, x[0].shape[1:3]
    channels, (places, features, _) = x[0].shape[-1], taps[0].shape
    block = _PIXELS if count > _FEW_PIXELS else _FEW_PIXELS
    some, many = math.gcd(channels, _CHANNELS), math.gcd(features, _CHANNELS)

    def program(*refs: Any) -> None:
        images, weights, out = refs[: len(x)], refs[len(x) : -1], refs[-1]
        pixel = pl.program_id(0) * block + jnp.arange(block)
        f = pl.program_id(1) * many + jnp.arange(many)

        def add(tap: Any, sums: Any) -> Any:
            n, i, j = _apart(pixel, extent)
            u, v, there = place(tap, i, j)
            row = (n * size[0] + u) * size[1] + v
            for start in range(0, channels, some):
                c = start + jnp.arange(some)
                seen = [_read(ref, row, c, (pixel < count) & there) for ref in images]
                sums = _added(sums, seen, [_read(ref, tap * features + f, c) for ref in weights], 1)
            return sums

        total = sum(lax.fori_loop(0, places, add, _zeros(len(x), block, many)))
        _write(out, pixel, f, total, pixel < count)

    grid = (pl.cdiv(count, block), features // many)
    return _call(program, grid, (count, features), (*x, *taps), options).reshape(
        shape.images, *extent, features
    )


def _gradient(x: Parts, y: Parts, geometry: Any, options: Any) -> jax.Array:
    """The gradient by the kernel: Σ_pixel x[place of the pixel at t, c] y[pixel, f]."""
    extent, size, place = geometry.steps(), geometry.image, _forward(geometry)
    channels, features = x[0].shape[-1], y[0].shape[-1]
    some, many = math.gcd(channels, _CHANNELS), math.gcd(features, _CHANNELS)
    count, across = Shape(x[0].shape[0], extent).rows(), channels // some
    parts, places = pl.cdiv(count, _PART), math.prod(geometry.window)
    steps = pl.cdiv(min(count, _PART), _STEP)

    def program(*refs: Any) -> None:
        images, cotangents, out = refs[: len(x)], refs[len(x) : -1], refs[-1]
        part, tap = pl.program_id(0), pl.program_id(1)
        c = _rest(pl.program_id(2), across) * some + jnp.arange(some)
        f = _over(pl.program_id(2), across) * many + jnp.arange(many)

        def add(step: Any, sums: Any) -> Any:
            pixel = part * _PART + step * _STEP + jnp.arange(_STEP)
            n, i, j = _apart(pixel, extent)
            u, v, there = place(tap, i, j)
            row = (n * size[0] + u) * size[1] + v
            seen = [_read(ref, row, c, (pixel < count) & there) for ref in images]
            return _added(sums, seen, [_read(r, pixel, f, pixel < count) for r in cotangents], 0)

        total = sum(lax.fori_loop(0, steps, add, _zeros(len(x), some, many)))
        _write(out, (part * places + tap) * channels + c, f, total)

    grid = (parts, places, across * (features // many))
    found = _call(program, grid, (parts * places * channels, features), (*x, *y), options)
    return found.reshape(parts, *geometry.window, channels, features).sum(0)


def _call(
    program: Any, grid: tuple[int, ...], shape: tuple[int, int], operands: Parts, options: Any
) -> jax.Array:
    """Run a program for each point of a grid, with every operand as a matrix [..., channels]."""

    def whole(array: Any) -> Any:
        return pl.BlockSpec(array.shape, lambda *_: (0, 0))

    flat = [each.reshape(-1, each.shape[-1]) for each in operands]
    out = shaped_like(flat[0], shape, jnp.float32)
    how = triton.CompilerParams(num_warps=_WARPS, num_stages=_STAGES)
    specs = {"in_specs": [whole(each) for each in flat], "out_specs": whole(out)}
    call = pl.pallas_call(
        program, out_shape=out, grid=grid, compiler_params=how, **specs, **options
    )
    found: jax.Array = call(*flat)
    return found


def _zeros(count: int, rows: int, columns: int) -> tuple[jax.Array, ...]:
    """The sums of a block: of the first parts' product, and of the others, if there are any.

    They are kept apart because a tensor core cuts digits off where it adds a small number to a
    large one.
    """
    return (jnp.zeros((rows, columns), jnp.float32),) * (2 if count > 1 else 1)


def _added(sums: Any, a: list[Any], b: list[Any], axis: int) -> Any:
    """Add the products of the parts of two blocks, over one axis of each, to the sums."""
    large, *rest = sums

    def product(i: int, j: int) -> Any:
        dims = (((axis,), (axis,)), ((), ()))
        return lax.dot_general(a[i], b[j], dims, preferred_element_type=jnp.float32)

    for i, j in _SMALL[len(a)]:
        rest[0] = rest[0] + product(i, j)
    return (large + product(0, 0), *rest)


def _apart(pixel: Any, extent: tuple[int, int]) -> tuple[Any, Any, Any]:
    """The image, the row and the column of pixels that are numbered through all images."""
    within = _rest(pixel, math.prod(extent))
    return _over(pixel, math.prod(extent)), _over(within, extent[1]), _rest(within, extent[1])


def _read(ref: Any, rows: Any, columns: Any, there: Any = None) -> Any:
    """A block of a matrix, 0 in the rows that are not there."""
    where = ref.at[rows[:, None], columns[None, :]]
    if there is None:
        return triton.load(where)
    mask = jnp.broadcast_to(there[:, None], (rows.size, columns.size))
    return triton.load(where, mask=mask, other=0.0)


def _write(ref: Any, rows: Any, columns: Any, block: Any, there: Any = None) -> None:
    """Write a block into a matrix, without the rows that are not there."""
    mask = None if there is None else jnp.broadcast_to(there[:, None], block.shape)
    triton.store(ref.at[rows[:, None], columns[None, :]], block, mask=mask)


def _over(a: Any, b: int) -> Any:
    """The quotient of integers that are not negative, one instruction where jnp's takes several."""
    return lax.div(a, jnp.full_like(a, b))


def _rest(a: Any, b: int) -> Any:
    """The rest of integers that are not negative."""
    return lax.rem(a, jnp.full_like(a, b))

"""The programs of `jmeta.nn._implicit`, each of which computes one block of a result."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from jmeta.nn._linear import shaped_like

# Measured on an H100, see benchmarks/gpu.py.
_CHANNELS = 64  # of a block, at most
_PIXELS, _FEW_PIXELS = 128, 64  # of a block of images
_STEP = 32  # pixels that are added at once to the gradient by the kernel
_PART = 512  # pixels whose sum tensor cores accumulate, which do not round to nearest
_WARPS, _STAGES = 4, 3
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


def forward(geometry: Any) -> Place:
    """Where a pixel of the output reads the image, at each place of the window."""
    (high, wide), stride = geometry.image, geometry.stride

    def place(tap: Any, i: Any, j: Any) -> tuple[Any, Any, Any]:
        u = i * stride + _over(tap, geometry.window[1]) - geometry.pads[0][0]
        v = j * stride + _rest(tap, geometry.window[1]) - geometry.pads[1][0]
        return u, v, (u >= 0) & (v >= 0) & (u < high) & (v < wide)

    return place


def backward(geometry: Any) -> Place:
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


def mapped(x: Parts, taps: Parts, shape: Shape, place: Place, options: Any) -> jax.Array:
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


def gradient(x: Parts, y: Parts, geometry: Any, options: Any) -> jax.Array:
    """The gradient by the kernel: Σ_pixel x[place of the pixel at t, c] y[pixel, f]."""
    extent, size, place = geometry.steps(), geometry.image, forward(geometry)
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

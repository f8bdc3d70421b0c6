"""Winograd's algorithm for 3x3 convolutions of stride 1, in all three roles (see `_roles`).

The algorithm needs 16 products instead of 36 for a tile of 2x2 outputs. It maps each tile of 4x4
pixels to x̂ = Bᵀ x B, the kernel to k̂ = G k Gᵀ and each tile of 2x2 outputs to ŷ = A y Aᵀ. In these
variables the trilinear form of the convolution is diagonal over the 16 places of a tile:

    <y, x * k> = Σ_place Σ_tile ŷᵀ k̂ᵀ x̂

So each role maps its two arrays, takes 16 matrix products, and applies the adjoint of the third
map. An array that takes part in several roles is mapped once, because the compiler shares the
common expression.

Fast Algorithms for Convolutional Neural Networks (Lavin, Gray, 2015, arXiv:1509.09308).
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Matrix = tuple[tuple[float, ...], ...]

_IMAGE: Matrix = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))  # Bᵀ
_KERNEL: Matrix = ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1))  # G
_OUT: Matrix = ((1, 0), (1, 1), (1, -1), (0, -1))  # A
_SIDE = 4  # places of a tile along one axis


class Frame(NamedTuple):
    """The static sizes of a convolution."""

    image: tuple[int, int]  # H, W
    out: tuple[int, int]  # H', W'
    before: tuple[int, int]  # padding above and to the left

    def tiles(self) -> tuple[int, int]:
        """The number of 2x2 tiles along each axis."""
        return -(-self.out[0] // 2), -(-self.out[1] // 2)


def out(x: jax.Array, kernel: jax.Array, frame: Frame) -> jax.Array:
    """The convolution: images [N, H, W, C], kernel [3, 3, C, F] -> [N, H', W', F]."""
    return _to_out(_product(_from_image(x, frame), _from_kernel(kernel), (2, 1)), frame)


def image(kernel: jax.Array, y: jax.Array, frame: Frame) -> jax.Array:
    """The gradient by the image: kernel, cotangent y [N, H', W', F] -> [N, H, W, C]."""
    return _to_image(_product(_from_out(y, frame), _from_kernel(kernel), (2, 2)), frame)


def kernel(x: jax.Array, y: jax.Array, frame: Frame) -> jax.Array:
    """The gradient by the kernel, summed over images: x, cotangent y -> [3, 3, C, F]."""
    return _to_kernel(_product(_from_image(x, frame), _from_out(y, frame), (1, 1)))


def _product(a: jax.Array, b: jax.Array, contract: tuple[int, int]) -> jax.Array:
    """One matrix product for each place: [16, ...] times [16, ...]."""
    return lax.dot_general(a, b, (((contract[0],), (contract[1],)), ((0,), (0,))))


# The three maps and their adjoints. Arrays of places are [16, N tiles, channels].


def _from_image(x: jax.Array, frame: Frame) -> jax.Array:
    sizes = zip(frame.before, frame.tiles(), frame.image, strict=True)
    pads = [(before, 2 * tiles + 2 - before - length, 0) for before, tiles, length in sizes]
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *pads, (0, 0, 0)))
    for axis in (-3, -2):  # rows, then columns; each step adds a leading axis of four places
        x = jnp.stack(_combine(_IMAGE, _windows(x, axis)))
    return x.reshape(_SIDE**2, -1, x.shape[-1])


def _to_image(places: jax.Array, frame: Frame) -> jax.Array:
    x = _grid(places, frame)
    for axis in (-2, -3):
        x = _overlap(_combine(_adjoint(_IMAGE), list(x)), axis)
    (above, left), (height, width) = frame.before, frame.image
    return x[:, above : above + height, left : left + width]


def _from_out(y: jax.Array, frame: Frame) -> jax.Array:
    (high, wide), (height, width) = frame.tiles(), frame.out
    y = jnp.pad(y, ((0, 0), (0, 2 * high - height), (0, 2 * wide - width), (0, 0)))
    for axis in (-3, -2):
        y = jnp.stack(_combine(_OUT, _pairs(y, axis)))
    return y.reshape(_SIDE**2, -1, y.shape[-1])


def _to_out(places: jax.Array, frame: Frame) -> jax.Array:
    y = _grid(places, frame)
    for axis in (-2, -3):
        y = _interleave(_combine(_adjoint(_OUT), list(y)), axis)
    return y[:, : frame.out[0], : frame.out[1]]


def _from_kernel(kernel: jax.Array) -> jax.Array:
    rows = jnp.stack(_combine(_KERNEL, list(kernel)))
    both = jnp.stack(_combine(_KERNEL, [rows[:, b] for b in range(3)]))
    return both.reshape(_SIDE**2, *kernel.shape[2:])


def _to_kernel(places: jax.Array) -> jax.Array:
    both = places.reshape(_SIDE, _SIDE, *places.shape[1:])
    rows = jnp.stack(_combine(_adjoint(_KERNEL), list(both)), axis=1)
    return jnp.stack(_combine(_adjoint(_KERNEL), list(rows)))


def _combine(matrix: Matrix, parts: Sequence[jax.Array]) -> list[jax.Array]:
    """Linear combinations of arrays of one shape, one for each row of the matrix."""
    return [_weighted(row, parts) for row in matrix]


def _weighted(row: Sequence[float], parts: Sequence[jax.Array]) -> jax.Array:
    """One linear combination, without the terms whose coefficient is zero."""
    used = [(c, part) for c, part in zip(row, parts, strict=True) if c]
    (c, first), *rest = sorted(used, key=lambda pair: -pair[0])
    total = first if c == 1 else c * first
    for c, part in rest:
        total = total + part if c == 1 else total - part if c == -1 else total + c * part
    return total


def _adjoint(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _grid(places: jax.Array, frame: Frame) -> jax.Array:
    """Places as [4, 4, N, tiles down, tiles across, channels]; the first axis is of columns."""
    return places.reshape(_SIDE, _SIDE, -1, *frame.tiles(), places.shape[-1])


def _windows(x: jax.Array, axis: int) -> list[jax.Array]:
    """For each p, entry p of every window of 4 that starts at an even index."""
    last = x.shape[axis] - 3
    return [lax.slice_in_dim(x, p, p + last, 2, axis) for p in range(_SIDE)]


def _overlap(parts: Sequence[jax.Array], axis: int) -> jax.Array:
    """The adjoint of `_windows`, which adds every entry to the place it came from."""
    here, next_ = [[(0, 0, 0)] * parts[0].ndim for _ in range(2)]
    here[axis], next_[axis] = (0, 1, 0), (1, 0, 0)
    zero = jnp.zeros((), parts[0].dtype)
    both = [
        lax.pad(a, zero, here) + lax.pad(b, zero, next_)
        for a, b in zip(parts[:2], parts[2:], strict=True)
    ]
    return _interleave(both, axis)


def _pairs(x: jax.Array, axis: int) -> list[jax.Array]:
    """The even and the odd entries along an axis."""
    return [lax.slice_in_dim(x, p, x.shape[axis], 2, axis) for p in range(2)]


def _interleave(parts: Sequence[jax.Array], axis: int) -> jax.Array:
    """The adjoint, and inverse, of `_pairs`; `axis` counts from the end."""
    joined = jnp.stack(parts, axis)
    shape = parts[0].shape
    return joined.reshape(*shape[:axis], 2 * shape[axis], *shape[axis:][1:])

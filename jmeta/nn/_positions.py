"""Position embeddings for images of another size."""

import jax
import jax.numpy as jnp
import numpy as np


def resized(grid: jax.Array, size: tuple[int, int], *, antialias: bool = False) -> jax.Array:
    """Interpolate a square grid of vectors to another size, by a bicubic convolution of each axis.

        out[i, j] = Σ_{a, b} w(i, a) w(j, b) grid[a, b]

    The centres of the cells are aligned, and beyond the border stand the outermost cells. With
    `antialias` the kernel is stretched where the grid shrinks, and what of it lies beyond the
    border is left out. The two are PyTorch's `interpolate(mode="bicubic", antialias=...)`, whose
    kernels have the parameters -0.75 and -0.5.

    Args:
        grid: [G G, D], row by row.
        size: rows and columns of the result.
        antialias: see above.

    Returns:
        [rows cols, D]; the grid itself where the size is its own.

    Cubic Convolution Interpolation for Digital Image Processing (Keys, 1981).

    >>> resized(jnp.ones((4, 1)), (1, 3)).ravel().tolist()
    [1.0, 1.0, 1.0]
    """
    side = round(grid.shape[0] ** 0.5)
    if size == (side, side):
        return grid
    weights = _smooth_weights if antialias else _weights
    rows, cols = (jnp.asarray(weights(side, new), grid.dtype) for new in size)
    square = grid.reshape(side, side, -1)
    return jnp.einsum("ia,jb,abd->ijd", rows, cols, square).reshape(size[0] * size[1], -1)


def _weights(old: int, new: int) -> np.ndarray:
    """The weight [new, old] of each cell: four of a row are not zero, or fewer at the border."""
    found, rows = np.zeros((new, old)), np.arange(new)
    centre = (rows + 0.5) * old / new - 0.5
    first = np.floor(centre).astype(int)
    for cell in (first - 1, first, first + 1, first + 2):
        np.add.at(found, (rows, np.clip(cell, 0, old - 1)), _cubic(centre - cell, -0.75))
    return found


def _smooth_weights(old: int, new: int) -> np.ndarray:
    """The weight [new, old] of each cell, by a kernel that is stretched where the grid shrinks."""
    stretch = max(old / new, 1.0)
    centre = (np.arange(new) + 0.5) * old / new
    distance = (np.arange(old)[None] + 0.5 - centre[:, None]) / stretch
    found = _cubic(distance, -0.5)
    return found / found.sum(1, keepdims=True)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Keys' kernel, which is zero from a distance of 2 on."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

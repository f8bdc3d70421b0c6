"""Augmentations that move pixels: crops, flips, and affine maps."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.augment._each import Augment, check_pixels, check_share, each

Fill = Literal["zeros", "edge", "reflect"]
_MODES = {"zeros": "constant", "edge": "edge", "reflect": "reflect"}


def crop(padding: int = 4, *, fill: Fill = "reflect") -> Augment:
    """Pad each image on all sides, and cut out a window of its size at a random place.

    Args:
        padding: pixels on each side.
        fill: what the padding holds: zeros, the pixels at the edge, or the image reflected there.

    Raises:
        ValueError: a negative padding, an unknown fill, or (from the augmentation) a padding that
            is not smaller than the image, where it is to be reflected.

    >>> crop(1)(jax.random.key(0), jnp.ones((2, 4, 4, 1))).shape
    (2, 4, 4, 1)
    """
    check_pixels(padding, name="padding", of="crop")
    if fill not in _MODES:
        raise ValueError(f"crop expects a fill of {', '.join(_MODES)}, but got {fill!r}.")

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        if fill == "reflect" and padding >= min(image.shape[:2]):
            raise ValueError(
                f"crop cannot reflect {padding} pixels of an image of {image.shape[0]}x"
                f"{image.shape[1]}; lower the padding or choose another fill."
            )
        sides = ((padding, padding), (padding, padding), (0, 0))
        padded = jnp.pad(image, sides, mode=_MODES[fill])
        row, column = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return lax.dynamic_slice(padded, (row, column, 0), image.shape)

    return each(one, name="crop")


def flip(probability: float = 0.5, *, vertical: bool = False) -> Augment:
    """Mirror each image with some probability.

    Args:
        probability: that an image is mirrored.
        vertical: top to bottom, in place of left to right.

    Raises:
        ValueError: a probability that is not in 0..1.

    >>> flip(1.0)(jax.random.key(0), jnp.arange(3.0).reshape(1, 1, 3, 1)).ravel().tolist()
    [2.0, 1.0, 0.0]
    """
    check_share(probability, name="probability", of="flip")
    axis = 0 if vertical else 1

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        mirrored = jax.random.bernoulli(key, float(probability))
        return jnp.where(mirrored, jnp.flip(image, axis), image)

    return each(one, name="flip")


def affine(
    degrees: float = 10.0,
    *,
    shift: float = 0.1,
    zoom: tuple[float, float] = (0.9, 1.1),
    shear: float = 0.0,
    fill: Literal["zeros", "edge"] = "edge",
) -> Augment:
    """Turn, move, scale and shear each image about its centre by random amounts.

    A pixel at p, counted from the centre, takes the bilinear interpolation of the image at

        A p − t,   A = R(φ) [[1, tan ψ], [0, 1]] / z

    Args:
        degrees: φ is uniform in ± this angle.
        shift: t is uniform in ± this share of the height and of the width.
        zoom: z is uniform between these two factors.
        shear: ψ is uniform in ± this angle, in degrees.
        fill: what lies outside the image: zeros, or the nearest pixel.

    Raises:
        ValueError: factors that are not positive and in order, a shear of 90 degrees or more, or
            an unknown fill.

    >>> affine()(jax.random.key(0), jnp.ones((2, 5, 5, 1))).shape
    (2, 5, 5, 1)
    """
    low, high = zoom
    if not all(map(math.isfinite, (degrees, shift, high, shear))):
        raise ValueError("affine expects finite numbers.")
    if not 0 < low <= high or not abs(shear) < 90 or fill not in ("zeros", "edge"):
        raise ValueError(
            f"affine expects 0 < zoom[0] <= zoom[1], a shear below 90 degrees and fill 'zeros' or "
            f"'edge', but got zoom={zoom}, shear={shear}, fill={fill!r}."
        )
    mode = "nearest" if fill == "edge" else "constant"

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        drawn = jax.random.uniform(key, (5,), minval=-1.0)
        angle, lean = jnp.deg2rad(degrees) * drawn[0], jnp.deg2rad(shear) * drawn[1]
        scale = low + (high - low) * (drawn[2] + 1) / 2
        turn = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
        leaned = jnp.array([[1.0, jnp.tan(lean)], [0.0, 1.0]])
        matrix = jnp.matmul(turn, leaned, precision="highest") / scale
        size = jnp.array(image.shape[:2], jnp.float32)
        centre = (size - 1) / 2
        rows, columns = (jnp.arange(n, dtype=jnp.float32) for n in image.shape[:2])
        grid = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij")) - centre[:, None, None]
        at = jnp.tensordot(matrix, grid, 1, precision="highest")
        at = at + (centre - shift * size * drawn[3:])[:, None, None]

        def channel(plane: jax.Array) -> jax.Array:
            return jax.scipy.ndimage.map_coordinates(plane, list(at), order=1, mode=mode)

        return jax.vmap(channel, -1, -1)(image)

    return each(one, name="affine")

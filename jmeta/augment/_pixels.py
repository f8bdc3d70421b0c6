"""Augmentations that change the values of pixels: colour jitter and cutout."""

import jax
import jax.numpy as jnp

from jmeta.augment._each import Augment, check_pixels, check_share, each

_GREY = (0.299, 0.587, 0.114)  # luma of red, green and blue (ITU-R BT.601)


def colour(brightness: float = 0.4, *, contrast: float = 0.4, saturation: float = 0.4) -> Augment:
    """Change brightness, contrast and saturation of each image by random factors.

        x ← b x,   x ← m + c (x − m),   x ← g + s (x − g)

    m is the mean grey of the image and g the grey of each pixel; the result is clipped to 0..1.
    Images of one channel have no saturation.

    Args:
        brightness: b is uniform in 1 ± this.
        contrast: c is uniform in 1 ± this.
        saturation: s is uniform in 1 ± this.

    Raises:
        ValueError: a number that is not in 0..1.

    >>> colour(0, contrast=0, saturation=0)(jax.random.key(0), jnp.ones((1, 2, 2, 3))).min().item()
    1.0
    """
    amounts = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, value in amounts.items():
        check_share(value, name=name, of="colour")

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        drawn = jax.random.uniform(key, (3,), minval=-1.0)
        b, c, s = 1 + drawn * jnp.array([brightness, contrast, saturation])
        image = image * b
        grey = _grey(image)
        mean = grey.mean()
        image = mean + c * (image - mean)
        grey = mean + c * (grey - mean)
        return jnp.clip(grey + s * (image - grey), 0, 1)

    return each(one, name="colour", values=True)


def _grey(image: jax.Array) -> jax.Array:
    """The luma of an image [H, W, 1]; the mean of channels that are not three."""
    if image.shape[-1] != 3:
        return image.mean(-1, keepdims=True) if image.shape[-1] > 1 else image
    return jnp.sum(image * jnp.array(_GREY, image.dtype)[None, None], -1, keepdims=True)


def cutout(size: int, *, value: float = 0.0) -> Augment:
    """Fill a random square of each image with a value.

    The centre is uniform over the pixels, so a square at the edge is cut off.

    Args:
        size: side of the square in pixels.
        value: what it is filled with, in 0..1.

    Raises:
        ValueError: a side below 1, or a value that is not in 0..1.

    Improved Regularization of Convolutional Neural Networks with Cutout (DeVries, Taylor, 2017,
    arXiv:1708.04552).

    >>> int((cutout(1)(jax.random.key(0), jnp.ones((1, 4, 4, 1))) == 0).sum())
    1
    """
    check_pixels(size, name="size", of="cutout", least=1)
    check_share(value, name="value", of="cutout")

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        row, column = jax.random.randint(key, (2,), 0, jnp.array(image.shape[:2]))
        rows, columns = (
            _within(n, at, size) for n, at in zip(image.shape, (row, column), strict=False)
        )
        inside = rows[:, None, None] & columns[None, :, None]
        return jnp.where(inside, jnp.asarray(value, image.dtype), image)

    return each(one, name="cutout", values=True)


def _within(length: int, centre: jax.Array, size: int) -> jax.Array:
    """Which of so many places lie in a segment of `size` about a centre, [length]."""
    first = centre - size // 2
    place = jnp.arange(length)
    return (place >= first) & (place < first + size)

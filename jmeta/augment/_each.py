"""What all augmentations share: one image at a time, in floats, each with a key of its own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

_LARGEST = 2**16  # pixels along an axis
Augment = Callable[[jax.Array, jax.Array], jax.Array]  # key, images [N, H, W, C] -> images
One = Callable[[jax.Array, jax.Array], jax.Array]  # key, image [H, W, C] in floats -> image


def each(one: One, *, name: str, values: bool = False) -> Augment:
    """An augmentation of images, made of one of a single image in floats.

    Integers go through it as floats and are rounded; floats keep their dtype.

    Args:
        one: the augmentation of an image.
        name: what to call it in messages.
        values: whether it changes values and not only places. Then the image is in 0..1, and of
            the integers only uint8 can be given.

    >>> halved = each(lambda key, image: image / 2, name="halved", values=True)
    >>> halved(jax.random.key(0), jnp.full((1, 1, 1, 1), 200, jnp.uint8)).ravel().tolist()
    [100]
    """

    def augment(key: jax.Array, images: jax.Array) -> jax.Array:
        check_images(images, of=name)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(images.shape[0]))
        dtype = images.dtype
        if jnp.issubdtype(dtype, jnp.floating):
            return jax.vmap(one)(keys, images).astype(dtype)
        if not jnp.issubdtype(dtype, jnp.integer) or (values and dtype != jnp.uint8):
            kinds = "uint8 or floats of 0 to 1" if values else "real numbers"
            raise ValueError(f"{name} expects images of {kinds}, but got {dtype}; convert them.")
        unit = 255 if values else 1
        changed = jnp.round(jax.vmap(one)(keys, images.astype(jnp.float32) / unit) * unit)
        return jnp.clip(changed, jnp.iinfo(dtype).min, jnp.iinfo(dtype).max).astype(dtype)

    return augment


def check_images(images: jax.Array, *, of: str) -> None:
    """Refuse what is no batch of images.

    Raises:
        ValueError: another rank, or an empty image.

    >>> check_images(jnp.ones((1, 2, 2, 1)), of="flip")
    """
    if jnp.ndim(images) != 4 or 0 in images.shape[1:]:
        raise ValueError(f"{of} expects images [N, H, W, C], but got {jnp.shape(images)}.")


def check_share(value: float, *, name: str, of: str) -> None:
    """Refuse what is no probability.

    Raises:
        ValueError: it is not in 0..1.

    >>> check_share(0.5, name="probability", of="flip")
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{of} expects {name} from 0 to 1, but got {value}.")


def check_pixels(value: int, *, name: str, of: str, least: int = 0) -> None:
    """Refuse what is no number of pixels.

    Raises:
        ValueError: it is no whole number of so many or more, or larger than any image.

    >>> check_pixels(4, name="padding", of="crop")
    """
    if not isinstance(value, int) or not least <= value < _LARGEST:
        raise ValueError(f"{of} expects {name} >= {least}, a whole number, but got {value}.")

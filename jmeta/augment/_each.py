"""What all augmentations share: one image at a time, in floats, each with a key of its own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Augment = Callable[[jax.Array, jax.Array], jax.Array]  # key, images [N, H, W, C] -> images
One = Callable[[jax.Array, jax.Array], jax.Array]  # key, image [H, W, C] in floats -> image


def each(one: One, *, name: str) -> Augment:
    """An augmentation of images, made of one of a single image in floats.

    Integers go through it as floats and are rounded; floats keep their dtype.

    Args:
        one: the augmentation of an image in 0..1.
        name: what to call it in messages.

    >>> halved = each(lambda key, image: image / 2, name="halved")
    >>> halved(jax.random.key(0), jnp.full((1, 1, 1, 1), 200, jnp.uint8)).ravel().tolist()
    [100]
    """

    def augment(key: jax.Array, images: jax.Array) -> jax.Array:
        check_images(images, of=name)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(images.shape[0]))
        if jnp.issubdtype(images.dtype, jnp.floating):
            return jax.vmap(one)(keys, images).astype(images.dtype)
        changed = jax.vmap(one)(keys, images.astype(jnp.float32) / 255)
        return jnp.clip(jnp.round(changed * 255), 0, 255).astype(images.dtype)

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

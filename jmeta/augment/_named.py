"""Augmentations by name, as options of a command have them."""

import math
from collections.abc import Callable

from jmeta.augment._each import Augment
from jmeta.augment._geometry import affine, crop, flip
from jmeta.augment._pixels import colour, cutout
from jmeta.augment._tasks import chain


def _colour(amount: float) -> Augment:
    return colour(amount, contrast=amount, saturation=amount)


# name -> the number behind its colon where there is none, and what makes it of that number
_NAMED: dict[str, tuple[float, Callable[[float], Augment]]] = {
    "affine": (10, affine),
    "colour": (0.4, _colour),
    "crop": (4, lambda pixels: crop(int(pixels))),
    "cutout": (8, lambda side: cutout(int(side))),
    "flip": (0.5, flip),
}


def named(words: str) -> Augment:
    """Augmentations in order, such as "crop:8,flip,colour:0.2".

    A number follows the name after a colon: degrees of `affine`, the three amounts of `colour`,
    pixels of padding of `crop`, the side of `cutout`, the probability of `flip`.

    Args:
        words: names, separated by commas.

    Raises:
        ValueError: an unknown name, or a number that it cannot have.

    >>> import jax, jax.numpy as jnp
    >>> named("crop:1,flip")(jax.random.key(0), jnp.ones((2, 4, 4, 1))).shape
    (2, 4, 4, 1)
    """
    return chain(*(_one(word.strip()) for word in words.split(",")))


def _one(word: str) -> Augment:
    name, colon, number = word.partition(":")
    if name not in _NAMED:
        raise ValueError(f"unknown augmentation {name!r}: choose from {', '.join(_NAMED)}.")
    default, make = _NAMED[name]
    try:
        value = float(number) if colon else default
    except ValueError:
        raise ValueError(f"{name} takes a number after its colon, but got {number!r}.") from None
    if not math.isfinite(value):
        raise ValueError(f"{name} takes a finite number, but got {number}.")
    if name in ("crop", "cutout") and value != int(value):
        raise ValueError(f"{name} takes whole pixels, but got {number}.")
    return make(value)

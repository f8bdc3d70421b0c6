"""Pictures in files, in memory and as arrays, as a network sees them."""

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jmeta.core._home import expanded
from jmeta.data._files import read_bytes
from jmeta.data._images import Fit, decode_image, resize_image

Facts = Mapping[str, Any]  # see `jmeta.experiments._bare.facts_of`
File = str | os.PathLike | bytes  # the path of an image, or what stands in its file


def images(shape: Sequence[int]) -> bool:
    """Whether examples of a shape can be made of pictures."""
    return len(shape) == 3 and shape[2] in (1, 3)


def in_unit(array: np.ndarray, facts: Facts) -> np.ndarray:
    """Pixels as float32 in 0..1, and inverted as those of a file; other numbers as they are."""
    if array.dtype != np.uint8 or not facts["pixels"]:
        return array
    return (255 - array if facts["inverted"] else array).astype(np.float32) / 255


def is_picture(x: Any) -> bool:
    """Whether something is a Pillow image, without importing Pillow."""
    return hasattr(x, "convert") and hasattr(x, "getbands")


def image(x: Any, shape: tuple[int, ...], facts: Facts, what: str, fit: Fit) -> np.ndarray:
    """One picture as [H, W, C], in 0..1 as the network sees it.

    The pixels of a file, of a Pillow image or of a uint8 array are of dark ink on light paper; they
    are inverted for a network that sees ink as 1. Other arrays are taken as they are.
    """
    high, wide, channels = shape
    if isinstance(x, str | os.PathLike):
        path = expanded(x)
        content, called = read_bytes(path, expected="an image"), str(path)
    elif isinstance(x, bytes):
        content, called = x, what
    else:
        if not is_picture(x):
            array = np.asarray(x)
            if array.shape == shape and array.dtype != np.uint8:
                return array.astype(np.float32)
            x = _as_picture(array, shape, what)
        content, called = _bytes(x, what), what
    pixels = decode_image(content, name=called, mode=_mode(channels))
    pixels = pixels.reshape(*pixels.shape[:2], channels)
    return in_unit(_resized(pixels, high, wide, fit), facts)


def _as_picture(x: np.ndarray, shape: tuple[int, ...], what: str) -> Any:
    """A uint8 array [H, W] or [H, W, 1, 3 or 4] as a Pillow image."""
    from PIL import Image

    flat = x[..., 0] if x.ndim == 3 and x.shape[2] == 1 else x
    plain = flat.ndim == 2 or (flat.ndim == 3 and flat.shape[2] in (3, 4))
    if x.dtype != np.uint8 or not plain or 0 in x.shape:
        raise misshapen(x[None], shape, what)
    return Image.fromarray(flat)


def _mode(channels: int) -> Any:
    return "L" if channels == 1 else "RGB"


def _bytes(image: Any, what: str) -> bytes:
    """A Pillow image as the bytes of a file, so that all pictures are decoded alike."""
    stream = io.BytesIO()
    try:
        image.save(stream, "PNG")
    except (OSError, ValueError) as error:
        raise ValueError(f"{what} is an image of mode {image.mode}, which has no PNG.") from error
    return stream.getvalue()


def _resized(pixels: np.ndarray, high: int, wide: int, fit: Fit) -> np.ndarray:
    """uint8 pixels scaled to a size."""
    if pixels.shape[:2] == (high, wide):
        return pixels
    if high != wide:
        raise ValueError(
            f"an image is {pixels.shape[1]}x{pixels.shape[0]} pixels, and this model takes "
            f"{wide}x{high}; scale it first."
        )
    return resize_image(pixels, high, fit=fit)


def misshapen(found: Any, shape: tuple[int, ...], what: str) -> ValueError:
    shapes = {str(list(np.shape(each))) for each in found}
    got = list(found.shape) if isinstance(found, np.ndarray) else " and ".join(sorted(shapes))
    return ValueError(
        f"{what} must hold examples of shape {list(shape)}, an array [N, "
        f"{', '.join(map(str, shape))}], but got {str(got)[:80]}."
    )

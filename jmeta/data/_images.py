"""Decoding images from untrusted sources, and fitting them into squares."""

import io
from typing import Any, Literal

import numpy as np

from jmeta.core._text import printable
from jmeta.data._limits import Allowance, check_pixels

Mode = Literal["L", "RGB", "1"]
Fit = Literal["stretch", "crop", "pad"]
FITS = ("stretch", "crop", "pad")
SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM")
_EXPECTED = "expected 8 or 16 bits each; save it again as such"
_ORIENTATION = 274  # the number of this tag in EXIF
_TOGETHER = Allowance()


def decode_image(
    data: bytes,
    *,
    name: str,
    mode: Mode | None = None,
    size: int | None = None,
    fit: Fit = "stretch",
) -> np.ndarray:
    """Decode one image file to uint8, and scale it to `size` by `size` pixels if that is given.

    Transparent places show white, whatever colour the file holds there. The orientation that a
    camera wrote down is applied.

    Args:
        data: the file's bytes: png, jpeg, bmp, gif, webp, tiff or ppm. Of several frames or pages
            the first is taken.
        name: what to call the image in an error.
        mode: "L" (grey, [H, W]), "RGB" ([H, W, 3]) or "1" ([H, W] of 0 and 255). None takes "L"
            for a grey or two-level file and "RGB" for every other one.
        size: height and width of the result in pixels, see `resize_image`; None keeps the file's.
        fit: how an image that is not square becomes square, see `resize_image`.

    Raises:
        ValueError: the bytes are not an image, its pixels are no numbers of 8 or 16 bits, or it
            has too many pixels.

    >>> from PIL import Image
    >>> stream = io.BytesIO()
    >>> Image.new("L", (4, 6), 255).save(stream, "PNG")
    >>> decode_image(stream.getvalue(), name="white.png", mode="L", size=2).tolist()
    [[255, 255], [255, 255]]
    """
    called = printable(name)
    with _opened(data, called) as image:
        check_pixels(image.width, image.height, what=called)
        if image.mode == "F":
            raise ValueError(f"{called} has floating-point pixels, {_EXPECTED}.")
        try:
            with _TOGETHER.pixels(image.width * image.height):
                pixels = _to_array(image, mode)
        except Exception as error:  # a damaged file fails in many ways
            raise _undecodable(called, error) from error
    if pixels is None:
        raise ValueError(f"{called} has whole numbers of more than 16 bits, {_EXPECTED}.")
    return pixels if size is None else resize_image(pixels, size, fit=fit)


def image_size(data: bytes, *, name: str) -> tuple[int, int]:
    """Width and height of an image file, of which only the header is read.

    Args:
        data: the file's bytes, as for `decode_image`.
        name: what to call the image in an error.

    Raises:
        ValueError: the bytes are not an image, or it has too many pixels.

    >>> from PIL import Image
    >>> stream = io.BytesIO()
    >>> Image.new("L", (4, 6), 255).save(stream, "PNG")
    >>> image_size(stream.getvalue(), name="white.png")
    (4, 6)
    """
    called = printable(name)
    with _opened(data, called) as image:
        check_pixels(image.width, image.height, what=called)
        return image.width, image.height


def resize_image(pixels: np.ndarray, size: int, *, fit: Fit = "stretch") -> np.ndarray:
    """Scale one uint8 image to `size` by `size` pixels (Lanczos).

    Args:
        pixels: [H, W] or [H, W, C] uint8 with C = 1 or 3.
        size: height and width of the result in pixels.
        fit: "stretch" changes the aspect ratio; "crop" first cuts the middle square out; "pad"
            first repeats the pixels at the edges until the image is square.

    Raises:
        ValueError: the image is not uint8 of such a shape, `size` is below 1, or `fit` is unknown.

    >>> resize_image(np.full((4, 6, 3), 7, np.uint8), 2).shape
    (2, 2, 3)
    """
    from PIL import Image

    plain = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3))
    if pixels.dtype != np.uint8 or not plain or size < 1:
        raise ValueError(
            f"cannot scale {pixels.dtype}{list(pixels.shape)} to {size} pixels; images must be "
            "uint8 [H, W], [H, W, 1] or [H, W, 3] and the size at least 1."
        )
    pixels = _square(pixels, fit)
    if pixels.shape[:2] == (size, size):
        return pixels
    flat = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
    scaled = Image.fromarray(flat).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(scaled).reshape(size, size, *pixels.shape[2:])


def check_fit(fit: str, size: int | None) -> None:
    """Reject a way of fitting that is unknown or has no size to fit images to, or a huge size.

    Raises:
        ValueError: `fit` is none of `FITS`, or is not "stretch" and there is no size; or images of
            the size have more pixels than are read.

    >>> check_fit("crop", 84)
    """
    if fit not in FITS:
        raise ValueError(f"got fit={fit!r}, expected one of {', '.join(FITS)}; pass one of them.")
    if fit != "stretch" and size is None:
        raise ValueError(
            f"got fit={fit!r} without a size, so nothing is scaled; give the size in pixels too."
        )
    if size is not None:
        check_pixels(size, size, what="an image of that size")


def scale_all(*shapes: tuple[int, ...]) -> str:
    """What to do with images of several sizes: scale them to the smallest side, or to 84.

    >>> scale_all((96, 128), (60, 60))
    'give `size`, such as 60 (--size 60), to scale all to one size.'
    """
    size = min(84, *(side for shape in shapes for side in shape[:2]))
    return f"give `size`, such as {size} (--size {size}), to scale all to one size."


def _square(pixels: np.ndarray, fit: Fit) -> np.ndarray:
    """An image, made square by cutting or by repeating its edges."""
    check_fit(fit, 1)
    high, wide = pixels.shape[:2]
    if fit == "stretch" or high == wide:
        return pixels
    side = min(high, wide) if fit == "crop" else max(high, wide)
    top, left = abs(high - side) // 2, abs(wide - side) // 2
    if fit == "crop":
        return pixels[top : top + side, left : left + side]
    around = [(top, side - high - top), (left, side - wide - left)]
    return np.pad(pixels, around + [(0, 0)] * (pixels.ndim - 2), mode="edge")


def _opened(data: bytes, called: str) -> Any:
    """A Pillow image whose header has been read and whose pixels have not."""
    from PIL import Image

    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{called} is too large an image ({error}); scale it down.") from error
    except Exception as error:
        raise _undecodable(called, error) from error


def _undecodable(called: str, error: Exception) -> ValueError:
    from PIL import UnidentifiedImageError

    nameless = isinstance(error, UnidentifiedImageError)  # it names the stream in memory
    reason = f"its bytes are none of {', '.join(_FORMATS)}" if nameless else printable(error)
    return ValueError(f"{called} cannot be decoded as an image ({reason}); replace or remove it.")


def _to_array(image: Any, mode: Mode | None) -> np.ndarray | None:
    """A Pillow image in a mode, as uint8 where 255 is white; None where it has too many bits."""
    grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
    wanted = mode or ("L" if grey else "RGB")
    hidden = _transparent_value(image)
    image.load()
    if image.mode.startswith("I"):
        lightness = _upper_bits(image, hidden)
        if lightness is None:
            return None
        oriented = _oriented(lightness, image)
    else:
        oriented = _oriented(_over_white(image, hidden), image)
    pixels = np.asarray(oriented.convert(wanted))
    return pixels.astype(np.uint8) * 255 if pixels.dtype == np.bool_ else pixels


def _transparent_value(image: Any) -> Any:
    """The colour that stands for transparency, as the decoded pixels have it; None without one."""
    value = image.info.get("transparency")
    layout = str(image.tile[0][3]) if image.tile else ""
    if isinstance(value, tuple) and "16" in layout:  # Pillow keeps the upper 8 bits of colours
        return tuple(part >> 8 for part in value)
    return value


def _over_white(image: Any, hidden: Any) -> Any:
    """An image of 8 bits, laid over white where it is transparent."""
    from PIL import Image

    if hidden is None and "A" not in image.getbands() and "a" not in image.getbands():
        return image
    if hidden is not None:
        image.info["transparency"] = hidden
    whole = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)


def _upper_bits(image: Any, hidden: int | None) -> Any:
    """The upper 8 of 16 bits, where Pillow would clip; None where a pixel has more than 16."""
    from PIL import Image

    values = np.asarray(image.convert("I") if image.mode == "I;16B" else image)
    if values.min() < 0 or values.max() > 65535:
        return None
    upper = (values // 256).astype(np.uint8)
    return Image.fromarray(upper if hidden is None else np.where(values == hidden, 255, upper))


def _oriented(image: Any, source: Any) -> Any:
    """An image turned as the camera that wrote its source says."""
    from PIL import Image

    turns = Image.Transpose
    ways = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }
    try:
        way = ways.get(source.getexif().get(_ORIENTATION))
    except Exception:  # damaged notes about an image that is whole
        way = None
    return image if way is None else image.transpose(way)

"""Reading archives and images from untrusted sources.

No member's path may leave its folder, nothing is unpickled, and sizes are limited.
"""

import io
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

MAX_MEMBER_BYTES = 256 * 2**20  # one member, unpacked
MAX_ARCHIVE_BYTES = 32 * 2**30  # all members, unpacked
MAX_PIXELS = 50_000_000  # one image, width times height

Mode = Literal["L", "RGB", "1"]
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")


def check_member(name: str, *, archive: str | Path) -> None:
    """Reject an archive member whose path could leave the folder it is unpacked into.

    Args:
        name: the member's path inside the archive.
        archive: the archive, for the message.

    Raises:
        ValueError: the path is absolute, or has a drive letter, a NUL or a '..' part.

    >>> check_member("images/cat/1.png", archive="pets.zip")
    """
    plain = name.replace("\\", "/")
    path = PurePosixPath(plain)
    drive = len(plain) > 1 and plain[1] == ":"
    if path.is_absolute() or drive or ".." in path.parts or "\0" in plain:
        raise ValueError(
            f"{archive} has the member {name!r}, whose path leaves the archive's own folder; "
            "only relative paths without '..' are read, so repack the archive."
        )


def open_zip(path: str | Path) -> zipfile.ZipFile:
    """Check a zip's directory, member paths and sizes, and open it for reading.

    Args:
        path: the zip file. The caller closes what is returned (use `with`).

    Raises:
        ValueError: the file is missing or no zip, or has a member that leaves the folder or is too
            large.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder) / "a.zip"
    ...     with zipfile.ZipFile(target, "w") as made:
    ...         made.writestr("cat/1.txt", "hello")
    ...     with open_zip(target) as archive:
    ...         archive.namelist()
    ['cat/1.txt']
    """
    if not Path(path).is_file():
        raise ValueError(f"there is no zip file at {path}; give the path of an existing one.")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ValueError(f"{path} is not a readable zip ({error}); download it again.") from error
    try:
        _check_directory(archive, path)
    except ValueError:
        archive.close()
        raise
    return archive


def _check_directory(archive: zipfile.ZipFile, path: str | Path) -> None:
    total = 0
    for info in archive.infolist():
        check_member(info.filename, archive=path)
        total += info.file_size
        if info.file_size > MAX_MEMBER_BYTES or total > MAX_ARCHIVE_BYTES:
            raise ValueError(
                f"{path} unpacks {info.filename!r} to {info.file_size} bytes ({total} in all so "
                f"far); at most {MAX_MEMBER_BYTES} a member and {MAX_ARCHIVE_BYTES} in all are "
                "read, so check where the archive came from."
            )


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read one member of an open zip, up to the size limit.

    Args:
        archive: as returned by `open_zip`.
        name: the member's path inside it.

    Raises:
        ValueError: the member is absent, corrupt, encrypted or too large.

    >>> with zipfile.ZipFile(io.BytesIO(), "w") as archive:
    ...     archive.writestr("a.txt", "hello")
    ...     read_member(archive, "a.txt")
    b'hello'
    """
    try:
        with archive.open(name) as stream:
            data = stream.read(MAX_MEMBER_BYTES + 1)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ValueError(
            f"{archive.filename} is damaged at {name!r} ({error}); download it again."
        ) from error
    if len(data) > MAX_MEMBER_BYTES:
        raise ValueError(
            f"{archive.filename} unpacks {name!r} to more than {MAX_MEMBER_BYTES} bytes; "
            "check where the archive came from."
        )
    return data


def decode_image(
    data: bytes, *, name: str, mode: Mode | None = None, size: int | None = None
) -> np.ndarray:
    """Decode one image file to uint8, and scale it to `size` by `size` pixels if that is given.

    Args:
        data: the file's bytes: png, jpeg, bmp, gif, webp or tiff. Of several frames or pages the
            first is taken.
        name: what to call the image in an error.
        mode: "L" (grey, [H, W]), "RGB" ([H, W, 3]) or "1" ([H, W] of 0 and 255). None takes "L"
            for a grey or two-level file and "RGB" for every other one.
        size: height and width of the result in pixels, see `resize_image`; None keeps the file's.

    Raises:
        ValueError: the bytes are not an image, its pixels are floating-point numbers, or it has
            more than `MAX_PIXELS` pixels.

    >>> from PIL import Image
    >>> stream = io.BytesIO()
    >>> Image.new("L", (4, 6), 255).save(stream, "PNG")
    >>> decode_image(stream.getvalue(), name="white.png", mode="L", size=2).tolist()
    [[255, 255], [255, 255]]
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            wrong = _objection(image)
            pixels = None if wrong else _to_array(image, mode)
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name} is too large an image ({error}); scale it down first.") from error
    except Exception as error:  # a damaged file fails in many ways
        raise ValueError(
            f"{name} cannot be decoded as an image ({error}); replace or remove it."
        ) from error
    if pixels is None:
        raise ValueError(f"{name} {wrong}.")
    return pixels if size is None else resize_image(pixels, size)


def resize_image(pixels: np.ndarray, size: int) -> np.ndarray:
    """Scale one uint8 image to `size` by `size` pixels (Lanczos). The aspect ratio may change.

    Args:
        pixels: [H, W] or [H, W, C] uint8 with C = 1 or 3.
        size: height and width of the result in pixels.

    Raises:
        ValueError: the image is not uint8 of such a shape, or `size` is below 1.

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
    if pixels.shape[:2] == (size, size):
        return pixels
    flat = pixels[..., 0] if pixels.shape[2:] == (1,) else pixels
    scaled = Image.fromarray(flat).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(scaled).reshape(size, size, *pixels.shape[2:])


def _objection(image: Any) -> str | None:
    """Why an open Pillow image is not decoded, for a message; None when it can be."""
    if image.width * image.height > MAX_PIXELS:
        return (
            f"is {image.width}x{image.height} pixels; at most {MAX_PIXELS} pixels are decoded, so "
            "scale it down first"
        )
    if image.mode == "F":
        return "has floating-point pixels, expected 8 or 16 bits each; save it again as such"
    return None


def _to_array(image: Any, mode: Mode | None) -> np.ndarray:
    """Convert an open Pillow image to a mode and then to uint8, where 255 is white."""
    grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
    wanted = mode or ("L" if grey else "RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the palette's transparency as a channel, then dropped
    if image.mode == "I;16B":
        image = image.convert("I")  # Pillow computes with one order of bytes only
    if image.mode.startswith("I"):  # 16 bits: keep the upper 8, where Pillow would clip
        image = image.point(lambda value: value * (1 / 256)).convert("L")
    pixels = np.asarray(image.convert(wanted))
    return pixels.astype(np.uint8) * 255 if pixels.dtype == np.bool_ else pixels

"""Archives and images from outside: what is decoded, and what is refused."""

import io
import struct

import numpy as np
import pytest
from pictures import encode, grey, make_zip
from PIL import Image, PngImagePlugin

from jmeta.data import _limits
from jmeta.data._archives import check_member, open_zip
from jmeta.data._images import decode_image, resize_image


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"])
def test_formats_are_decoded(kind):
    image = decode_image(encode(grey(128), kind), name="grey", mode="L")
    assert image.shape == (6, 6)
    assert np.abs(image.astype(int) - 128).max() <= 2


def _directory(*, width: int, strip: int) -> bytes:
    """The tags of a big-endian TIFF of one row of 16 bit greys."""
    tags = {256: width, 257: 1, 258: 16, 259: 1, 262: 1, 273: strip, 277: 1, 278: 1, 279: 2 * width}
    entries = (struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack(">H", len(tags)) + b"".join(entries) + bytes(4)


def test_two_level_and_sixteen_bit_images():
    two = np.eye(4, dtype=bool)
    np.testing.assert_array_equal(decode_image(encode(two), name="two"), two * np.uint8(255))
    np.testing.assert_array_equal(
        decode_image(encode(two), name="two", mode="1"), two * np.uint8(255)
    )
    deep = np.full((2, 2), 40_000, np.uint16)
    for kind in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decode_image(encode(deep, kind), name="deep"), deep // 256)
    motorola = b"MM\0*\0\0\0\x0c" + bytes([156, 64, 1, 0]) + _directory(width=2, strip=8)
    assert decode_image(motorola, name="motorola").tolist() == [[156, 1]]


def test_resize_keeps_the_axes():
    assert resize_image(grey(3), 4).shape == (4, 4)
    assert resize_image(grey(3)[..., None], 4).shape == (4, 4, 1)
    assert resize_image(np.dstack([grey(3)] * 3), 4).shape == (4, 4, 3)
    with pytest.raises(ValueError, match="images must be uint8"):
        resize_image(np.zeros((2, 2), np.float32), 4)
    with pytest.raises(ValueError, match="size at least 1"):
        resize_image(grey(3), 0)


def test_pictures_that_pillow_refuses_are_named():
    long = PngImagePlugin.PngInfo()
    long.add_text("a", "x" * 3_000_000, zip=True)
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "PNG", pnginfo=long)
    with pytest.raises(
        ValueError, match=r"cat/7\.png cannot be decoded as an image \(Decompressed"
    ):
        decode_image(stream.getvalue(), name="cat/7.png")
    real = encode(np.zeros((3, 3), np.float32), "TIFF")
    with pytest.raises(ValueError, match=r"cat/7\.tif has floating-point pixels"):
        decode_image(real, name="cat/7.tif")


@pytest.mark.parametrize("name", ["/abs/1.png", "../1.png", "a/../../1.png", "C:/1.png", "..\\1"])
def test_members_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="leaves the archive's own folder"):
        check_member(name, archive="a.zip")
    path = make_zip(tmp_path / "a.zip", {name: b"x"})
    with pytest.raises(ValueError, match="leaves the archive's own folder"):
        open_zip(path)


def test_bombs_are_refused(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "bomb.zip", {"a/1.png": bytes(1000)})
    monkeypatch.setattr(_limits, "_FLAT", 999)
    with pytest.raises(ValueError, match=r"bomb\.zip unpacks to 1000 bytes .*at most 999 bytes"):
        monkeypatch.setattr(_limits, "_RATIO", 0)
        open_zip(path)
    monkeypatch.setenv("JMETA_DATA_LIMIT", "7992")
    with pytest.raises(ValueError, match=r"unpacks 'a/1\.png' to 1000 bytes"):
        open_zip(path)
    monkeypatch.setattr(_limits, "_PIXELS", 49_999)
    wide = encode(np.zeros((1, 50_000), np.uint8))
    with pytest.raises(ValueError, match=r"wide is 50000x1 pixels.*JMETA_DATA_LIMIT=1G"):
        decode_image(wide, name="wide")

"""Images as people have them: transparency, orientation, sixteen bits, and other shapes."""

import io

import numpy as np
import pytest
from pictures import encode, grey, write
from PIL import Image

from jmeta.data import load, load_folder
from jmeta.data._images import decode_image, resize_image

INK = np.zeros((8, 8), np.uint8)
INK[2:6, 2:6] = 255  # where there is ink
ON_WHITE = 255 - INK  # black ink as paper shows it


def stored(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def drawings() -> dict[str, bytes]:
    """Black ink on a transparent ground that is black underneath, in every way to write it."""
    black = np.zeros_like(INK)
    palette = Image.fromarray((INK > 0).astype(np.uint8), "P")
    palette.putpalette([0, 0, 0] * 2)
    three = np.dstack([black] * 3)
    ground = np.where(INK[..., None] > 0, 0, [0, 0, 9]).astype(np.uint8)
    return {
        "RGBA": stored(Image.fromarray(np.dstack([three, INK]))),
        "LA": stored(Image.fromarray(np.dstack([black, INK]), "LA")),
        "WEBP": stored(Image.fromarray(np.dstack([three, INK])), "WEBP", lossless=True),
        "TIFF": stored(Image.fromarray(np.dstack([three, INK])), "TIFF"),
        "P": stored(palette, transparency=0),
        "P with alphas": stored(palette, transparency=bytes([0, 255])),
        "GIF": stored(palette, "GIF", transparency=0),
        "L with a value": stored(Image.fromarray(7 - INK // 255 * 7), transparency=7),
        "RGB with a colour": stored(Image.fromarray(ground), transparency=(0, 0, 9)),
        "I;16 with a value": stored(
            Image.fromarray(np.where(INK > 0, 0, 300).astype(np.uint16)), transparency=300
        ),
    }


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("kind", list(drawings()))
@pytest.mark.parametrize("mode", [None, "L", "RGB"])
def test_transparent_places_are_white(kind, mode):
    found = decode_image(drawings()[kind], name=kind, mode=mode)
    expected = ON_WHITE if found.ndim == 2 else np.dstack([ON_WHITE] * 3)
    np.testing.assert_array_equal(found, expected)


def test_half_transparent_ink_is_grey_and_opaque_images_stay_as_they_are():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4)).astype(np.uint8)
    opaque = pixels.copy()
    opaque[..., 3] = 255
    np.testing.assert_array_equal(decode_image(encode(opaque), name="a"), pixels[..., :3])
    two = np.dstack([pixels[..., 0], opaque[..., 3]])
    found = decode_image(stored(Image.fromarray(two, "LA")), name="a", mode="L")
    np.testing.assert_array_equal(found, pixels[..., 0])
    half = np.full((2, 2, 2), [0, 128], np.uint8)
    assert decode_image(stored(Image.fromarray(half, "LA")), name="a").tolist() == [[127] * 2] * 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG"])
def test_the_camera_s_orientation_is_applied(orientation, kind):
    from PIL import ImageOps

    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :8] = 255
    exif = Image.Exif()
    exif[274] = orientation
    data = stored(Image.fromarray(pixels), kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data, name="a"), expected)
    assert expected.shape[:2] == ((16, 24) if orientation < 5 else (24, 16))


def test_whole_numbers_of_more_than_sixteen_bits_are_refused():
    deep = np.full((3, 3), 70_000, np.int32)
    with pytest.raises(ValueError, match=r"a\.tif has whole numbers of more than 16 bits"):
        decode_image(stored(Image.fromarray(deep), "TIFF"), name="a.tif")
    fine = decode_image(stored(Image.fromarray(deep - 10_000), "TIFF"), name="a.tif")
    assert fine.tolist() == [[60_000 // 256] * 3] * 3


def test_names_in_messages_steer_no_terminal_and_streams_are_not_named():
    with pytest.raises(ValueError) as raised:
        decode_image(b"no image", name="a\x1b[2J\u202e.png")
    said = str(raised.value)
    assert said.startswith(r"a\x1b[2J\u202e.png cannot be decoded as an image (its bytes are none")
    assert "BytesIO" not in said and said.isprintable()


def test_the_aspect_ratio_may_be_kept():
    wide = np.tile(np.arange(8, dtype=np.uint8) * 30, (4, 1))
    assert resize_image(wide, 4, fit="crop").tolist() == [[60, 90, 120, 150]] * 4
    padded = resize_image(wide[:, :, None], 8, fit="pad")
    np.testing.assert_array_equal(padded[..., 0], np.tile(wide[:1], (8, 1)))
    tall = resize_image(np.ascontiguousarray(wide.T), 8, fit="pad")
    np.testing.assert_array_equal(tall, np.tile(wide[:1], (8, 1)).T)
    np.testing.assert_array_equal(resize_image(wide, 4), resize_image(wide, 4, fit="stretch"))
    with pytest.raises(ValueError, match="got fit='squash', expected one of stretch, crop, pad"):
        resize_image(wide, 4, fit="squash")


def _photos(folder):
    """Five classes, whose images are wide, with a dark middle."""
    image = np.full((6, 12), 200, np.uint8)
    image[:, 3:9] = 10
    return write(folder, {f"class{c}/1.png": encode(image) for c in range(5)})


def test_folders_are_fitted_as_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path / "cache"))
    folder = _photos(tmp_path / "set")
    found = {f: load(f"folder:{folder}", size=6, fit=f).train.examples for f in ("stretch", "crop")}
    assert float(found["crop"].max()) == 10 < float(found["stretch"].max())
    with pytest.raises(ValueError, match="without a size, so nothing is scaled"):
        load_folder(folder, fit="pad")
    with pytest.raises(ValueError, match=r"got fit=crop for .*arrays are taken as they are"):
        load("arrays:a.npz", fit="crop")
    with pytest.raises(ValueError, match="for glyphs, whose images are square"):
        load("glyphs", fit="crop")


def test_what_is_left_out_is_named_once(tmp_path):
    files = {f"class{c}/1.png": encode(grey(c)) for c in range(5)}
    files |= {f"class{c}/{n}.HEIC": b"" for c in range(5) for n in range(2)}
    files |= {"class0/notes": b"", "readme.txt": b"", "class1/.hidden.mat": b""}
    folder = write(tmp_path / "set", files)
    with pytest.warns(UserWarning, match=r"left out 10 \.heic, 1 without a suffix, which") as told:
        load_folder(folder)
    assert len(told) == 1
    write(folder, {"class5/1.heic": b""})
    with pytest.raises(ValueError, match=r"class folder 'class5' .* no image \(.*\) but 1 \.heic"):
        load_folder(folder)


def test_deep_folders_and_links_are_followed(tmp_path):
    deep = "/".join("abcdefgh")
    names = [f"{deep}/class{c}/1.pgm" for c in range(5)]
    write(tmp_path / "set", {name: b"P5 2 2 255 abcd" for name in names})
    assert load_folder(tmp_path / "set").train.examples.shape == (3, 2, 2, 1)
    (tmp_path / "set" / "a" / "back").symlink_to(tmp_path / "set")
    (tmp_path / "link").symlink_to(tmp_path / "set" / deep)
    assert load_folder(tmp_path / "set").train.examples.shape == (3, 2, 2, 1)
    (tmp_path / "set" / deep / "class9").symlink_to(tmp_path / "set" / deep / "class1")
    parts = load_folder(tmp_path / "link").info["classes"].values()
    assert "class9" in [name for names in parts for name in names]
    for name in "uvwxyz":
        (tmp_path / "net" / name).mkdir(parents=True)
        for other in "uvwxyz":
            (tmp_path / "net" / name / other).symlink_to(tmp_path / "net" / other)
    with pytest.raises(ValueError, match="is a link inside 4 other links"):
        load_folder(tmp_path / "net")

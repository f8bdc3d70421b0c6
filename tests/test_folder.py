"""Folders and zips of images: layouts, splits, decoding, and what is refused."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from realdata import require

from jmeta.data._archives import (
    MAX_PIXELS,
    check_member,
    decode_image,
    file_digest,
    open_zip,
    read_member,
    resize_image,
)
from jmeta.data._division import divide_classes, read_split_lists
from jmeta.data._folder import find_classes, folder_digest, load_folder


def _encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def _grey(value: int, height: int = 6, width: int = 6) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def _classes(prefix: str = "", classes: int = 5, images: int = 3) -> dict[str, bytes]:
    """Image i of class c is all 10 c + i."""
    return {
        f"{prefix}class{c}/{i}.png": _encode(_grey(10 * c + i))
        for c in range(classes)
        for i in range(images)
    }


def _values(data, part: str) -> dict[str, list[int]]:
    """Class name -> the first pixel of each of its images."""
    pool = getattr(data, part)
    first = np.asarray(pool.examples)[:, 0, 0, 0]
    return {
        name: first[start : start + count].tolist()
        for name, start, count in zip(
            data.info["classes"][part], pool.starts.tolist(), pool.counts.tolist(), strict=True
        )
    }


def _all_values(data) -> dict[str, list[int]]:
    return _values(data, "train") | _values(data, "val") | _values(data, "test")


_NOISE = _encode(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8))
EXPECTED = {f"class{c}": [10 * c, 10 * c + 1, 10 * c + 2] for c in range(5)}


@pytest.mark.parametrize("prefix", ["", "top/", "top/inner/"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_image_lands_in_its_class(tmp_path, prefix, zipped):
    files = _classes(prefix) | {f"{prefix}readme.txt": b"hello", "__MACOSX/._x.png": b"junk"}
    path = _zip(tmp_path / "set.zip", files) if zipped else _write(tmp_path / "set", files)
    data = load_folder(path)
    assert _all_values(data) == EXPECTED
    assert data.train.examples.shape == (9, 6, 6, 1)
    assert data.train.examples.dtype == np.uint8
    assert data.info["image"] == [6, 6, 1]
    assert data.info["source"] == str(path)


def test_own_parts_are_kept(tmp_path):
    files = {
        f"{part}/{label}/1.png": _encode(_grey(value))
        for value, (part, label) in enumerate(
            [("train", "cat"), ("train", "dog"), ("valid", "owl"), ("test", "bee")]
        )
    }
    data = load_folder(_write(tmp_path, files))
    assert data.info["classes"] == {"train": ["cat", "dog"], "val": ["owl"], "test": ["bee"]}
    assert data.info["split"] == "own folders"
    assert _all_values(data) == {"cat": [0], "dog": [1], "owl": [2], "bee": [3]}


def test_a_class_in_two_parts_is_refused(tmp_path):
    files = {f"{part}/cat/1.png": _encode(_grey(1)) for part in ("train", "test")}
    with pytest.raises(ValueError, match="'cat' in both train and test"):
        load_folder(_write(tmp_path, files))


def test_split_lists_choose_the_classes(tmp_path):
    _write(tmp_path / "set", _classes())
    lists = {"train.txt": b"class3\nclass1\n", "test.txt": b"class0\n\n"}
    data = load_folder(tmp_path / "set", split=_write(tmp_path / "lists", lists))
    assert data.info["classes"] == {"train": ["class3", "class1"], "val": [], "test": ["class0"]}
    assert data.val is None
    assert _values(data, "train") == {name: EXPECTED[name] for name in ("class3", "class1")}
    (tmp_path / "lists" / "test.txt").write_text("class9")
    with pytest.raises(ValueError, match=r"lists 1 classes that it does not have.*'class9'"):
        load_folder(tmp_path / "set", split=tmp_path / "lists")
    (tmp_path / "lists" / "test.txt").unlink()
    with pytest.raises(ValueError, match=r"test\.txt is missing or empty"):
        load_folder(tmp_path / "set", split=tmp_path / "lists")


def test_division_is_seeded_disjoint_and_complete():
    names = [f"class{c}" for c in range(101)]
    one, other = divide_classes(names), divide_classes(names, seed=1)
    assert {part: len(group) for part, group in one.items()} == {"train": 65, "val": 16, "test": 20}
    assert sorted(name for group in one.values() for name in group) == sorted(names)
    assert one == divide_classes(names[::-1])
    assert one != other


@pytest.mark.parametrize("split", [(0.5, 0.5), (0.5, 0.1, 0.1), (1.0, 0.0, 0.0), (-0.2, 0.6, 0.6)])
def test_fractions_are_checked(split):
    with pytest.raises(ValueError, match="three fractions"):
        divide_classes(["a", "b", "c"], split=split)


def test_too_few_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 classes for 3 parts"):
        load_folder(_write(tmp_path, _classes(classes=2)))
    assert divide_classes(["a", "b"], split=(0.5, 0, 0.5))["val"] == []


def test_colour_grey_and_channels(tmp_path):
    colour = np.dstack([_grey(200), _grey(100), _grey(0)])
    _write(tmp_path, _classes(classes=3) | {"class0/9.png": _encode(colour)})
    mixed = load_folder(tmp_path)
    assert mixed.info["image"] == [6, 6, 3]
    parts = [pool for pool in (mixed.train, mixed.val, mixed.test) if pool is not None]
    examples = np.concatenate([np.asarray(pool.examples) for pool in parts])
    assert any(np.array_equal(image, colour) for image in examples)
    assert any((image == 21).all() for image in examples)
    assert load_folder(tmp_path, channels=1).info["image"] == [6, 6, 1]
    with pytest.raises(ValueError, match="channels=4"):
        load_folder(tmp_path, channels=4)


def test_mixed_sizes_need_size(tmp_path):
    _write(tmp_path, _classes(classes=3) | {"class1/9.png": _encode(_grey(5, 8, 4))})
    with pytest.raises(ValueError, match=r"class1/9\.png is \(8, 4\); give `size`"):
        load_folder(tmp_path)
    data = load_folder(tmp_path, size=5)
    assert data.info["image"] == [5, 5, 1]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP"])
def test_formats_are_decoded(kind):
    image = decode_image(_encode(_grey(128), kind), name="grey", mode="L")
    assert image.shape == (6, 6)
    assert np.abs(image.astype(int) - 128).max() <= 2


def test_two_level_and_sixteen_bit_images():
    two = np.eye(4, dtype=bool)
    np.testing.assert_array_equal(decode_image(_encode(two), name="two"), two * np.uint8(255))
    np.testing.assert_array_equal(
        decode_image(_encode(two), name="two", mode="1"), two * np.uint8(255)
    )
    deep = np.full((2, 2), 40_000, np.uint16)
    np.testing.assert_array_equal(decode_image(_encode(deep), name="deep"), deep // 256)


def test_resize_keeps_the_axes():
    assert resize_image(_grey(3), 4).shape == (4, 4)
    assert resize_image(_grey(3)[..., None], 4).shape == (4, 4, 1)
    assert resize_image(np.dstack([_grey(3)] * 3), 4).shape == (4, 4, 3)
    with pytest.raises(ValueError, match="images must be uint8"):
        resize_image(np.zeros((2, 2), np.float32), 4)
    with pytest.raises(ValueError, match="size at least 1"):
        resize_image(_grey(3), 0)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="there is no zip file"):
        load_folder(tmp_path / "nowhere.zip")
    with pytest.raises(ValueError, match="holds no image"):
        load_folder(tmp_path)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_class_without_images_is_named(tmp_path, zipped):
    files = _classes() | {"empty/notes.txt": b"none"}
    path = _zip(tmp_path / "set.zip", files) if zipped else _write(tmp_path / "set", files)
    with pytest.raises(ValueError, match="class folder 'empty'"):
        load_folder(path)


def test_an_image_out_of_place_is_named(tmp_path):
    _write(tmp_path, _classes() | {"class1/deeper/1.png": _encode(_grey(1))})
    with pytest.raises(ValueError, match=r"class1/deeper/1\.png' in an unexpected place"):
        load_folder(tmp_path)


@pytest.mark.parametrize("data", [b"", b"text", _NOISE[:300]])
def test_an_undecodable_image_is_named(tmp_path, data):
    _write(tmp_path, _classes() | {"class2/bad.png": data})
    with pytest.raises(ValueError, match=r"class2/bad\.png cannot be decoded"):
        load_folder(tmp_path)


@pytest.mark.parametrize("name", ["/abs/1.png", "../1.png", "a/../../1.png", "C:/1.png", "..\\1"])
def test_members_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="leaves the archive's own folder"):
        check_member(name, archive="a.zip")
    path = _zip(tmp_path / "a.zip", {name: b"x"})
    with pytest.raises(ValueError, match="leaves the archive's own folder"):
        open_zip(path)


def test_damaged_zips_are_named(tmp_path):
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"broken\.zip is not a readable zip"):
        load_folder(broken)
    path = _zip(tmp_path / "flipped.zip", {"a/1.png": bytes(2000)})
    data = bytearray(path.read_bytes())
    data[500] ^= 255
    path.write_bytes(bytes(data))
    with open_zip(path) as archive, pytest.raises(ValueError, match=r"damaged at 'a/1\.png'"):
        read_member(archive, "a/1.png")
    with open_zip(path) as archive, pytest.raises(ValueError, match=r"damaged at 'b\.png'"):
        read_member(archive, "b.png")


def test_bombs_are_refused(tmp_path, monkeypatch):
    path = _zip(tmp_path / "bomb.zip", {"a/1.png": bytes(1000)})
    monkeypatch.setattr("jmeta.data._archives.MAX_MEMBER_BYTES", 999)
    with pytest.raises(ValueError, match=r"unpacks 'a/1\.png' to 1000 bytes"):
        open_zip(path)
    wide = _encode(np.zeros((1, MAX_PIXELS // 1000), np.uint8))
    monkeypatch.setattr("jmeta.data._archives.MAX_PIXELS", 49_999)
    with pytest.raises(ValueError, match="wide is 50000x1 pixels"):
        decode_image(wide, name="wide")


def test_digests_follow_the_content(tmp_path):
    folder, archive = _write(tmp_path / "a", _classes()), _zip(tmp_path / "a.zip", _classes())
    before = folder_digest(folder)
    assert before == folder_digest(folder)
    assert folder_digest(archive) == file_digest(archive)
    (folder / "class0" / "0.png").write_bytes(b"longer or shorter")
    assert folder_digest(folder) != before


def test_real_caltech101_has_the_classes_of_its_lists(tmp_path):
    root = require("caltech101")
    wanted = read_split_lists(root.parent / "splits" / "caltech101_fewshot")
    assert [len(wanted[part]) for part in ("train", "val", "test")] == [61, 15, 25]
    path = root / "caltech101_84x84.zip"
    with open_zip(path) as archive:
        files = find_classes(path, archive).files
    assert sum(len(group) for group in files.values()) == 8677
    assert set(files) == {name for names in wanted.values() for name in names}
    few = {"train.txt": b"inline_skate", "test.txt": b"Leopards"}
    data = load_folder(path, split=_write(tmp_path, few))
    assert data.train.examples.shape == (31, 84, 84, 3)
    assert data.test.examples.shape == (200, 84, 84, 3)

"""Folders and zips of images: layouts, splits, decoding, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from pictures import encode, grey, make_zip, write
from realdata import require

from jmeta.data._archives import open_zip, read_member
from jmeta.data._digests import file_digest
from jmeta.data._division import divide_classes, read_split_lists
from jmeta.data._folder import folder_digest, load_folder
from jmeta.data._layout import find_classes


def _classes(prefix: str = "", classes: int = 5, images: int = 3) -> dict[str, bytes]:
    """Image i of class c is all 10 c + i."""
    return {
        f"{prefix}class{c}/{i}.png": encode(grey(10 * c + i))
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


_NOISE = encode(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8))
EXPECTED = {f"class{c}": [10 * c, 10 * c + 1, 10 * c + 2] for c in range(5)}


@pytest.mark.parametrize("prefix", ["", "top/", "top/inner/"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_image_lands_in_its_class(tmp_path, prefix, zipped):
    files = _classes(prefix) | {f"{prefix}readme.txt": b"hello", "__MACOSX/._x.png": b"junk"}
    path = make_zip(tmp_path / "set.zip", files) if zipped else write(tmp_path / "set", files)
    data = load_folder(path)
    assert _all_values(data) == EXPECTED
    assert data.train.examples.shape == (9, 6, 6, 1)
    assert data.train.examples.dtype == np.uint8
    assert data.info["shape"] == [6, 6, 1]
    assert data.info["source"] == str(path)


def test_own_parts_are_kept(tmp_path):
    files = {
        f"{part}/{label}/1.png": encode(grey(value))
        for value, (part, label) in enumerate(
            [("train", "cat"), ("train", "dog"), ("valid", "owl"), ("test", "bee")]
        )
    }
    data = load_folder(write(tmp_path, files))
    assert data.info["classes"] == {"train": ["cat", "dog"], "val": ["owl"], "test": ["bee"]}
    assert data.info["split"] == "own folders"
    assert _all_values(data) == {"cat": [0], "dog": [1], "owl": [2], "bee": [3]}


def test_a_class_in_two_parts_is_refused(tmp_path):
    files = {f"{part}/cat/1.png": encode(grey(1)) for part in ("train", "test")}
    with pytest.raises(ValueError, match=r"'cat' in both train and test.* give fractions as the"):
        load_folder(write(tmp_path, files))


@pytest.mark.parametrize("zipped", [False, True])
def test_a_split_divides_the_classes_of_own_parts_anew(tmp_path, zipped):
    """Case 14: a class that train/ and test/ share is one class; the split given is used."""
    files = {
        f"{part}/class{c}/{part}.png": encode(grey(10 * c + (part == "train")))
        for part in ("train", "test")
        for c in range(5)
    } | {"test/class5/1.png": encode(grey(50))}
    path = make_zip(tmp_path / "set.zip", files) if zipped else write(tmp_path / "set", files)
    with pytest.raises(ValueError, match="'class0' in both train and test"):
        load_folder(path)
    data = load_folder(path, split=(0.5, 0.2, 0.3), seed=1)
    assert data.info["split"] == "random 0.5/0.2/0.3 seed 1"
    names = [f"class{c}" for c in range(6)]
    assert data.info["classes"] == divide_classes(names, split=(0.5, 0.2, 0.3), seed=1)
    together = {f"class{c}": [10 * c, 10 * c + 1] for c in range(5)}
    assert _all_values(data) == together | {"class5": [50]}
    lists = write(tmp_path / "lists", {"train.txt": b"class5", "test.txt": b"class1"})
    listed = load_folder(path, split=lists)
    assert (_values(listed, "train"), _values(listed, "test")) == (
        {"class5": [50]},
        {"class1": [10, 11]},
    )


def test_own_parts_without_a_test_folder_are_named(tmp_path):
    files = {f"{part}/{part}s/1.png": encode(grey(1)) for part in ("train", "val")}
    with pytest.raises(ValueError, match="1 classes to train and 0 to test"):
        load_folder(write(tmp_path, files))


def test_split_lists_choose_the_classes(tmp_path):
    write(tmp_path / "set", _classes())
    lists = {"train.txt": b"class3\nclass1\n", "test.txt": b"class0\n\n"}
    data = load_folder(tmp_path / "set", split=write(tmp_path / "lists", lists))
    assert data.info["classes"] == {"train": ["class3", "class1"], "val": [], "test": ["class0"]}
    assert data.val is None
    assert _values(data, "train") == {name: EXPECTED[name] for name in ("class3", "class1")}
    (tmp_path / "lists" / "test.txt").write_text("class9")
    with pytest.raises(ValueError, match=r"lists 1 classes that it does not have.*'class9'"):
        load_folder(tmp_path / "set", split=tmp_path / "lists")
    (tmp_path / "lists" / "test.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"test\.txt cannot be read as UTF-8"):
        load_folder(tmp_path / "set", split=tmp_path / "lists")
    (tmp_path / "lists" / "test.txt").unlink()
    with pytest.raises(ValueError, match=r"test\.txt is missing or empty"):
        load_folder(tmp_path / "set", split=tmp_path / "lists")


def test_lists_with_a_byte_order_mark_are_read(tmp_path):
    for part, name in (("train", "class3"), ("test", "class0")):
        (tmp_path / f"{part}.txt").write_text(f"{name}\n", encoding="utf-8-sig")
    assert read_split_lists(tmp_path) == {"train": ["class3"], "val": [], "test": ["class0"]}


@pytest.mark.parametrize("split", ["vinyals", Path("nowhere")])
def test_a_split_that_is_no_folder_is_refused(tmp_path, split):
    with pytest.raises(ValueError, match=r"got the split '.*three fractions such as"):
        load_folder(write(tmp_path, _classes()), split=split)


def test_hidden_files_and_dead_links_are_passed_over(tmp_path):
    write(tmp_path, _classes() | {".cache/x/1.png": b"junk", "class1/.2.png": b"junk"})
    (tmp_path / "class0" / ".#1.png").symlink_to("nobody@host.1")
    (tmp_path / "class0" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "elsewhere").symlink_to("nowhere")
    assert len(folder_digest(tmp_path)) == 64
    assert _all_values(load_folder(tmp_path)) == EXPECTED


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
        load_folder(write(tmp_path, _classes(classes=2)))
    assert divide_classes(["a", "b"], split=(0.5, 0, 0.5))["val"] == []


def test_colour_grey_and_channels(tmp_path):
    colour = np.dstack([grey(200), grey(100), grey(0)])
    write(tmp_path, _classes(classes=3) | {"class0/9.png": encode(colour)})
    mixed = load_folder(tmp_path)
    assert mixed.info["shape"] == [6, 6, 3]
    parts = [pool for pool in (mixed.train, mixed.val, mixed.test) if pool is not None]
    examples = np.concatenate([np.asarray(pool.examples) for pool in parts])
    assert any(np.array_equal(image, colour) for image in examples)
    assert any((image == 21).all() for image in examples)
    assert load_folder(tmp_path, channels=1).info["shape"] == [6, 6, 1]
    with pytest.raises(ValueError, match="channels=4"):
        load_folder(tmp_path, channels=4)


def test_mixed_sizes_need_size(tmp_path):
    write(tmp_path, _classes(classes=3) | {"class1/9.png": encode(grey(5, 8, 4))})
    with pytest.raises(ValueError, match=r"class1/9\.png is \(8, 4\); give `size`, such as 4 \("):
        load_folder(tmp_path)
    data = load_folder(tmp_path, size=5)
    assert data.info["shape"] == [5, 5, 1]


def test_files_are_read_by_their_suffix(tmp_path):
    kinds = {"tif": "TIFF", "tiff": "TIFF", "jfif": "JPEG", "PNG": "PNG"}
    files = {f"{suffix}s/1.{suffix}": encode(grey(9), kind) for suffix, kind in kinds.items()}
    assert set(_all_values(load_folder(write(tmp_path, files)))) == {f"{s}s" for s in kinds}


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"there is no file .*nowhere"):
        load_folder(tmp_path / "nowhere.zip")
    with pytest.raises(ValueError, match="holds no image"):
        load_folder(tmp_path)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_class_without_images_is_named(tmp_path, zipped):
    files = _classes() | {"empty/notes.txt": b"none"}
    path = make_zip(tmp_path / "set.zip", files) if zipped else write(tmp_path / "set", files)
    with pytest.raises(ValueError, match="class folder 'empty'"):
        load_folder(path)


def test_an_image_out_of_place_is_named(tmp_path):
    write(tmp_path, _classes() | {"class1/deeper/1.png": encode(grey(1))})
    with pytest.raises(ValueError, match=r"class1/deeper/1\.png' in an unexpected place"):
        load_folder(tmp_path)


@pytest.mark.parametrize("data", [b"", b"text", _NOISE[:300]])
def test_an_undecodable_image_is_named(tmp_path, data):
    write(tmp_path, _classes() | {"class2/bad.png": data})
    with pytest.raises(ValueError, match=r"class2/bad\.png cannot be decoded"):
        load_folder(tmp_path)


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    write(tmp_path, _classes())
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ValueError, match=r"class0/0\.png cannot be read \(Permission denied\)"):
        load_folder(tmp_path)


def test_damaged_zips_are_named(tmp_path):
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"broken\.zip is not a readable zip"):
        load_folder(broken)
    path = make_zip(tmp_path / "flipped.zip", {"a/1.png": bytes(2000)})
    data = bytearray(path.read_bytes())
    data[500] ^= 255
    path.write_bytes(bytes(data))
    with open_zip(path) as archive, pytest.raises(ValueError, match=r"damaged at 'a/1\.png'"):
        read_member(archive, "a/1.png")
    with open_zip(path) as archive, pytest.raises(ValueError, match=r"damaged at 'b\.png'"):
        read_member(archive, "b.png")


def test_digests_follow_the_content(tmp_path):
    folder, archive = write(tmp_path / "a", _classes()), make_zip(tmp_path / "a.zip", _classes())
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
    data = load_folder(path, split=write(tmp_path, few))
    assert data.train.examples.shape == (31, 84, 84, 3)
    assert data.test.examples.shape == (200, 84, 84, 3)

"""Omniglot: splits, reading zips and folders, the cache, and the real set where it is at hand."""

import io
import os
import time
import zipfile

import numpy as np
import pytest
from PIL import Image
from realdata import require

from jmeta.data._omniglot import (
    LAKE_VALIDATION,
    _rows,
    load_omniglot,
    omniglot_dataset,
    omniglot_images,
)
from jmeta.data._omniglot_files import copy_parts, has_omniglot, source_digest
from jmeta.data._pool import split_hash

HASHES = {
    "vinyals": "c2152a515822906e6aa5bc4dc60a56bd57792ee5ca59e8daa1b7ca8c14df8466",
    "lake": "d922ccf0795db2395037b08a31c20ca483b3622ad7921a1b115c0043dd4ce9f8",
    "random": "46d8d521ec8c2484cd5a701db18b12ebf6fe589dc86e9bd015fbd1c87f410c4a",
}
SHARED = os.environ["JMETA_CACHE"]
SIZES = {"vinyals": (1028, 172, 423), "lake": (828, 136, 659), "random": (1100, 100, 423)}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path / "cache"))


def _names():
    return [c for row in _rows() for c in row.characters]


def _images():
    """All 1623 names, two tiny drawings each, marked with the name's place."""
    places = enumerate(_names())
    return {c: np.full((2, 2, 2), i % 251, np.uint8) for i, c in places}


def _png(i, side=5):
    pixels = np.full((side, side), 255, np.uint8)
    pixels[i % side] = 0
    stream = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(stream, "PNG")
    return stream.getvalue()


def _drawings(part):
    """Member name -> bytes: every character of one of Lake's sets, two drawings each."""
    return {
        f"images_{part}/{c}/{i:04d}_{d:02d}.png": _png(d)
        for row in _rows()
        if row.lake == part
        for i, c in enumerate(row.characters)
        for d in (1, 2)
    }


def _zip(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    """A whole synthetic Omniglot: <root>/omniglot/*.zip."""
    root = tmp_path_factory.mktemp("data")
    for part in ("background", "evaluation"):
        _zip(root / "omniglot" / f"images_{part}.zip", _drawings(part))
    return root


def _few(folder, extra=None):
    """Two parts of one character each, plus extra members in the first."""
    first = {"images_background/Greek/character01/0001_01.png": _png(1), **(extra or {})}
    _zip(folder / "images_background.zip", first)
    _zip(folder / "images_evaluation.zip", {"images_evaluation/ULOG/character01/9_01.png": _png(2)})
    return folder


@pytest.mark.parametrize("split", list(HASHES))
def test_splits_have_their_hash_sizes_and_no_overlap(split):
    dataset = omniglot_dataset(_images(), split=split)
    classes = dataset.info["classes"]
    assert dataset.info["hash"] == HASHES[split] == split_hash(classes)
    pools = (dataset.train, dataset.val, dataset.test)
    assert tuple(p.starts.shape[0] for p in pools) == SIZES[split]
    assert sorted(c for part in classes.values() for c in part) == sorted(_names())
    mark = {c: i % 251 for i, c in enumerate(_names())}
    for pool, names in zip(pools, classes.values(), strict=True):
        first = np.asarray(pool.examples)[np.asarray(pool.starts), 0, 0, 0]
        assert first.tolist() == [mark[c] for c in names]
        assert len(pool.group_sizes) == len({c.split("/")[0] for c in names})
    assert dataset.info["shape"] == [2, 2, 1]
    assert dataset.info["seed"] == (0 if split == "random" else None)


def test_lake_holds_out_whole_alphabets():
    classes = omniglot_dataset(_images(), split="lake").info["classes"]
    alphabets = {part: {c.split("/")[0] for c in names} for part, names in classes.items()}
    assert {part: len(a) for part, a in alphabets.items()} == {"train": 25, "val": 5, "test": 20}
    assert alphabets["val"] == set(LAKE_VALIDATION)
    assert not alphabets["train"] & alphabets["test"]


def test_random_split_follows_its_seed():
    one, two = (omniglot_dataset(_images(), split="random", seed=s).info for s in (1, 2))
    assert one["hash"] != two["hash"]
    assert one["seed"] == 1


def test_names_must_be_omniglots():
    images = _images()
    images["Klingon/character01"] = images.pop("Greek/character01")
    with pytest.raises(ValueError, match=r"1 are missing .*Greek/character01.* 1 are unknown"):
        omniglot_dataset(images)
    for split in ("mini", "", (0.5, 0.25, 0.25)):
        with pytest.raises(ValueError, match="expected one of vinyals, lake, random"):
            load_omniglot(split=split)


def test_load_reads_zips_once_and_rebuilds_a_damaged_cache(zipped, tmp_path, monkeypatch):
    first = load_omniglot(zipped, split="lake", size=4)
    assert first.train.examples.shape == (828 * 2, 4, 4, 1)
    assert first.train.examples.dtype == np.uint8
    (kept,) = (tmp_path / "cache" / "prepared").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr("jmeta.data._omniglot.omniglot_images", None)  # not called again
        again = load_omniglot(zipped / "omniglot", split="lake", size=4)
    np.testing.assert_array_equal(first.test.examples, again.test.examples)
    kept.write_bytes(kept.read_bytes()[:1000])
    rebuilt = load_omniglot(zipped, split="lake", size=4)
    np.testing.assert_array_equal(first.test.examples, rebuilt.test.examples)
    assert kept.stat().st_size > 1000


def test_ink_is_255_and_drawings_are_sorted(tmp_path):
    more = {"images_background/Greek/character01/0001_03.png": _png(3)}
    images = omniglot_images(_few(tmp_path, more), size=5)
    assert list(images) == ["Greek/character01", "ULOG/character01"]
    assert images["Greek/character01"].dtype == np.uint8
    assert images["Greek/character01"].argmax(1).tolist() == [[1] * 5, [3] * 5]
    assert images["Greek/character01"].sum() == 2 * 5 * 255


def test_both_parts_are_copied_or_one_is_missed(tmp_path):
    source, target = _few(tmp_path / "given" / "omniglot"), tmp_path / "root" / "omniglot"
    assert has_omniglot(source) and has_omniglot(source.parent)
    copy_parts(source.parent, target)
    copy_parts(target, target)  # onto itself
    assert [path.name for path in sorted(target.iterdir())] == [
        "images_background.zip",
        "images_evaluation.zip",
    ]
    assert source_digest(target) == source_digest(source)
    (target / "images_background.zip").unlink()
    assert not has_omniglot(target.parent)
    with pytest.raises(ValueError, match=r"found only images_evaluation\.zip in .*root/omniglot"):
        copy_parts(target, source)


@pytest.mark.parametrize("nested", ["", "images_background"])
def test_folders_give_what_zips_give(tmp_path, nested):
    zips = _few(tmp_path / "zips")
    folder = tmp_path / "folders"
    for part, inner in (("images_background", nested), ("images_evaluation", "")):
        with zipfile.ZipFile(zips / f"{part}.zip") as archive:
            for name in archive.namelist():
                path = folder / part / inner / name.split("/", 1)[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
    one, two = omniglot_images(zips, size=7), omniglot_images(folder, size=7)
    assert list(one) == list(two)
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_dead_links_beside_the_drawings_are_passed_over(tmp_path):
    for name, data in (_drawings("background") | _drawings("evaluation")).items():
        path = tmp_path / "omniglot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    before = source_digest(tmp_path / "omniglot")
    path.with_name(".#1.png").symlink_to("nobody@host.1")
    path.with_name("9999_99.png").symlink_to("nowhere.png")
    assert source_digest(tmp_path / "omniglot") == before
    assert load_omniglot(tmp_path, size=4).train.largest == 2


def test_junk_beside_the_drawings_is_ignored(tmp_path):
    junk = {
        "__MACOSX/images_background/Greek/character01/._0001_01.png": b"junk",
        "images_background/Greek/character01/readme.txt": b"junk",
        "images_background/cover.png": b"junk",
    }
    assert omniglot_images(_few(tmp_path, junk))["Greek/character01"].shape == (1, 28, 28)


@pytest.mark.parametrize("name", ["../Greek/character01/1.png", "/Greek/character01/1.png"])
def test_archives_that_leave_their_folder_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"images_background\.zip has the member"):
        omniglot_images(_few(tmp_path, {name: _png(1)}))


def test_damage_is_named(tmp_path):
    bad = "images_background/Greek/character01/0001_02.png"
    with pytest.raises(ValueError, match=r"0001_02\.png cannot be decoded"):
        omniglot_images(_few(tmp_path, {bad: _png(1)[:45]}))
    path = tmp_path / "images_background.zip"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"images_background\.zip is not a readable zip"):
        omniglot_images(tmp_path)


def test_missing_files_say_where_and_how(tmp_path):
    with pytest.raises(ValueError, match=r"found no Omniglot in .*omniglot: put images_background"):
        load_omniglot(tmp_path)
    _few(tmp_path)
    (tmp_path / "images_evaluation.zip").unlink()
    with pytest.raises(ValueError, match=r"found only images_background\.zip"):
        load_omniglot(tmp_path)
    with pytest.raises(ValueError, match="size=0"):
        omniglot_images(tmp_path, size=0)


def test_incomplete_omniglot_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got 2 characters, expected Omniglot's 1623"):
        load_omniglot(_few(tmp_path))


def test_real_omniglot(monkeypatch):
    monkeypatch.setenv("JMETA_CACHE", SHARED)  # tests of presets read the same drawings
    root = require("omniglot").parent
    dataset = load_omniglot(root)
    start = time.perf_counter()
    assert load_omniglot(root, split="lake").info["hash"] == HASHES["lake"]
    assert time.perf_counter() - start < 2  # from the cache
    pools = (dataset.train, dataset.val, dataset.test)
    assert [p.examples.shape[0] for p in pools] == [20 * n for n in SIZES["vinyals"]]
    assert all(p.smallest == p.largest == 20 for p in pools)
    pixels = np.asarray(dataset.train.examples)
    assert 15 < pixels.mean() < 30  # ink is 255, most of a drawing is background
    assert np.median(pixels) == 0
    assert pixels.max((1, 2, 3)).min() > 50  # no blank drawing


def test_real_vinyals_list_is_ours():
    folder = require("splits/omniglot_vinyals_norot")
    parts = {p: (folder / f"{p}.txt").read_text().split() for p in ("train", "val", "test")}
    assert split_hash(parts) == HASHES["vinyals"]

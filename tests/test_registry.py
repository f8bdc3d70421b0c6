"""Data sets by name: loading, listing, describing and preparing them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from realdata import require

import jmeta.data._registry as module
from jmeta.data._listing import available, describe, prepare
from jmeta.data._paths import writable_root
from jmeta.data._pool import pool_from_classes
from jmeta.data._registry import load


@pytest.fixture(scope="module")
def omniglot() -> Path:
    """The real zips, looked for before `root` changes the environment."""
    return require("omniglot")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    """An empty root and an empty cache."""
    monkeypatch.setenv("JMETA_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def _images(folder: Path) -> None:
    for label in range(5):
        (folder / f"class{label}").mkdir(parents=True)
        for index in range(2):
            Image.new("L", (4, 4), 10 * label + index).save(folder / f"class{label}/{index}.png")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("omniglott", "did you mean 'omniglot'"),
        ("glyph", "did you mean 'glyphs'"),
        ("zzz", "Known: glyphs, omniglot, tfds:<name>, folder:<path>, arrays:<path.npz>"),
        ("zzz", "table:<path.csv>, sinusoid, harmonic, sinusoid-or-line, step, damped, gp"),
        ("zzz", "there is no data set 'zzz'. Known: glyphs"),
        ("folder:", "there is no data set 'folder:'; did you mean 'folder:<path>'"),
        ("tabel:a/long/path/to.csv", r"; did you mean 'table:<path.csv>'\? Known: glyphs"),
        ("sinusoid", "family of functions"),
        ("step", "family of functions.*sample_step"),
    ],
)
def test_unknown_names_get_a_hint(name, hint):
    with pytest.raises(ValueError, match=hint):
        load(name)


def test_folders_are_found_under_the_root_and_prepared(root, monkeypatch):
    _images(root / "mine" / "images")
    one = load("folder:mine/images")
    assert one.info["split"] == "random 0.64/0.16/0.2 seed 0"
    facts = prepare("folder:mine/images", seed=3, size=2)
    assert facts["parts"]["train"]["classes"] == 3
    assert facts["shape"] == [2, 2, 1]
    assert facts["where"] == str(root / "mine" / "images")
    json.dumps(facts)
    fresh = module.load_folder(root / "mine" / "images", seed=3, size=2)
    monkeypatch.setattr(module, "load_folder", None)  # from here on only the cache can answer
    again = load("folder:mine/images", seed=3, size=2)
    assert again.info == fresh.info
    np.testing.assert_array_equal(again.train.examples, fresh.train.examples)


def test_a_changed_folder_is_read_again(root):
    _images(root / "mine")
    prepare("folder:mine")
    Image.new("L", (4, 4), 99).save(root / "mine/class0/extra.png")
    data = load("folder:mine")
    assert 99 in np.concatenate(
        [np.asarray(pool.examples).ravel() for pool in (data.train, data.val, data.test)]
    )


def test_splits_are_read_from_text_or_lists(root):
    _images(root / "mine")
    (root / "lists").mkdir()
    (root / "lists" / "train.txt").write_text("class4")
    (root / "lists" / "test.txt").write_text("class0")
    listed = load("folder:mine", split="lists")
    assert listed.info["classes"] == {"train": ["class4"], "val": [], "test": ["class0"]}
    halves = load("folder:mine", split="0.6,0,0.4")
    assert (halves.train.counts.shape, halves.val) == ((3,), None)
    assert halves.info["hash"] == load("folder:mine", split=(0.6, 0.0, 0.4)).info["hash"]


def test_a_split_by_name_divides_own_parts_anew(root):
    """Case 14: it was ignored where the folder has train/ and test/."""
    for part, labels in (("train", range(6)), ("test", range(4, 8))):
        for label in labels:
            (root / "own" / part / f"c{label}").mkdir(parents=True)
            Image.new("L", (4, 4), label).save(root / "own" / part / f"c{label}/{part}.png")
    found = load("folder:own", split="0.5,0.25,0.25")
    assert found.info["split"] == "random 0.5/0.25/0.25 seed 0"
    assert {part: len(names) for part, names in found.info["classes"].items()} == {
        "train": 4,
        "val": 2,
        "test": 2,
    }
    prepare("folder:own", split="0.5,0.25,0.25")
    assert load("folder:own", split="0.5,0.25,0.25").info == found.info
    with pytest.raises(ValueError, match="'c4' in both train and test"):
        load("folder:own")


def test_absent_and_damaged_files_are_refused(root):
    with pytest.raises(ValueError, match="there is no file"):
        load("arrays:a.npz")
    (root / "a.npz").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz"):
        load("arrays:a.npz")
    with pytest.raises(ValueError, match="drop it"):
        load("arrays:a.npz", size=3)
    with pytest.raises(ValueError, match="there is no folder"):
        load("folder:nowhere")
    with pytest.raises(ValueError, match=r"there is no file .*nowhere"):
        load("folder:nowhere.zip")
    with pytest.raises(ValueError, match="found no Omniglot"):
        load("omniglot")
    with pytest.raises(ValueError, match="only omniglot and tfds:omniglot take one"):
        prepare("glyphs", source=root)


def test_tfds_by_name():
    with tfds.testing.mock_data(num_examples=60):
        facts = describe("tfds:mnist", size=14)
    assert facts["shape"] == [14, 14, 1]
    assert sum(part["examples"] for part in facts["parts"].values()) == 60
    json.dumps(facts)


def test_the_list_says_what_is_present(root):
    entries = {entry.name: entry for entry in available()}
    assert list(entries)[:3] == ["glyphs", "omniglot", "sinusoid"]
    assert entries["glyphs"].present and not entries["omniglot"].present
    assert entries["sinusoid"].kind == "functions"
    prepared = root / "tfds" / "mnist" / "3.0.1"
    prepared.mkdir(parents=True)
    (prepared / "mnist-train.array_record-00000-of-00001").touch()
    (prepared / "mnist-test.array_record-00000-of-00001").touch()
    names = [entry.name for entry in available() if entry.present]
    assert names.count("tfds:mnist") == 1


def test_glyphs_have_one_split(monkeypatch):
    pool = pool_from_classes([np.zeros((2, 5, 5, 1), np.uint8)])
    facts = {"split": "scripts", "hash": "h", "classes": {"train": ["a"], "val": [], "test": ["b"]}}
    made = module.Dataset("glyphs", pool, None, pool, facts)
    monkeypatch.setattr("jmeta.data._registry.load_glyphs", lambda *, size: made)
    assert load("glyphs", size=5) is made
    assert set(describe("glyphs")["parts"]) == {"train", "test"}
    with pytest.raises(ValueError, match="it has one split"):
        load("glyphs", split="vinyals")


@pytest.mark.slow
def test_omniglot_is_prepared_from_a_folder_of_zips(omniglot, root, tmp_path):
    facts = prepare("omniglot", source=omniglot)
    assert {part: counts["classes"] for part, counts in facts["parts"].items()} == {
        "train": 1028,
        "val": 172,
        "test": 423,
    }
    assert sorted(p.name for p in (root / "omniglot").iterdir()) == [
        "images_background.zip",
        "images_evaluation.zip",
    ]
    assert next(entry for entry in available() if entry.name == "omniglot").present
    assert load("omniglot", split="lake").train.counts.shape == (828,)
    os.rename(root / "omniglot", tmp_path / "cache" / "omniglot")  # as where the root is read-only
    assert load("omniglot", split="random", seed=1).info["seed"] == 1


def test_a_read_only_root_is_left_alone(root, tmp_path):
    assert writable_root() == root
    root.chmod(0o555)
    try:
        assert writable_root() == tmp_path / "cache"
    finally:
        root.chmod(0o755)


def test_importing_the_room_stays_light():
    heavy = ("tensorflow_datasets", "matplotlib", "flax", "PIL")
    code = f"import sys, jmeta.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_family_of_functions_is_described():
    found = describe("sinusoid")
    assert found["kind"] == "functions" and found["sampler"] == "jmeta.data.sample_sinusoid"

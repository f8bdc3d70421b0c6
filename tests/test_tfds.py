"""TFDS sets become pools without TensorFlow; Omniglot through TFDS is Omniglot from the zips."""

import io
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from realdata import require

import jmeta.data._tfds as module
from jmeta.data._images import resize_image
from jmeta.data._omniglot import load_omniglot, omniglot_images
from jmeta.data._pool import split_hash
from jmeta.data._tfds import load_tfds, prepare_tfds
from jmeta.data._tfds_omniglot import recover_drawings


def _by_label(name: str, examples: int) -> dict[str, list[np.ndarray]]:
    """The mocked set's own examples by class name."""
    builder = tfds.builder(name)
    names = builder.info.features["label"].names
    groups: dict[str, list[np.ndarray]] = {}
    source = builder.as_data_source(split="all")
    for index in range(examples):
        example = source[index]
        groups.setdefault(names[int(example["label"])], []).append(example["image"])
    return groups


@pytest.mark.parametrize(("name", "shape"), [("mnist", (28, 28, 1)), ("cifar10", (32, 32, 3))])
def test_any_classification_set_is_pooled_by_class(name, shape):
    with tfds.testing.mock_data(num_examples=60):
        data = load_tfds(name)
        expected = _by_label(name, 60)
    listed = [label for part in data.info["classes"].values() for label in part]
    assert sorted(listed) == sorted(expected)
    assert data.info["hash"] == split_hash(data.info["classes"])
    assert data.info["shape"] == list(shape)
    assert name in data.info["source"]
    for part, pool in (("train", data.train), ("val", data.val), ("test", data.test)):
        assert pool.examples.dtype == np.uint8
        for start, count, label in zip(
            pool.starts, pool.counts, data.info["classes"][part], strict=True
        ):
            images = np.asarray(pool.examples)[int(start) : int(start + count)]
            np.testing.assert_array_equal(images, np.stack(expected[label]))


def test_the_seed_and_the_fractions_decide_the_division():
    with tfds.testing.mock_data(num_examples=60):
        one, same, other = (load_tfds("mnist", seed=seed) for seed in (0, 0, 1))
        two_parts = load_tfds("mnist", split=(0.5, 0.0, 0.5))
    assert one.info["hash"] == same.info["hash"] != other.info["hash"]
    assert {part: len(names) for part, names in one.info["classes"].items()} == {
        "train": 6,
        "val": 2,
        "test": 2,
    }
    assert two_parts.val is None and two_parts.train.counts.shape == (5,)


def test_lists_of_class_names_decide_the_division(tmp_path):
    for part, names in (("train", "7\n3\n"), ("test", "5")):
        (tmp_path / f"{part}.txt").write_text(names)
    with tfds.testing.mock_data(num_examples=60):
        data = load_tfds("cifar10", split=tmp_path)
    assert data.info["classes"] == {"train": ["7", "3"], "val": [], "test": ["5"]}


def test_size_scales_and_mixed_sizes_need_it():
    with tfds.testing.mock_data(num_examples=60):
        assert load_tfds("cifar10", size=8).train.examples.shape[1:] == (8, 8, 3)
        with pytest.raises(ValueError, match="give `size`"):
            load_tfds("oxford_flowers102")
        assert load_tfds("oxford_flowers102", size=8).test.examples.shape[1:] == (8, 8, 3)


def test_errors_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="TFDS has no set 'no_such_set'"):
        load_tfds("no_such_set", data_dir=tmp_path)
    with pytest.raises(ValueError, match="run `jmeta data prepare tfds:mnist` once"):
        load_tfds("mnist", data_dir=tmp_path)
    with pytest.raises(ValueError, match="none of them a Image"):
        load_tfds("imdb_reviews", data_dir=tmp_path)
    with pytest.raises(ValueError, match="only 'omniglot' takes one"):
        prepare_tfds("mnist", data_dir=tmp_path, source=tmp_path)
    with pytest.raises(ValueError, match="expected one of vinyals, lake, random"):
        load_tfds("omniglot", data_dir=tmp_path, split=(0.5, 0.0, 0.5))
    with pytest.raises(ValueError, match="got split='', expected one of vinyals"):
        load_tfds("omniglot", data_dir=tmp_path, split="")
    assert "tensorflow" not in sys.modules


def _write_omniglot(folder: Path) -> None:
    """Two alphabets of two characters, 20 drawings each, in Omniglot's own layout."""
    random = np.random.default_rng(0)
    for start, (part, alphabet) in enumerate(
        [("images_background", "Greek"), ("images_evaluation", "Angelic")]
    ):
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for character in (1, 2):
                for drawing in range(1, 21):
                    stream = io.BytesIO()
                    pixels = random.integers(0, 2, (105, 105)).astype(bool)
                    Image.fromarray(pixels).save(stream, "PNG")
                    name = f"{2 * start + character:04d}_{drawing:02d}.png"
                    path = f"{part}/{alphabet}/character{character:02d}/{name}"
                    archive.writestr(path, stream.getvalue())


def _read_back(data_dir: Path, size: int) -> dict[str, np.ndarray]:
    builder = tfds.builder("omniglot", data_dir=str(data_dir), file_format="array_record")
    decoders = {"image": tfds.decode.SkipDecoding()}
    images = {}
    for part in ("train", "test"):
        source = builder.as_data_source(split=part, decoders=decoders)
        images |= recover_drawings(source, builder.info, part=part, size=size)
    return images


def test_omniglot_zips_survive_the_round_trip_through_tfds(tmp_path, monkeypatch):
    _write_omniglot(tmp_path)
    stock = sys.modules[tfds.builder_cls("omniglot").__module__]
    monkeypatch.setattr(stock, "_NUM_ALPHABETS", 2)
    monkeypatch.setattr(stock, "_NUM_CLASSES", 4)
    prepared = prepare_tfds("omniglot", source=tmp_path, data_dir=tmp_path / "tfds")
    assert prepared.parent.parent == tmp_path / "tfds"
    expected, images = omniglot_images(tmp_path, size=28), _read_back(tmp_path / "tfds", 28)
    assert set(images) == set(expected)
    for name in expected:
        np.testing.assert_array_equal(images[name], expected[name])
    with pytest.raises(ValueError, match="got 4 characters, expected Omniglot's 1623"):
        load_tfds("omniglot", data_dir=tmp_path / "tfds")


def test_examples_of_all_splits_are_read_from_a_prepared_set(tmp_path, monkeypatch):
    _write_omniglot(tmp_path)
    stock = sys.modules[tfds.builder_cls("omniglot").__module__]
    monkeypatch.setattr(stock, "_NUM_ALPHABETS", 2)
    monkeypatch.setattr(stock, "_NUM_CLASSES", 4)
    prepare_tfds("omniglot", source=tmp_path, data_dir=tmp_path / "tfds")
    builder = tfds.builder("omniglot", data_dir=str(tmp_path / "tfds"), file_format="array_record")
    source = module._source(builder, "all")
    scale = partial(resize_image, size=28)
    classes = module._pool_by_class(source, "image", "label", builder.info, scale)
    assert {name: len(images) for name, images in classes.items()} == {
        "Greek_0": 20,
        "Greek_1": 20,
        "Angelic_0": 20,
        "Angelic_1": 20,
    }


def test_a_missing_or_damaged_zip_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*images_background"):
        prepare_tfds("omniglot", source=tmp_path, data_dir=tmp_path / "tfds")
    (tmp_path / "images_background.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="download it again"):
        prepare_tfds("omniglot", source=tmp_path, data_dir=tmp_path / "tfds")
    assert not (tmp_path / "tfds").exists()


def test_a_failed_download_is_one_sentence(tmp_path, monkeypatch):
    class Broken:
        def download_and_prepare(self, **kwargs):
            raise RuntimeError("no network")

    monkeypatch.setattr(module, "_make_builder", lambda name, data_dir: Broken())
    with pytest.raises(ValueError, match=r"could not prepare 'mnist' .*no network"):
        prepare_tfds("mnist", data_dir=tmp_path)


@pytest.mark.slow
def test_real_omniglot_through_tfds_is_the_pool_of_the_zips(tmp_path):
    zips = require("omniglot")
    prepare_tfds("omniglot", source=zips, data_dir=tmp_path)
    ours = load_omniglot(zips, split="lake")
    theirs = load_tfds("omniglot", split="lake", data_dir=tmp_path)
    assert theirs.info["hash"] == ours.info["hash"]
    for part in ("train", "val", "test"):
        one, other = getattr(theirs, part), getattr(ours, part)
        assert one.group_sizes == other.group_sizes
        np.testing.assert_array_equal(one.counts, other.counts)
        np.testing.assert_array_equal(one.examples, other.examples)

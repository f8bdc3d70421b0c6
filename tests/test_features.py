"""A source that is embedded once: its features are a source with the same classes and division."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from quick import without_pictures

from jmeta import data, train
from jmeta.cli import main
from jmeta.train import MLP, Conv4, Glyphs


def command(*words: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as found:
        main(words)
    return found.value.code


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Five classes of images in arrays, of unequal sizes."""
    path = tmp_path_factory.mktemp("data") / "images.npz"
    draw = np.random.default_rng(0)
    y = np.repeat(["a", "b", "c", "d", "e"], [3, 4, 5, 6, 7])
    x = draw.integers(0, 256, (25, 16, 16, 1), np.uint8)
    np.savez(path, x=x, y=y, train=["b", "e", "a"], test=["c", "d"])
    return path


def test_features_are_those_of_the_network_and_keep_the_division(images, tmp_path):
    source, network = train.Arrays(str(images)), Conv4(filters=4, norm="layer")
    arrays, _ = train.embed_source(source, network, chunk=4, seed=3)
    train.save_features(tmp_path / "f.npz", arrays)
    found, before = data.load(f"arrays:{tmp_path / 'f.npz'}"), data.load(f"arrays:{images}")
    assert found.info["classes"] == before.info["classes"]
    assert found.info["split"] == "its own" and found.val is None
    module = network.module(None)
    params = module.init(jax.random.key(3), jnp.zeros((1, 16, 16, 1)))
    for part in ("train", "test"):
        pool, pixels = getattr(found, part), getattr(before, part)
        wanted = module.apply(params, pixels.examples / 255)
        np.testing.assert_allclose(pool.examples, wanted, atol=1e-5)
        np.testing.assert_array_equal(pool.counts, pixels.counts)


def test_images_are_scaled_and_batch_statistics_fixed(images):
    source = train.Arrays(str(images))
    one, two = (
        train.embed_source(source, Conv4(filters=4, norm="batch"), side=32, chunk=chunk)[0]["x"]
        for chunk in (1, 25)
    )
    np.testing.assert_allclose(one, two, atol=1e-4)  # no example depends on its neighbours
    assert one.shape == (25, 16)


def test_the_network_of_a_run_embeds_with_what_it_learned(images, tmp_path, monkeypatch):
    without_pictures(monkeypatch)
    budget = {"steps": 2, "log_every": 2, "validate_every": 2, "episodes": 4, "filters": 4}
    sizes = {"ways": 2, "shots": 1, "queries": 2, "train_queries": 1, "norm": "none"}
    source, made = f"arrays:{images}", tmp_path / "f.npz"
    one = train.experiment("pretrain", dataset=source, network="conv4", **sizes, **budget)
    train.run(one, tmp_path / "run")
    words = ["data", "embed", source, "--run", str(tmp_path / "run"), "--out", str(made)]
    assert command(*words) == 0
    parts, params, _ = train.load_run(tmp_path / "run")
    wanted, _ = train.embed_source(parts.experiment.source, parts.network, params=params["embed"])
    np.testing.assert_allclose(np.load(made)["x"], wanted["x"], atol=1e-6)
    fresh, _ = train.embed_source(parts.experiment.source, parts.network)
    assert np.abs(fresh["x"] - wanted["x"]).max() > 1e-4
    with pytest.raises(ValueError, match="give the entry 'embed' of these"):
        train.embed_source(parts.experiment.source, parts.network, params=params)
    assert command(*words, "--weights", "x") == 2


def test_features_train_a_run(images, tmp_path):
    arrays, _ = train.embed_source(train.Arrays(str(images)), Conv4(filters=4, norm="none"))
    train.save_features(tmp_path / "f.npz", arrays)
    sizes = {"ways": 2, "shots": 1, "queries": 2, "train_queries": 1}
    budget = {"steps": 2, "log_every": 2, "validate_every": 2, "episodes": 4}
    tiny = train.experiment("protonet", dataset=f"arrays:{tmp_path / 'f.npz'}", **sizes, **budget)
    result = train.run(tiny, tmp_path / "run")
    assert result["metrics"]["accuracy"]["episodes"] == 4


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: train.embed_source(train.SOURCES["sinusoid"](), MLP()),
            "no classes with examples",
        ),
        (lambda: train.embed_source(Glyphs(), MLP(), side=0), "side >= 1"),
        (lambda: train.embed_source(Glyphs(), MLP(), chunk=0), "chunk >= 1"),
        (lambda: train.save_features("a.txt", {}), "ends in .npz"),
    ],
)
def test_what_cannot_be_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"train": ["a"]}, "train, test and perhaps val"),
        ({"train": ["a"], "test": np.zeros(3)}, "train, test and perhaps val"),
        ({"train": [["a"]], "test": ["b"]}, "train, test and perhaps val"),
        ({"train": ["a", "b"], "test": ["b"]}, "in both train and test"),
        ({"train": ["a"], "test": ["z"]}, "z"),
    ],
)
def test_a_division_that_cannot_be_is_refused(parts, says, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=["a", "a", "b", "b"], **parts)
    with pytest.raises(ValueError, match=says):
        data.load_npz(tmp_path / "a.npz")
    assert data.load_npz(tmp_path / "a.npz", split=(0.5, 0, 0.5)).test.counts.tolist() == [2]

"""Pools, split hashes and the cache of prepared sets."""

import jax
import numpy as np
import pytest

from jmeta.data._paths import (
    cache_dir,
    data_root,
    load_arrays,
    load_prepared,
    prepared_name,
    save_arrays,
    save_prepared,
)
from jmeta.data._pool import (
    Dataset,
    join_pools,
    make_pool,
    pool_from_arrays,
    pool_from_classes,
    split_hash,
)


def _classes(counts):
    return [np.full((n, 2, 2, 1), c, np.uint8) for c, n in enumerate(counts)]


def _dataset(val=True):
    train = pool_from_classes(_classes([3, 2, 4]), ["a", "a", "b"])
    test = pool_from_classes(_classes([2, 2]))
    return Dataset(
        "tiny", train, test if val else None, test, {"split": "ours", "shape": [2, 2, 1]}
    )


def _equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def test_pool_offsets_and_statics():
    pool = pool_from_classes(_classes([3, 1, 4, 2]), ["x", "y", "y", "z"])
    assert pool.starts.tolist() == [0, 3, 4, 8]
    assert pool.counts.tolist() == [3, 1, 4, 2]
    assert pool.groups.tolist() == [0, 1, 3, 4]
    assert (pool.smallest, pool.largest, pool.group_sizes) == (1, 4, (1, 2, 1))
    assert pool.examples.dtype == np.uint8
    assert pool.starts.dtype == pool.counts.dtype == pool.groups.dtype == np.int32


def test_pool_is_a_pytree_with_static_bounds():
    pool = pool_from_classes(_classes([3, 1]))
    assert len(jax.tree.leaves(pool)) == 4
    assert jax.jit(lambda p: p)(pool).group_sizes == (2,)


def test_pool_from_arrays_sorts_by_group_then_label():
    x = np.arange(7, dtype=np.float32)
    y = np.array(["c", "a", "b", "c", "a", "b", "c"])
    plain = pool_from_arrays(x, y)
    assert plain.examples.tolist() == [1, 4, 2, 5, 0, 3, 6]
    grouped = pool_from_arrays(x, y, {"a": "late", "b": "early", "c": "late"})
    assert grouped.examples.tolist() == [2, 5, 1, 4, 0, 3, 6]
    assert grouped.group_sizes == (1, 2)
    numbers = pool_from_arrays(x, np.array([9, -1, 3, 9, -1, 3, 9]), {9: 0, -1: 0, 3: 1})
    assert numbers.examples.tolist() == [1, 4, 0, 3, 6, 2, 5]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pool_from_classes([]), "no classes"),
        (lambda: pool_from_classes([np.zeros((0, 2))]), "at least one example"),
        (lambda: pool_from_classes([np.zeros((1, 2)), np.zeros((1, 3))]), "class 1 is"),
        (lambda: pool_from_classes([np.zeros(1), np.zeros(1, int)]), "same dtype"),
        (lambda: pool_from_classes(_classes([1, 1, 1]), ["a", "b", "a"]), "adjacent"),
        (lambda: pool_from_classes(_classes([1, 1]), ["a"]), "1 group labels for 2 classes"),
        (lambda: pool_from_arrays(np.zeros((3, 2)), np.zeros(2, int)), "one label per example"),
        (lambda: pool_from_arrays(np.zeros(2), np.array([0, 1]), {0: "g"}), "no group"),
        (
            lambda: join_pools(*(pool_from_arrays(np.zeros(1, t), [0]) for t in ("u1", "f4"))),
            "same dtype and shape",
        ),
        (lambda: make_pool(np.zeros(3), [1, 1], [2]), "sum to 2 for 3 examples"),
        (lambda: make_pool(np.zeros(2), [1, 1], [1]), "sum to 1 for 2 classes"),
    ],
)
def test_pool_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_split_hash_depends_on_content_only():
    one = split_hash({"train": ["b", "a"], "test": ["c"]})
    assert one == split_hash({"test": ["c"], "train": ["a", "b"]})
    assert one != split_hash({"train": ["a"], "test": ["b", "c"]})
    assert (
        one == "f6e84f1746cf6f4451d7a6b636800b05ed4c0a97e2b474cb81c77169e9045155"
    )  # a published hash must stay what it is


def test_roots_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("JMETA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path / "cache"))
    assert data_root() == tmp_path / "data"
    assert data_root(tmp_path) == tmp_path
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("JMETA_DATA")
    monkeypatch.delenv("JMETA_CACHE")
    assert data_root() == cache_dir()
    assert data_root().parts[-2:] == (".cache", "jmeta")


@pytest.mark.parametrize("val", [True, False])
def test_prepared_round_trip(monkeypatch, tmp_path, val):
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path))
    name = prepared_name("tiny", {"digest": "0"})
    assert load_prepared(name) is None
    dataset = _dataset(val)
    path = save_prepared(name, dataset)
    loaded = load_prepared(name)
    assert loaded.name == "tiny"
    assert loaded.info == dataset.info
    for part in ("train", "val", "test"):
        _equal(getattr(loaded, part), getattr(dataset, part))
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no partial file is left


def test_prepared_name_follows_its_source():
    assert prepared_name("a", {"x": 1, "y": 2}) == prepared_name("a", {"y": 2, "x": 1})
    assert prepared_name("a", {"x": 1}) != prepared_name("a", {"x": 2})


def test_damaged_cache_reads_as_absent(monkeypatch, tmp_path):
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path))
    path = save_prepared("tiny", _dataset())
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF
    for damaged in (b"", b"not a zip", whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(damaged)
        assert load_prepared("tiny") is None
    path.write_bytes(whole)
    assert load_prepared("tiny") is not None


def test_cache_of_another_content_reads_as_absent(monkeypatch, tmp_path):
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path))
    save_arrays("other", {"about": np.array("[]")})
    assert load_prepared("other") is None
    save_arrays("pickled", {"about": np.array([{"a": 1}], dtype=object)})
    assert load_arrays("pickled") is None


def test_unwritable_cache_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path / "file"))
    assert save_arrays("a", {"x": np.zeros(1)}) is None
    assert load_arrays("a") is None

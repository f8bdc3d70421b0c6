"""Your own arrays: what is read, what is refused, and the shape that is told beforehand."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from jmeta.data import example_shape, load


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    """An empty root."""
    monkeypatch.setenv("JMETA_DATA", str(tmp_path))
    return tmp_path


def _arrays(path: Path, **arrays: np.ndarray) -> None:
    defaults = {"x": np.arange(40, dtype=np.uint8).reshape(10, 2, 2), "y": np.arange(10) % 5}
    np.savez(path, **(defaults | arrays))


def test_arrays_become_pools(root):
    _arrays(root / "a.npz")
    data = load("arrays:a.npz")
    assert data.info["shape"] == [2, 2, 1]
    assert data.train.counts.tolist() == [2, 2, 2]
    first = int(data.info["classes"]["test"][0])
    np.testing.assert_array_equal(
        data.test.examples[:, 0, 0, 0], np.array([first * 4, (first + 5) * 4], np.uint8)
    )
    _arrays(root / "b.npz", x=np.zeros((10, 3), np.float32), y=np.array(list("abcdeabcde")))
    assert load("arrays:b.npz").train.examples.dtype == np.float32


_HOLE, _ENDLESS = np.zeros((10, 3), np.float32), np.zeros((10, 3))
_HOLE[7, 2], _ENDLESS[4, 0] = np.nan, -np.inf


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.arange(3)}, "one label per example"),
        ({"x": np.array([{}] * 10, dtype=object)}, "no pickled objects"),
        ({"y": np.arange(10) % 5 - 1}, r"the label -1 at y\[0\], which marks padding"),
        ({"y": np.array([0, 1, -1.0] + [2, 3, 4, 5] + [6] * 3)}, r"the label -1 at y\[2\]"),
        ({"y": np.array([0, np.nan] + [1, 2, 3, 4] * 2)}, r"the label NaN at y\[1\]"),
        ({"y": np.array([b"caf\xe9"] * 10)}, "bytes that are not UTF-8"),
        ({"x": _HOLE}, r"has nan at x\[7, 2\], expected finite numbers"),
        ({"x": _ENDLESS}, r"has -inf at x\[4, 0\], expected finite numbers"),
        ({"x": np.array(["a"] * 10)}, "x of dtype <U1, expected real numbers"),
    ],
)
def test_bad_arrays_are_refused(root, arrays, message):
    _arrays(root / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message) as raised:
        load("arrays:a.npz")
    assert "a.npz" in str(raised.value)


@pytest.mark.parametrize("labels", [list("abcde"), [b"a", b"b", b"c", b"d", b"e"]])
def test_labels_of_text_and_of_bytes_are_the_same_classes(root, labels):
    _arrays(root / "a.npz", y=np.repeat(labels, 2))
    assert load("arrays:a.npz").info["classes"] == {
        "train": ["b", "c", "e"],
        "val": ["d"],
        "test": ["a"],
    }


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (np.zeros((10, 4, 6), np.uint8), (4, 6, 1)),
        (np.zeros((10, 4, 6, 3), np.uint8), (4, 6, 3)),
        (np.zeros((10, 4, 6), np.float32), (4, 6)),
        (np.zeros((10, 7), np.int64), (7,)),
        (np.zeros(10, np.int32), ()),
        (np.asfortranarray(np.zeros((10, 4, 6), np.uint8)), (4, 6, 1)),
    ],
)
def test_the_shape_of_an_example_is_told_without_loading(root, monkeypatch, x, shape):
    _arrays(root / "a.npz", x=x)
    pool = load("arrays:a.npz").train
    assert pool.examples.shape[1:] == shape
    np.savez_compressed(root / "b.npz", x=x, y=np.arange(10))
    monkeypatch.setattr(np, "load", None)
    for name in ("a", "b"):
        assert example_shape(f"arrays:{name}.npz") == shape
    assert example_shape(f"arrays:{root / 'a.npz'}", root="/nowhere") == shape


def test_only_arrays_tell_a_shape_before_loading():
    for name in ("glyphs", "omniglot", "tfds:omniglot", "tfds:x", "folder:x", "table:x.csv"):
        assert example_shape(name) is None
    for name, message in (("sinusoid", "family of functions"), ("arrays:", "there is no data set")):
        with pytest.raises(ValueError, match=message):
            example_shape(name)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (None, "there is no file"),
        (b"junk", r"cannot be read as an \.npz"),
        ({"y": np.arange(3)}, "one label per example"),
        ({"x": np.array([{}] * 10, dtype=object)}, "no pickled objects"),
        ({"x": np.float32(3)}, "one label per example"),
    ],
)
def test_a_shape_has_the_errors_of_loading(root, arrays, message):
    if isinstance(arrays, bytes):
        (root / "a.npz").write_bytes(arrays)
    elif arrays is not None:
        _arrays(root / "a.npz", **arrays)
    for read in (load, example_shape):
        with pytest.raises(ValueError, match=message):
            read("arrays:a.npz")
    np.savez(root / "b.npz", x=np.zeros(3))
    for read in (load, example_shape):
        with pytest.raises(ValueError, match=r"cannot be read as an \.npz with x and y"):
            read("arrays:b.npz")


_DATES = np.array(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04", "NaT"] * 2, "M8[D]")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": np.zeros((10, 0))},
            r"x of shape \[10, 0\], expected examples of at least",
        ),
        (
            {"x": np.zeros((10, 0, 3, 1), np.uint8)},
            r"\[10, 0, 3, 1\], expected examples",
        ),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0)}, "give at least one of each"),
        (
            {"x": np.full((10, 2), 2**40)},
            r"has 1099511627776 at x\[0, 0\].* that int32 can",
        ),
        ({"x": np.full((10, 2), -1e300)}, r"has -1e\+300 at x\[0, 0\].* numbers that float32 can"),
        ({"x": np.zeros((10, 2), complex)}, "x of dtype complex128, expected real numbers"),
        ({"x": _DATES[:, None]}, r"x of dtype datetime64\[D\], expected real numbers"),
        ({"y": _DATES}, r"has the label NaT at y\[4\], expected a class for every example"),
        ({"y": np.array([0, 1, 2, 3, 0.5] * 2)}, r"label 0.5 at y\[4\], a fraction"),
        ({"y": np.array([0, 1, 2, 3, np.inf] * 2)}, r"has the label inf at y\[4\]"),
        ({"y": np.array(["a", "b", " ", "c", "d"] * 2)}, r"has an empty label at y\[2\]"),
        ({"y": np.array([b"a", b"b", b"", b"c", b"d"] * 2)}, r"has an empty label at y\[2\]"),
        ({"y": np.zeros(10, complex)}, "labels y of dtype complex128, expected integers or text"),
        ({"y": np.zeros(10, "i4,i4")}, "labels y of dtype .*, expected integers or text"),
    ],
)
def test_arrays_that_would_be_wrong_without_a_word_are_refused(root, arrays, message):
    _arrays(root / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load("arrays:a.npz")


def test_dates_name_classes_and_numbers_keep_their_value(root):
    _arrays(root / "a.npz", x=np.full((10, 2), 3.5), y=_DATES.astype("M8[D]")[[0, 1, 2, 3, 0] * 2])
    found = load("arrays:a.npz")
    assert found.info["classes"]["test"] == ["2020-01-01"]
    assert found.train.examples.dtype == np.float32 and float(found.train.examples.min()) == 3.5
    _arrays(root / "a.npz", x=np.full((10, 2), 2**31 - 1))
    assert int(load("arrays:a.npz").train.examples.max()) == 2**31 - 1


def test_a_member_that_hides_another_is_not_read(tmp_path):
    """`numpy.load` would give the member x in the place of x.npy, whose header was checked."""
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((6, 2), np.float32), y=np.arange(6) % 3)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x", b"hello")
        archive.writestr("y", b"hello")
    assert load(f"arrays:{path}").train.examples.shape[1:] == (2,)

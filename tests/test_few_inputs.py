"""What people have as what networks take: pictures, arrays, tables, labels and targets."""

import numpy as np
import pytest
from PIL import Image

from jmeta.few import Adapted
from jmeta.few import _inputs as inputs
from jmeta.few import _targets as aims

GREY = {
    "objective": "cross_entropy",
    "kind": "classes",
    "example": {"shape": [6, 6, 1], "dtype": "float32"},
    "outputs": 2,
    "pixels": True,
    "inverted": True,
    "features": None,
    "target": None,
    "scaling": None,
}


def test_pictures_of_every_kind_become_the_same_array(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "a.png")
    wanted = ((255 - pixels).astype(np.float32) / 255)[None, :, :, None]
    path = tmp_path / "a.png"
    for given in (path, str(path), [path], [str(path)], picture, [picture], np.array([str(path)])):
        np.testing.assert_array_equal(inputs.examples(given, GREY), wanted)
    rgb = np.repeat(pixels[..., None], 3, -1)
    for given in (pixels[None, ..., None], [pixels], pixels[None], [rgb], rgb[None], wanted):
        np.testing.assert_array_equal(inputs.examples(given, GREY), wanted)
    mixed = [pixels[..., None], wanted[0]]
    np.testing.assert_array_equal(inputs.examples(mixed, GREY), np.concatenate([wanted] * 2))
    plain = {**GREY, "inverted": False}
    np.testing.assert_array_equal(
        inputs.examples(path, plain), (pixels.astype(np.float32) / 255)[None, ..., None]
    )
    large = picture.resize((30, 30), Image.Resampling.NEAREST)
    assert inputs.examples([large, picture], GREY).shape == (2, 6, 6, 1)
    colour = {**plain, "example": {"shape": [6, 6, 3], "dtype": "float32"}}
    assert inputs.examples(path, colour).shape == (1, 6, 6, 3)


SCALING = {
    "features": {"hours": {"mean": 2.0, "deviation": 4.0}, "kind": {"values": ["a", "b"]}},
    "target": {"column": "score", "mean": 50.0, "deviation": 10.0},
}
TABLE = {
    **GREY,
    "objective": "mean_squared_error",
    "kind": "numbers",
    "example": {"shape": [3], "dtype": "float32"},
    "outputs": 1,
    "pixels": False,
    "inverted": False,
    "features": ["hours", "kind=a", "kind=b"],
    "target": SCALING["target"],
    "scaling": SCALING,
}


def test_tables_are_standardised_as_the_run_has_standardised_its_own():
    wanted = np.array([[-0.5, 1, 0], [1, 0, 1]], np.float32)
    columns = {"kind": ["a", "b"], "more": [1, 2], "hours": [0, 6.0]}
    frame = type("Frame", (dict,), {"columns": property(list)})(columns)
    for given in (columns, frame, [[0, "a"], [6.0, "b"]]):
        np.testing.assert_array_equal(inputs.examples(given, TABLE), wanted)
    np.testing.assert_array_equal(aims.targets([60, 40], TABLE, 2), [[1], [-1]])


BAD = {
    "an empty list": ([], GREY, "is empty"),
    "a number": (3, GREY, r"must be an array of examples \[6, 6, 1\]"),
    "other shapes": (np.zeros((2, 5)), GREY, r"must hold examples of shape \[6, 6, 1\]"),
    "floats of another size": (np.zeros((2, 5, 5, 1)), GREY, "must hold examples of shape"),
    "no examples": (np.zeros((0, 6, 6, 1)), GREY, "is empty"),
    "pixels up to 255": (np.full((1, 6, 6, 1), 255.0), GREY, "divide by 255, or give uint8"),
    "texts": (np.array([["a"]], object), GREY, "must hold numbers"),
    "NaN": (np.full((1, 6, 6, 1), np.nan), GREY, r"x\[0\] holds a number that is not finite"),
    "no such file": (["nowhere.png"], GREY, "there is no file nowhere.png"),
    "a device": (["/dev/zero"], GREY, "is a device"),
    "columns that are missing": ({"hours": [1]}, TABLE, "lacks the columns 'kind'"),
    "columns of several lengths": ({"hours": [1], "kind": []}, TABLE, "give all as many"),
    "an unknown text": ({"hours": [1], "kind": ["z"]}, TABLE, "none of those that the run"),
    "a missing number": ({"hours": [None], "kind": ["a"]}, TABLE, "is a missing value"),
    "a table that is too wide": (np.zeros((2, 3)), TABLE, r"or an array \[N, 2\]"),
}


@pytest.mark.parametrize("case", BAD)
def test_examples_that_cannot_be_used_are_refused(case):
    x, facts, says = BAD[case]
    with pytest.raises(ValueError, match=says):
        inputs.examples(x, facts)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (["a"], "a label for each of the 2 examples"),
        (["a", None], "missing"),
        ([1.0, np.nan], "missing or NaN"),
        (["a", float("nan")], "missing or NaN"),
        ([1.0, np.inf], "not finite"),
        (["a", 1], "several types"),
        (np.ma.masked_array([1, 2], [True, False]), "masked"),
        (np.array(["a", 1], object), "several types"),
        (["a", "a"], "at least two classes"),
        ([["a"], ["b"]], "a label for each"),
        (["a", "a\0"], "NumPy changes"),
        (["a\0", "b"], "NumPy changes"),
        (np.array(["2020-01-01", "2021-01-01"], "M8[ns]"), "NumPy changes"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(y, says):
    with pytest.raises(ValueError, match=says):
        aims.labelled(y, 2)


def test_whole_numbers_that_a_fraction_would_merge_are_refused():
    with pytest.raises(ValueError, match="NumPy changes"):
        aims.labelled([2**53, 2**53 + 1, 0.5], 3)
    with pytest.raises(ValueError, match="NumPy changes"):
        aims.labelled([2**64 - 1, -1], 2)


def test_targets_that_cannot_be_used_are_refused():
    for y, says in (
        ([1], "each of the 2"),
        (["a", "b"], "must hold numbers"),
        ([1, np.inf], "fin"),
    ):
        with pytest.raises(ValueError, match=says):
            aims.targets(y, TABLE, 2)


def test_labels_that_no_file_can_hold_are_not_saved(tmp_path):
    for label in (2**63, b"a"):
        with pytest.raises(ValueError, match="numbers below 2"):
            Adapted(None, {}, [1, label], 2).save(tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())

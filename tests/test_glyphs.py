"""The built-in set: what it holds, that it is the same everywhere, and that it is cached."""

import sys
from types import SimpleNamespace

import comparing  # noqa: F401  # it makes the next one importable
import glyphs_list
import numpy as np
import pytest

from jmeta.data import _glyphs as module
from jmeta.data._glyphs import load_glyphs
from jmeta.data._pool import Dataset, Pool, split_hash
from jmeta.data._scripts import FACES, SCRIPTS

HASH = "addca98b69ae2afd496d969c9830a34a47ab3e7046bfb4a64502468b99fe9811"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("JMETA_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def dataset(home) -> Dataset:
    return load_glyphs()


@pytest.fixture(scope="module")
def fonts():
    return module._font_files()


def images_of(pool: Pool) -> np.ndarray:
    return np.asarray(pool.examples).reshape(len(pool.counts), pool.largest, -1) / np.float32(255)


def test_class_lists_are_pinned(dataset):
    assert dataset.info["hash"] == HASH == split_hash(dataset.info["classes"])
    assert {part: len(names) for part, names in dataset.info["classes"].items()} == {
        "train": 1558,
        "val": 79,
        "test": 164,
    }


@pytest.mark.slow
def test_the_list_is_what_the_fonts_give():
    assert glyphs_list.written() == module._LIST.read_text(encoding="utf-8")


def test_parts_share_no_class_and_no_script(dataset):
    for key in ("classes", "groups"):
        names = [name for part in dataset.info[key].values() for name in part]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_pool_agrees_with_info(dataset, part):
    pool = getattr(dataset, part)
    assert pool.examples.dtype == np.uint8
    assert pool.examples.shape == (20 * len(dataset.info["classes"][part]), 28, 28, 1)
    assert pool.smallest == pool.largest == 20
    assert len(pool.group_sizes) == len(dataset.info["groups"][part])
    assert min(pool.group_sizes) >= 20  # enough for 20 ways within one script


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_every_drawing_is_ink_on_an_empty_ground(dataset, part):
    ink = images_of(getattr(dataset, part))
    assert (ink.max(-1) > 0.5).all()
    assert (ink.mean(-1) < 0.75).all()
    assert ink.mean() < 0.25


@pytest.mark.parametrize("part", ["val", "test"])
def test_drawings_of_a_class_all_differ(dataset, part):
    ink = images_of(getattr(dataset, part))
    gram = ink @ ink.swapaxes(1, 2)
    square = np.diagonal(gram, axis1=1, axis2=2)
    gaps = square[:, :, None] + square[:, None] - 2 * gram + 1e6 * np.eye(20, dtype=np.float32)
    assert gaps.min() > 0.5


def test_shapes_that_scripts_share_are_one_class(dataset):
    names = {name for part in dataset.info["classes"].values() for name in part}
    shared = (
        ("LATIN CAPITAL LETTER A", "GREEK CAPITAL LETTER ALPHA", "CYRILLIC CAPITAL LETTER A"),
        ("LATIN CAPITAL LETTER O", "GREEK CAPITAL LETTER OMICRON", "CYRILLIC CAPITAL LETTER O"),
        ("LATIN CAPITAL LETTER C", "LATIN SMALL LETTER C", "CYRILLIC SMALL LETTER ES"),
    )
    for group in shared:
        assert sum(name.split(" ", 1)[1] in group for name in names) <= 1
    assert {"U+05D0 HEBREW LETTER ALEF", "U+0416 CYRILLIC CAPITAL LETTER ZHE"} <= names


def test_look_is_blind_to_size_and_place_but_not_to_form(fonts):
    def look(character: str) -> np.ndarray:
        glyph = module._Glyph(ord(character), SCRIPTS[0], FACES)
        looks = glyphs_list.looks_of(glyph, fonts)
        assert looks is not None
        return looks[0]

    assert look("A") @ look("Α") > 0.999
    assert look("o") @ look("O") > glyphs_list.ALIKE
    assert look("A") @ look("Ж") < glyphs_list.ALIKE


def test_a_code_point_drawn_as_different_forms_has_no_look(fonts):
    glyph = module._Glyph(ord("¼"), SCRIPTS[0], FACES)
    assert glyphs_list.looks_of(glyph, fonts) is None


def test_blank_characters_have_no_look(fonts):
    glyph = module._Glyph(0x20, SCRIPTS[0], FACES)
    assert glyphs_list.looks_of(glyph, fonts) is None


def test_drawing_is_deterministic_and_a_prefix_of_a_longer_one(fonts):
    faces = {face: fonts[face] for face in (FACES[0], FACES[4])}
    short, again, longer = (module._draw(0x10D0, faces, 28, n) for n in (4, 4, 9))
    np.testing.assert_array_equal(short, again)
    np.testing.assert_allclose(short.astype(int), longer[:4].astype(int), atol=1)


def test_undistorted_sampling_returns_the_image():
    master = np.random.default_rng(0).integers(0, 256, (2, 6, 6)).astype(np.uint8)
    at = np.broadcast_to(module._basis(6)[0], (2, 2, 36))
    got = module._sample(master, np.array([1, 0]), at)
    np.testing.assert_allclose(got, master[::-1].reshape(2, 36) / 255, atol=2e-3)


def test_second_load_comes_from_the_cache(dataset, monkeypatch):
    monkeypatch.setattr(module, "_render", None)
    again = load_glyphs()
    assert again.info == dataset.info
    assert again.val is not None and dataset.val is not None
    np.testing.assert_array_equal(again.val.examples, dataset.val.examples)
    assert again.test.group_sizes == dataset.test.group_sizes


def test_a_damaged_cache_is_rebuilt(home, monkeypatch, dataset):
    (kept,) = (home / "prepared").glob("glyphs-*.npz")
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(module, "_render", lambda fonts, size, drawings: dataset)
    assert load_glyphs() is dataset
    assert kept.read_bytes() == whole


def test_pixels_alone_are_not_enough(dataset):
    ink, rng, ways, hits = images_of(dataset.test), np.random.default_rng(0), 5, []
    for _ in range(600):
        classes = rng.choice(len(ink), ways, replace=False)
        drawings = np.stack([rng.permutation(20) for _ in classes])
        support, query = ink[classes, drawings[:, 0]], ink[classes[:, None], drawings[:, 1:6]]
        gaps = ((query[:, :, None] - support) ** 2).sum(-1)
        hits.append((gaps.argmin(-1) == np.arange(ways)[:, None]).mean())
    assert 0.4 < np.mean(hits) < 0.75


@pytest.mark.parametrize("size", [0, 15, 129, 28.0, True])
def test_bad_size_is_refused(size):
    with pytest.raises(ValueError, match=r"got size=.*from 16 to 128"):
        load_glyphs(size=size)


@pytest.mark.parametrize("drawings", [0, 1, -3, 1001])
def test_bad_number_of_drawings_is_refused(drawings):
    with pytest.raises(ValueError, match=r"got drawings=.*from 2 to 1000"):
        load_glyphs(drawings=drawings)


def test_missing_fonts_are_named(tmp_path, monkeypatch):
    found = SimpleNamespace(origin=str(tmp_path / "__init__.py"))  # without data beside it
    monkeypatch.setattr("jmeta.data._glyphs.find_spec", lambda name: found)
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(ValueError, match=r"16 of 16 font files .*reinstall matplotlib"):
        load_glyphs()


def test_missing_matplotlib_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"install it \(pip install matplotlib\)"):
        load_glyphs()


def test_chosen_characters_are_drawn_as_those_of_the_set(dataset):
    """The 40th code of the list of a part, and one that the set leaves out, as it looks like O."""
    names = dataset.info["classes"]["test"]
    code = int(names[40].split()[0][2:], 16)
    pool = module.draw_characters(chr(code) + "ο")
    assert pool.counts.tolist() == [20, 20]
    np.testing.assert_array_equal(images_of(pool)[0], images_of(dataset.test)[40])
    few = module.draw_characters(chr(code), drawings=3)
    np.testing.assert_array_equal(images_of(few)[0], images_of(pool)[0, :3])
    assert module.draw_characters("a", size=16).examples.shape == (20, 16, 16, 1)


@pytest.mark.parametrize(
    ("characters", "message"),
    [
        ("", "expects a string"),
        (["a", "b"], "expects a string"),
        ("aba", "each character once"),
        ("a b", "blank"),
        ("a\U0001f600x\u4e00", "no font"),
    ],
)
def test_characters_that_cannot_be_drawn_are_refused(characters, message):
    with pytest.raises(ValueError, match=message):
        module.draw_characters(characters)
    with pytest.raises(ValueError, match="16 to 128"):
        module.draw_characters("a", size=8)

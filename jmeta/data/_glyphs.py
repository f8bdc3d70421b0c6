"""The built-in set `glyphs`: characters of many writing systems, drawn from matplotlib's fonts.

A class is a character, its group is its script, and a drawing is one font face under a seeded
affine and elastic distortion. Nothing is downloaded. Whole scripts are assigned to train, val or
test. Of characters that look alike, in whatever scripts, only one is in the list.
"""

import unicodedata
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jmeta.data import _scripts
from jmeta.data._digests import file_digest
from jmeta.data._paths import load_prepared, prepared_name, save_prepared
from jmeta.data._pool import Dataset, Pool, pool_from_classes, split_hash
from jmeta.data._scripts import FACES, SCRIPTS, Script

if TYPE_CHECKING:  # otherwise imported late, since `import jmeta` shall be quick
    from PIL import Image, ImageFont

_LIST = Path(__file__).parent / "splits" / "glyphs.txt"  # made by benchmarks/glyphs_list.py
_HARMONICS = 4  # cosines of the elastic field along each axis


class _Glyph(NamedTuple):
    code: int
    script: Script
    faces: tuple[str, ...]  # those of `FACES` that have it


def load_glyphs(*, size: int = 28, drawings: int = 20) -> Dataset:
    """Load the built-in set of characters. The first call renders it (seconds) and caches it.

    Drawing d of a character is face d (cycling over the faces that have it) seen through
    u -> A u + t + sum_jk a_jk cos(pi j x) cos(pi k y) / (j + k), with A, t and a drawn from a
    generator seeded with the code point. The first n drawings do not depend on `drawings`.

    Args:
        size: height and width of an image in pixels, 16 to 128.
        drawings: examples per class, 2 to 1000.

    Returns:
        Pools of uint8 images [E, size, size, 1], ink 255 on 0. The groups are scripts, which the
        parts do not share; `info["groups"]` has their names in the pools' order.

    Raises:
        ValueError: the size or the number of drawings is out of range, or font files are missing.
        ImportError: matplotlib, which ships the fonts, is not installed.

    >>> glyphs = load_glyphs()
    >>> glyphs.test.examples.shape[1:], glyphs.test.smallest, glyphs.info["groups"]["test"]
    ((28, 28, 1), 20, ['georgian', 'hebrew', 'lao'])
    """
    from PIL import features

    _check("size", size, 16, 128)
    _check("drawings", drawings, 2, 1000)
    fonts = _font_files()
    key = {
        "fonts": {face: file_digest(path) for face, path in fonts.items()},
        "renderer": features.version("freetype2"),
        "code": [file_digest(path) for path in (__file__, _scripts.__file__, _LIST)],
        "size": size,
        "drawings": drawings,
    }
    name = prepared_name("glyphs", key)
    if (ready := load_prepared(name)) is not None:
        return ready
    dataset = _render(fonts, size=size, drawings=drawings)
    save_prepared(name, dataset)
    return dataset


def draw_characters(characters: str, *, size: int = 28, drawings: int = 20) -> Pool:
    """Draw the given characters as `load_glyphs` draws its own; each is a class.

    Args:
        characters: each once, in the order of the classes. A character is one code point, so that
            é must be U+00E9 and not e with a combining accent. Each is scaled to the same box, in
            which some are alike, such as A of the Latin and of the Greek script.
        size: height and width of an image in pixels, 16 to 128.
        drawings: examples per class, 2 to 1000.

    Returns:
        A pool of uint8 images [E, size, size, 1], ink 255 on 0.

    Raises:
        ValueError: the size or the number of drawings is out of range, `characters` is no string
            or an empty one, a character appears twice, is blank, or is in no font, or font files
            are missing.
        ImportError: matplotlib, which ships the fonts, is not installed.

    >>> pool = draw_characters("αβγ", drawings=4)
    >>> pool.examples.shape, pool.counts.tolist()
    ((12, 28, 28, 1), [4, 4, 4])
    """
    _check("size", size, 16, 128)
    _check("drawings", drawings, 2, 1000)
    if not isinstance(characters, str) or not 0 < len(characters) == len(set(characters)):
        raise ValueError(
            f"draw_characters expects a string with each character once, but got {characters!r}."
        )
    fonts = _font_files()
    held = _characters_of(fonts)
    images = []
    for code in map(ord, characters):
        faces = {face: path for face, path in fonts.items() if code in held[face]}
        if not faces:
            raise ValueError(f"no font of matplotlib has the character {chr(code)!r}.")
        images.append(_draw(code, faces, size, drawings))
    return pool_from_classes(images)


def _check(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(
            f"got {name}={value!r}, expected a whole number from {low} to {high}; pass one."
        )


def _font_files() -> dict[str, Path]:
    """The path of each face; matplotlib ships them."""
    folder = _data_of_matplotlib() / "fonts" / "ttf"
    fonts = {face: folder / f"{face}.ttf" for face in FACES}
    if missing := [path.name for path in fonts.values() if not path.is_file()]:
        raise ValueError(
            f"{len(missing)} of {len(fonts)} font files are missing from {folder}, the first is "
            f"{missing[0]}; expected matplotlib's own fonts there, so reinstall matplotlib."
        )
    return fonts


def _data_of_matplotlib() -> Path:
    """The folder of matplotlib's data: beside its code, or where a distribution has put it."""
    found = find_spec("matplotlib")  # which is quicker than to import it
    if found is None or found.origin is None:
        raise ImportError(
            "the set 'glyphs' is drawn from the fonts that matplotlib ships, and matplotlib is "
            "not installed; install it (pip install matplotlib)."
        )
    if (beside := Path(found.origin).parent / "mpl-data").is_dir():
        return beside
    from matplotlib import get_data_path

    return Path(get_data_path())


def _render(fonts: dict[str, Path], *, size: int, drawings: int) -> Dataset:
    """Choose the characters, draw them, and describe the result."""
    kept = _listed(fonts)
    pools, names, groups = {}, {}, {}
    for part in ("train", "val", "test"):
        glyphs = [g for g in kept if g.script.part == part]
        scripts = [g.script.name for g in glyphs]
        images = [_draw(g.code, {f: fonts[f] for f in g.faces}, size, drawings) for g in glyphs]
        pools[part] = pool_from_classes(images, scripts)
        names[part] = [f"U+{g.code:04X} {unicodedata.name(chr(g.code))}" for g in glyphs]
        groups[part] = list(dict.fromkeys(scripts))
    info: dict[str, Any] = {
        "split": "scripts",
        "hash": split_hash(names),
        "classes": names,
        "groups": groups,
        "source": "rendered from the DejaVu and STIX fonts that ship with matplotlib",
        "licence": "DejaVu: Bitstream Vera and Arev licences; STIX: STIX Font licence",
        "shape": [size, size, 1],
    }
    return Dataset("glyphs", pools["train"], pools["val"], pools["test"], info)


def _characters_of(fonts: dict[str, Path]) -> dict[str, frozenset[int]]:
    """The code points that each face has."""
    from fontTools.ttLib import TTFont

    held = {}
    for face, path in fonts.items():
        with TTFont(path, lazy=True) as font:
            held[face] = frozenset(font.getBestCmap())
    return held


def _listed(fonts: dict[str, Path]) -> list[_Glyph]:
    """The characters of the list, script after script, with the faces that have each."""
    held = _characters_of(fonts)
    codes = read_list(_LIST.read_text(encoding="utf-8"))
    return [
        _Glyph(code, script, tuple(face for face in FACES if code in held[face]))
        for script in SCRIPTS
        for code in codes[script.name]
    ]


def read_list(text: str) -> dict[str, list[int]]:
    r"""The code points of each script, from lines `script code code-code ...` in hexadecimal.

    >>> read_list("# chosen\nlatin 41 43-45\n")
    {'latin': [65, 67, 68, 69]}
    """
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            script, *spans = line.split()
            ends = [[int(end, 16) for end in span.split("-")] for span in spans]
            found[script] = [code for span in ends for code in range(span[0], span[-1] + 1)]
    return found


@lru_cache(maxsize=64)
def _font(path: Path, pixels: int) -> "ImageFont.FreeTypeFont":
    from PIL import ImageFont

    return ImageFont.truetype(str(path), pixels, layout_engine=ImageFont.Layout.BASIC)


def _ink(code: int, path: Path, *, box: int, canvas: int) -> "Image.Image | None":
    """A character scaled so that its ink just fits a centred box; None if it has no ink."""
    from PIL import Image, ImageDraw

    font, text = _font(path, 2 * canvas), chr(code)
    left, top, right, bottom = (round(v) for v in font.getbbox(text))
    page = Image.new("L", (max(1, right - left) + 4, max(1, bottom - top) + 4))
    ImageDraw.Draw(page).text((2 - left, 2 - top), text, fill=255, font=font)
    if (bounds := page.getbbox()) is None:
        return None
    ink = page.crop(bounds)
    width, height = (max(1, round(v * box / max(ink.size))) for v in ink.size)
    out = Image.new("L", (canvas, canvas))
    ink = ink.resize((width, height), Image.Resampling.HAMMING)
    out.paste(ink, ((canvas - width) // 2, (canvas - height) // 2))
    return out


def _draw(code: int, faces: dict[str, Path], size: int, drawings: int) -> np.ndarray:
    """All drawings of one character by the faces, uint8 [drawings, size, size, 1]."""
    from PIL import ImageFilter

    masters = []
    for path in list(faces.values())[:drawings]:
        if (ink := _ink(code, path, box=38 * size // 28, canvas=2 * size)) is not None:
            masters.append(np.asarray(ink.filter(ImageFilter.GaussianBlur(size / 28))))
    if not masters:
        raise ValueError(f"the character {chr(code)!r} is blank, so that it cannot be drawn.")
    random = np.random.default_rng(code)
    noise = random.standard_normal((drawings, 7 + 2 * _HARMONICS**2)).astype(np.float32)
    which = np.arange(drawings) % len(masters)
    field = _sample(np.stack(masters), which, _bend(np.clip(noise, -2, 2), size))
    threshold = 0.3 + 0.06 * np.clip(noise[:, :1], -2, 2)  # from a broad pen to a thin one
    ink = np.clip((field - threshold) / 0.3 + 0.5, 0, 1)
    return np.round(255 * ink).astype(np.uint8).reshape(drawings, size, size, 1)


def _bend(noise: np.ndarray, size: int) -> np.ndarray:
    """The places [D, 2, P] in -1..1 that the pixels of each drawing show, from clipped normals."""
    grid, waves = _basis(size)
    turn, slant, wide, tall, dx, dy = (noise[:, i] for i in range(1, 7))
    cos, sin = np.cos(0.1 * turn), np.sin(0.1 * turn)
    wide, tall = np.exp(0.08 * wide), np.exp(0.08 * tall)
    rows = [[wide * cos, wide * (0.12 * slant - sin)], [tall * sin, tall * cos]]
    affine = np.moveaxis(np.array(rows, np.float32), -1, 0)  # [D, 2, 2]
    shift = 0.03 * np.stack([dx, dy], -1)[:, :, None]
    bumps = noise[:, 7:].reshape(len(noise), 2, -1)
    return affine @ grid + shift + 0.06 * bumps @ waves


@lru_cache(maxsize=8)
def _basis(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres [2, P] in -1..1 and the cosines [H * H, P] of the elastic field."""
    line = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    y, x = (v.ravel() for v in np.meshgrid(line, line, indexing="ij"))
    waves = [
        np.cos(np.pi / 2 * j * (x + 1)) * np.cos(np.pi / 2 * k * (y + 1)) / max(1, j + k)
        for j in range(_HARMONICS)
        for k in range(_HARMONICS)
    ]
    return np.stack([x, y]), np.array(waves, np.float32)


def _sample(masters: np.ndarray, which: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Sample uint8 masters [F, M, M] bilinearly at [D, 2, P] in -1..1: float32 [D, P]."""
    side = masters.shape[-1]
    x, y = np.moveaxis(np.clip((at + 1) * (side / 2) - 0.5, 0, side - 1.001), 1, 0)
    left, top = x.astype(np.int32), y.astype(np.int32)
    right, down = x - left, y - top
    flat = masters.reshape(-1)
    first = (which[:, None] * side + top) * side + left
    upper = flat[first] * (1 - right) + flat[first + 1] * right
    lower = flat[first + side] * (1 - right) + flat[first + side + 1] * right
    return (upper * (1 - down) + lower * down) / np.float32(255)

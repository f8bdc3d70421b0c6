"""Choose the characters of the built-in set, and write their list.

    python benchmarks/glyphs_list.py [--check]

A character is a letter, number or symbol that at least four faces have, that they draw in one form,
and that looks like no earlier one in any of the reference faces. The held-out scripts come first:
of a shape that two scripts share, the earlier one's is kept. Takes some ten seconds.
"""

import argparse
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from jmeta.data import _glyphs
from jmeta.data._glyphs import _Glyph as Glyph
from jmeta.data._glyphs import _ink as ink_of
from jmeta.data._scripts import FACES, SCRIPTS

RANGES = {  # script -> code points, both ends included
    "georgian": ((0x10A0, 0x10FF), (0x2D00, 0x2D2F)),
    "hebrew": ((0x5D0, 0x5F2), (0xFB1D, 0xFB4F)),
    "lao": ((0xE80, 0xEFF),),
    "armenian": ((0x531, 0x58F), (0xFB13, 0xFB17)),
    "old-italic": ((0x10300, 0x1032F),),
    "latin": ((0x41, 0x2AF), (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF)),
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "cyrillic": ((0x400, 0x52F), (0xA640, 0xA69F)),
    "arabic": ((0x620, 0x6FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF)),
    "canadian": ((0x1400, 0x167F),),
    "mathematical": ((0x2100, 0x214F), (0x1D400, 0x1D7FF)),
    "numbers": ((0x30, 0x39), (0x2150, 0x218F), (0x2460, 0x24FF)),
    "arrows": ((0x2190, 0x21FF), (0x27F0, 0x27FF), (0x2900, 0x297F)),
    "operators": ((0x2200, 0x22FF), (0x27C0, 0x27EF), (0x2980, 0x2AFF)),
    "technical": ((0x2300, 0x23FF),),
    "shapes": ((0x25A0, 0x25FF), (0x2B00, 0x2BFF)),
    "symbols": ((0x2600, 0x26FF),),
    "dingbats": ((0x2701, 0x27BF),),
}
REFERENCES = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
ALIKE = 0.86  # characters whose blurred renders correlate more are one class
FOREIGN = 0.35  # faces whose renders correlate less draw different forms
FEWEST_FACES = 4
HEAD = (
    "# The characters of the set `glyphs`: script, code points. Made by benchmarks/glyphs_list.py\n"
)


def candidates(fonts: dict[str, Path]) -> Iterator[Glyph]:
    """Letters, numbers and symbols that enough faces have, script after script."""
    from fontTools.ttLib import TTFont

    held = {}
    for face, path in fonts.items():
        with TTFont(path, lazy=True) as font:
            held[face] = frozenset(font.getBestCmap())
    for script in SCRIPTS:
        for code in (c for first, last in RANGES[script.name] for c in range(first, last + 1)):
            faces = tuple(face for face in FACES if code in held[face])
            if len(faces) >= FEWEST_FACES and unicodedata.category(chr(code))[0] in "LNS":
                yield Glyph(code, script, faces)


def distinct(glyphs: Iterator[Glyph], fonts: dict[str, Path]) -> list[Glyph]:
    """Keep a character unless it looks like an earlier one in any reference face."""
    seen = [(g, looks) for g in glyphs if (looks := looks_of(g, fonts)) is not None]
    alike = np.zeros((len(seen), len(seen)), bool)
    for r in range(len(REFERENCES)):
        x = np.stack([looks[r] for _, looks in seen])
        alike |= x @ x.T > ALIKE
    kept: list[int] = []
    for i in range(len(seen)):
        if not alike[i, kept].any():
            kept.append(i)
    return [seen[i][0] for i in kept]


def looks_of(glyph: Glyph, fonts: dict[str, Path]) -> list[np.ndarray] | None:
    """The looks of a character in each reference face, or in the first of them that has it.

    None for a character without ink, or one that faces draw as different forms.
    """
    own, stretched = {}, []
    for face in (f for f in REFERENCES if f in glyph.faces):
        if (ink := ink_of(glyph.code, fonts[face], box=48, canvas=64)) is None:
            return None
        own[face] = look(ink)
        stretched.append(look(ink.crop(ink.getbbox()).resize(ink.size)))
    if not own:
        return None
    plain, wide = np.stack(list(own.values())), np.stack(stretched)
    if np.maximum(plain @ plain.T, wide @ wide.T).min() < FOREIGN:
        return None
    return [own.get(face, plain[0]) for face in REFERENCES]


def look(ink: Image.Image) -> np.ndarray:
    """A blurred render as a centred unit vector, so that a product of two is a correlation."""
    blurred = ink.filter(ImageFilter.GaussianBlur(1.5))
    x = np.asarray(blurred.resize((24, 24), Image.Resampling.BOX), np.float32).ravel()
    return (x - x.mean()) / (np.linalg.norm(x - x.mean()) + np.float32(1e-6))


def written() -> str:
    """The list as text, one script a line, neighbours joined."""
    fonts = _glyphs._font_files()
    kept = distinct(candidates(fonts), fonts)
    lines = [
        " ".join([script.name, *spans(g.code for g in kept if g.script == script)])
        for script in SCRIPTS
    ]
    return HEAD + "".join(f"{line}\n" for line in lines)


def spans(codes: Iterable[int]) -> list[str]:
    """Code points in hexadecimal, neighbours as `first-last`.

    >>> spans([65, 67, 68, 69])
    ['41', '43-45']
    """
    found: list[list[int]] = []
    for code in codes:
        if found and code == found[-1][1] + 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return [f"{a:X}" if a == b else f"{a:X}-{b:X}" for a, b in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if outdated")
    text = written()
    if not parser.parse_args().check:
        _glyphs._LIST.write_text(text, encoding="utf-8")
    elif text != _glyphs._LIST.read_text(encoding="utf-8"):
        sys.exit(f"{_glyphs._LIST.name}: not what these fonts give; run benchmarks/glyphs_list.py")


if __name__ == "__main__":
    main()

"""What the set `glyphs` is made from: the code points of scripts, and font faces."""

from typing import NamedTuple

REFERENCES = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
FACES = (  # neighbours are of different families, and so are the first drawings of a class
    "DejaVuSans",
    "DejaVuSerif-Italic",
    "DejaVuSansMono-Bold",
    "STIXGeneral",
    "DejaVuSans-Oblique",
    "DejaVuSerif-Bold",
    "DejaVuSansMono",
    "STIXGeneralBolIta",
    "DejaVuSans-Bold",
    "DejaVuSerif",
    "DejaVuSansMono-BoldOblique",
    "STIXGeneralItalic",
    "DejaVuSans-BoldOblique",
    "DejaVuSerif-BoldItalic",
    "DejaVuSansMono-Oblique",
    "STIXGeneralBol",
)


class Script(NamedTuple):
    """A writing system, or another group of characters, and the part that it belongs to."""

    name: str
    part: str
    ranges: tuple[tuple[int, int], ...]  # code points, both ends included


# The held-out scripts come first: of a shape that two scripts share, the earlier one's is kept.
SCRIPTS = (
    Script("georgian", "test", ((0x10A0, 0x10FF), (0x2D00, 0x2D2F))),
    Script("hebrew", "test", ((0x5D0, 0x5F2), (0xFB1D, 0xFB4F))),
    Script("lao", "test", ((0xE80, 0xEFF),)),
    Script("armenian", "val", ((0x531, 0x58F), (0xFB13, 0xFB17))),
    Script("old-italic", "val", ((0x10300, 0x1032F),)),
    Script("latin", "train", ((0x41, 0x2AF), (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF))),
    Script("greek", "train", ((0x370, 0x3FF), (0x1F00, 0x1FFF))),
    Script("cyrillic", "train", ((0x400, 0x52F), (0xA640, 0xA69F))),
    Script("arabic", "train", ((0x620, 0x6FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF))),
    Script("canadian", "train", ((0x1400, 0x167F),)),
    Script("mathematical", "train", ((0x2100, 0x214F), (0x1D400, 0x1D7FF))),
    Script("numbers", "train", ((0x30, 0x39), (0x2150, 0x218F), (0x2460, 0x24FF))),
    Script("arrows", "train", ((0x2190, 0x21FF), (0x27F0, 0x27FF), (0x2900, 0x297F))),
    Script("operators", "train", ((0x2200, 0x22FF), (0x27C0, 0x27EF), (0x2980, 0x2AFF))),
    Script("technical", "train", ((0x2300, 0x23FF),)),
    Script("shapes", "train", ((0x25A0, 0x25FF), (0x2B00, 0x2BFF))),
    Script("symbols", "train", ((0x2600, 0x26FF),)),
    Script("dingbats", "train", ((0x2701, 0x27BF),)),
)

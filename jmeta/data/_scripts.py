"""What the set `glyphs` is made from: scripts, and font faces; its list has the characters."""

from typing import NamedTuple

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


SCRIPTS = (
    Script("georgian", "test"),
    Script("hebrew", "test"),
    Script("lao", "test"),
    Script("armenian", "val"),
    Script("old-italic", "val"),
    Script("latin", "train"),
    Script("greek", "train"),
    Script("cyrillic", "train"),
    Script("arabic", "train"),
    Script("canadian", "train"),
    Script("mathematical", "train"),
    Script("numbers", "train"),
    Script("arrows", "train"),
    Script("operators", "train"),
    Script("technical", "train"),
    Script("shapes", "train"),
    Script("symbols", "train"),
    Script("dingbats", "train"),
)

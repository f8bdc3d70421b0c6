"""The pages of docs/ say what is so: their Python runs as printed, their commands can be read.

The Python blocks of a page share their names and run in order, in an empty folder. A block whose
first line is `# NAME.py` is also written to that file. Code of other libraries stands in blocks of
the language `py`, which are not run.
"""

import re
import shlex
import sys
import types
from pathlib import Path

import pytest

from jmeta.cli import _parser as parser

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(path for path in DOCS.glob("*.md"))
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
READERS = {
    "train": parser.read_training,
    "bench": parser.read_bench,
    "evaluate": lambda words: parser.evaluate_parser().read(words),
    "data list": lambda words: parser.data_parser("list").read(words),
    "data info": lambda words: parser.data_parser("info").read(words),
    "data prepare": lambda words: parser.data_parser("prepare").read(words),
    "presets": lambda words: parser.Parser("jmeta presets", "").read(words),
}


def identify(path: Path) -> str:
    return path.stem


def blocks(path: Path, language: str) -> list[str]:
    return [body for kind, body in BLOCK.findall(path.read_text()) if kind == language]


def commands(path: Path) -> list[list[str]]:
    """The words behind `jmeta` of every command of a page."""
    found = []
    for body in blocks(path, "bash"):
        for line in body.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "jmeta" in words and words[0] != "pip":
                found.append(words[words.index("jmeta") + 1 :])
    return found


def read(words: list[str]) -> None:
    """Read a command as the command line does, without running it."""
    name = " ".join(words[:2]) if words[0] == "data" else words[0]
    READERS[name](words[len(name.split()) :])


with_code = pytest.mark.parametrize(
    "path", [path for path in PAGES if BLOCK.search(path.read_text())], ids=identify
)


@with_code
@pytest.mark.usefixtures("compiled_once", "no_pictures")
@pytest.mark.filterwarnings("ignore:.*holds no run to go on with")
def test_the_code_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    page = types.ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)
    for body in blocks(path, "python"):
        if name := re.match(r"# (\w+)\.py\n", body):
            (tmp_path / f"{name[1]}.py").write_text(body)
            monkeypatch.delitem(sys.modules, name[1], raising=False)
        exec(compile(body, str(path), "exec"), page.__dict__)
    for words in commands(path):
        read(words)


def anchors(path: Path) -> set[str]:
    """The anchors of the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("path", PAGES, ids=identify)
def test_links_lead_somewhere(path):
    for link in LINK.findall(path.read_text()):
        target, _, anchor = link.partition("#")
        if "://" in link or target.startswith("reference/"):
            continue
        place = (path.parent / target).resolve() if target else path
        if target.startswith("notebooks/"):  # copied there when the site is built
            place = DOCS.parent / target
        assert place.exists(), f"{path.name} links to {link}"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), f"{path.name} links to {link}"


def test_every_page_is_in_the_contents():
    contents = (DOCS / "index.md").read_text()
    for path in PAGES:
        assert path.stem == "index" or re.search(rf"^{path.stem}$", contents, re.MULTILINE)


def test_mistakes_in_commands_are_found():
    with pytest.raises(ValueError, match="strength belongs to imaml"):
        read(["train", "--strength", "7"])

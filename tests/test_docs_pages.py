"""The pages of docs/ say what is so: code runs as printed, commands can be read, links lead on."""

import re
from pathlib import Path

import pages
import pytest

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HERE = [path for path in pages.WITH_CODE if path.stem not in pages.MAKING]


@pytest.mark.parametrize("path", pages.timed(HERE), ids=pages.identify)
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.filterwarnings("ignore:.*holds no run to go on with")
def test_the_code_runs(path, tmp_path, monkeypatch):
    pages.run(path, tmp_path, monkeypatch)


def anchors(path: Path) -> set[str]:
    """The anchors of the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("path", pages.PAGES, ids=pages.identify)
def test_links_lead_somewhere(path):
    for link in LINK.findall(path.read_text()):
        target, _, anchor = link.partition("#")
        if "://" in link or target.startswith("reference/"):
            continue
        place = (path.parent / target).resolve() if target else path
        if target.startswith("notebooks/"):  # copied there when the site is built
            place = pages.DOCS.parent / target
        assert place.exists(), f"{path.name} links to {link}"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), f"{path.name} links to {link}"


def test_every_page_is_in_the_contents():
    contents = (pages.DOCS / "index.md").read_text()
    for path in pages.PAGES:
        assert path.stem == "index" or re.search(rf"^{path.stem}$", contents, re.MULTILINE)


def test_mistakes_in_commands_are_found():
    with pytest.raises(ValueError, match="strength belongs to imaml"):
        pages.read(["train", "--strength", "7"])

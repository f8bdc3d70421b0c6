"""Pages that lie elsewhere in the repository, and links that leave the site."""

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = {  # files of the repository that the site shows, and their pages
    "benchmarks/README.md": "benchmarks.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./([^)#]+)(#[^)]*)?\)")


def copy_notebooks(folder: Path) -> None:
    """Copy the notebooks into the folder of the pages; unchanged ones keep their time."""
    folder.mkdir(exist_ok=True)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        copy = folder / path.name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copy(path, copy)


def on_site(text: str) -> str:
    """Links to files of the repository become links to their pages, or else plain code.

    >>> on_site("see [all](../benchmarks/README.md) and [one](../benchmarks/peers.py)")
    'see [all](benchmarks.md) and `one`'
    """

    def replaced(found: re.Match[str]) -> str:
        label, path, anchor = found[1], found[2].rstrip("/"), found[3] or ""
        if path in PAGES:
            return f"[{label}]({PAGES[path]}{anchor})"
        if path.startswith("notebooks/") and path.endswith(".ipynb"):
            return f"[{label}]({path})"
        if path.startswith("notebooks"):
            return f"[{label}](gallery.md)"
        return f"`{label.strip('`')}`"

    return _LINK.sub(replaced, text)


def read(app, docname: str, source: list[str]) -> None:
    """The hook on the text of each page."""
    if (Path(app.srcdir) / f"{docname}.md").exists():
        source[0] = on_site(source[0])

"""Pages of docs/ as tests: their code runs in an empty folder, their commands are read.

The Python blocks of a page share their names and run in order. A block whose first line is
`# NAME.py` is also written to that file. Code of other libraries, and what asks a server, stands in
blocks of the language `py`, which are not run.
"""

import re
import shlex
import sys
import types
from pathlib import Path

import pytest

from jmeta.cli import _comparing as comparing
from jmeta.cli import _data_parser as data_parsers
from jmeta.cli import _parser as parser
from jmeta.cli import _predicting as predicting
from jmeta.cli import _serving as serving

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)
WITH_CODE = [path for path in PAGES if BLOCK.search(path.read_text())]
MAKING = ("getting_started", "data", "networks", "algorithms")  # about half of the time
QUICK = ("index", "getting_started", "predict", "running", "serve", "data")  # in the default run


def timed(paths: list[Path]) -> list:
    """Pages as parameters; those that few readers begin with are slow."""
    slow = pytest.mark.slow
    return [path if path.stem in QUICK else pytest.param(path, marks=slow) for path in paths]


READERS = {
    "train": parser.read_training,
    "bench": parser.read_bench,
    "evaluate": lambda words: parser.evaluate_parser().read(words),
    "predict": lambda words: predicting.predict_parser().read(words),
    "export": lambda words: predicting.export_parser().read(words),
    "compare": lambda words: comparing.compare_parser().read(words),
    "runs": lambda words: comparing.runs_parser().read(words),
    "serve": lambda words: serving.serve_parser().read(words),
    "data list": lambda words: data_parsers.data_parser("list").read(words),
    "data info": lambda words: data_parsers.data_parser("info").read(words),
    "data prepare": lambda words: data_parsers.data_parser("prepare").read(words),
    "data embed": lambda words: data_parsers.data_parser("embed").read(words),
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


def run(path: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Run the Python of a page in a folder, then read its commands there."""
    patch.chdir(folder)
    patch.syspath_prepend(folder)
    page = types.ModuleType("page")
    patch.setitem(sys.modules, "page", page)
    for body in blocks(path, "python"):
        if name := re.match(r"# (\w+)\.py\n", body):
            (folder / f"{name[1]}.py").write_text(body)
            patch.delitem(sys.modules, name[1], raising=False)
        exec(compile(body, str(path), "exec"), page.__dict__)
    for words in commands(path):
        read(words)

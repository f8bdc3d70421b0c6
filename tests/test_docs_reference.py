"""The reference has an entry for every public name. It is read without building the site."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from test_names import NAMESPACES

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def reference():
    sys.path.insert(0, str(DOCS))
    try:
        yield importlib.import_module("_reference")
    finally:
        sys.path.remove(str(DOCS))


def entries(text: str) -> set[str]:
    """The names that a page documents."""
    found = set(re.findall(r"^\.\. auto(?:class|function):: (\S+)$", text, re.MULTILINE))
    data = re.findall(r"^\.\. py:data:: (\S+)\n   :module: (\S+)$", text, re.MULTILINE)
    found |= {f"{module}.{name}" for name, module in data}
    return found | set(re.findall(r"^\.\. automodule:: (\S+)$", text, re.MULTILINE))


def test_every_namespace_has_a_page(reference):
    assert {*NAMESPACES, "jmeta.bench"} == set(reference.NAMESPACES)
    assert set(reference.pages()) == {f"{n}.rst" for n in [*reference.NAMESPACES, "index"]}


def test_every_public_name_has_an_entry(reference):
    """Each row of a page's table leads to an entry, on this page or on another."""
    pages = reference.pages()
    documented = set().union(*map(entries, pages.values()))
    for namespace in reference.NAMESPACES:
        rows = dict(re.findall(r"\* - :py:obj:`(\S+) <(\S+)>`", pages[f"{namespace}.rst"]))
        assert sorted(rows) == sorted(importlib.import_module(namespace).__all__)
        assert set(rows.values()) <= documented


def test_docstrings_become_what_sphinx_reads(reference):
    to_rst = importlib.import_module("_docstrings").to_rst
    lines = [
        "Scale x_ by |x|, as `maml` and `x` do.",
        "",
        "    y = x * 2",
        "",
        "Args:",
        "    x: an array [T] -> [S].",
    ]
    assert to_rst(lines, "jmeta.core") == [
        "Scale x\\_ by \\|x\\|, as :py:obj:`maml <jmeta.maml>` and ``x`` do.",
        "",
        "::",
        "",
        "    y = x * 2",
        "",
        "",
        "Args:",
        "    x: an array [T] -> [S].",
    ]

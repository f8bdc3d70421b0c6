"""The public names, so that none comes, goes or moves by accident: tests/names.txt."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import jmeta

FILE = Path(__file__).with_name("names.txt")
NAMESPACES = [
    "jmeta",
    "jmeta.augment",
    "jmeta.core",
    "jmeta.data",
    "jmeta.distances",
    "jmeta.few",
    "jmeta.learners",
    "jmeta.losses",
    "jmeta.metrics",
    "jmeta.nn",
    "jmeta.sklearn",
    "jmeta.testing",
    "jmeta.tracking",
    "jmeta.train",
    "jmeta.transfer",
]
namespaces = pytest.mark.parametrize("namespace", NAMESPACES)


def read() -> dict[str, list[str]]:
    """Namespace -> its names, as they are written down."""
    found: dict[str, list[str]] = {}
    for line in FILE.read_text().splitlines():
        if line.startswith("[") and line.endswith("]"):
            names = found.setdefault(line[1:-1], [])
        elif line:
            names.append(line)
    return found


def write() -> None:
    """Write the names down as they are: `python tests/test_names.py`."""
    parts = []
    for namespace in NAMESPACES:
        names = sorted(importlib.import_module(namespace).__all__)
        parts.append("\n".join([f"[{namespace}]", *names]))
    FILE.write_text("\n\n".join(parts) + "\n")


@namespaces
def test_names_are_those_written_down(namespace: str) -> None:
    """After a change that is meant, run `python tests/test_names.py`."""
    found = importlib.import_module(namespace).__all__
    assert sorted(found) == read()[namespace]
    assert len(found) == len(set(found))


def test_nothing_else_is_written_down() -> None:
    assert list(read()) == NAMESPACES


def test_the_top_level_is_small() -> None:
    assert 40 <= len(jmeta.__all__) <= 50


@namespaces
def test_every_name_is_there_and_documented(namespace: str) -> None:
    module = importlib.import_module(namespace)
    assert module.__doc__
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
            assert inspect.getdoc(value), f"{namespace}.{name} has no docstring"
            generated = inspect.isclass(value) and value.__doc__.startswith(f"{name}(")
            assert not generated, f"{namespace}.{name} has only the docstring of its fields"


def test_no_public_module_is_shadowed_by_another_object() -> None:
    modules = [m.name for m in pkgutil.walk_packages(jmeta.__path__, "jmeta.")]
    public = [name for name in modules if "._" not in name and not name.endswith("__main__")]
    for name in public:
        module = importlib.import_module(name)
        parent, _, last = name.rpartition(".")
        assert getattr(importlib.import_module(parent), last) is module, f"{name} is shadowed"
    assert {name.rpartition(".")[2] for name in public}.isdisjoint(
        {name for name in jmeta.__all__ if not inspect.ismodule(getattr(jmeta, name))}
    )


def test_what_is_private_is_not_exported() -> None:
    for namespace in NAMESPACES:
        hidden = [name for name in read()[namespace] if name.startswith("_")]
        assert set(hidden) <= {"__version__"}


if __name__ == "__main__":
    write()

"""The reference: a page for each namespace, with an entry for every name in its `__all__`."""

import importlib
import inspect
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

NAMESPACES = (
    "jmeta",
    "jmeta.core",
    "jmeta.learners",
    "jmeta.losses",
    "jmeta.metrics",
    "jmeta.distances",
    "jmeta.nn",
    "jmeta.data",
    "jmeta.augment",
    "jmeta.transfer",
    "jmeta.train",
    "jmeta.few",
    "jmeta.sklearn",
    "jmeta.tracking",
    "jmeta.testing",
    "jmeta.bench",
)
NOTES = {  # values without a docstring or a comment where they are assigned
    "__version__": "The version of jmeta.",
    "everything": "The `Selection` of all parameters that are learned: MAML.",
    "Report": "`(outputs [E, Q, ...], targets [E, Q]) -> name -> Estimate`, over E episodes.",
    "ALGORITHMS": "Name on the command line -> the class of an algorithm.",
    "NETWORKS": "Name on the command line -> the class of a network.",
    "PRESETS": "Name -> experiment; `jmeta presets` describes them.",
    "SOURCES": "Name on the command line -> the class of a source.",
    "Progress": "`(event) -> None`: a run calls it at each event, which is a dictionary.",
}


@cache
def homes() -> dict[str, str]:
    """Public name -> the public name under which the same object has its entry.

    An object that several namespaces export has one entry, in the first of them.
    """
    found: dict[str, str] = {}
    seen: dict[Any, str] = {}
    for namespace in NAMESPACES:
        for name, value in members(namespace):
            full = f"{namespace}.{name}"
            found[full] = seen.setdefault((id(value), name), full) if is_own(value) else full
    return found


@cache
def origins() -> dict[str, str]:
    """Where an object is defined -> the public name of its entry."""
    return {
        f"{value.__module__}.{value.__qualname__}": homes()[f"{namespace}.{name}"]
        for namespace in NAMESPACES
        for name, value in members(namespace)
        if is_own(value) and not inspect.ismodule(value) and hasattr(value, "__qualname__")
    }


def members(namespace: str) -> list[tuple[str, Any]]:
    """The public names of a namespace, and what they are."""
    module = importlib.import_module(namespace)
    return [(name, getattr(module, name)) for name in module.__all__]


def is_own(value: Any) -> bool:
    """Whether an object is a class, a function or a module of jmeta."""
    if isinstance(value, ModuleType):
        return value.__name__.startswith("jmeta")
    known = inspect.isclass(value) or inspect.isroutine(value)
    return known and str(getattr(value, "__module__", "")).startswith("jmeta")


def pages() -> dict[str, str]:
    """File name -> its content."""
    found = {f"{name}.rst": page(name) for name in NAMESPACES}
    tree = "\n".join(f"   {name}" for name in NAMESPACES)
    rows = "\n".join(f"   * - :doc:`{name}`\n     - {_summary(name)}" for name in NAMESPACES)
    found["index.rst"] = (
        f"{_title('Reference')}\nEvery public name, from its docstring.\n\n"
        f".. list-table::\n   :widths: 25 75\n\n{rows}\n\n"
        f".. toctree::\n   :hidden:\n\n{tree}\n"
    )
    return found


def page(namespace: str) -> str:
    """The page of a namespace: its docstring, a table of its names, and their entries."""
    everything = members(namespace)
    rows = "\n".join(
        f"   * - :py:obj:`{name} <{_target(namespace, name)}>`\n     - "
        f"{_first_line(f'{namespace}.{name}', value)}"
        for name, value in everything
    )
    entries = "\n".join(
        entry(f"{namespace}.{name}", value)
        for name, value in everything
        if homes()[f"{namespace}.{name}"] == f"{namespace}.{name}" and not inspect.ismodule(value)
    )
    return (
        f"{_title(namespace)}\n.. automodule:: {namespace}\n   :no-members:\n\n"
        f".. list-table::\n   :widths: 30 70\n\n{rows}\n\n{entries}"
    )


def entry(full: str, value: Any) -> str:
    """The directive that documents one name."""
    if is_own(value):
        return f".. auto{'class' if inspect.isclass(value) else 'function'}:: {full}\n"
    about = " ".join([_comment(full), _contents(value)]).strip()
    namespace, _, name = full.rpartition(".")
    return f".. py:data:: {name}\n   :module: {namespace}\n\n{about and f'   {about}' + chr(10)}"


def _target(namespace: str, name: str) -> str:
    """What a row of a table links to."""
    value = dict(members(namespace))[name]
    return value.__name__ if inspect.ismodule(value) else homes()[f"{namespace}.{name}"]


def _first_line(full: str, value: Any) -> str:
    import _docstrings

    if isinstance(value, ModuleType) or is_own(value):
        line = (inspect.getdoc(value) or "").strip().splitlines()[0]
        return _docstrings.marked_up(line, full.rpartition(".")[0] or "jmeta")
    return _comment(full)


def _summary(namespace: str) -> str:
    return _first_line(namespace, importlib.import_module(namespace))


def _contents(value: Any) -> str:
    """The names in a table such as `jmeta.train.ALGORITHMS`."""
    names = ", ".join(f"``{name}``" for name in value) if isinstance(value, Mapping) else ""
    return f"Names: {names}." if names else ""


def _comment(full: str) -> str:
    """What explains an alias or a table: a note, or the comment where it is assigned."""
    import _docstrings

    namespace, _, name = full.rpartition(".")
    if name in NOTES:
        return _docstrings.marked_up(NOTES[name], namespace)
    place = Path(str(importlib.import_module(namespace).__file__))
    root = Path(str(importlib.import_module("jmeta").__file__)).parent
    files = [place] if place.name != "__init__.py" else [*place.parent.glob("_*.py")]
    for path in sorted(files) + sorted(root.rglob("_*.py")):
        if found := re.search(rf"^{name}\b[^=\n]*= .*?  # (.+)$", path.read_text(), re.MULTILINE):
            sentence = found[1][0].upper() + found[1][1:]
            return _docstrings.marked_up(sentence + "." * (sentence[-1] != "."), namespace)
    return ""


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"


def write(folder: Path) -> None:
    """Write the pages; unchanged ones keep their time."""
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def resolve(app, env, node, contnode):
    """Link the types of a signature, which are named by private modules, to their entries."""
    target = origins().get(node.get("reftarget", ""))
    if node.get("refdomain") != "py" or target is None:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, contnode)

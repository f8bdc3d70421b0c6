"""Docstrings of plain text and Markdown's habits, made into what Sphinx reads.

`code` becomes a link where it is a public name, and literal text elsewhere; indented equations and
programs become literal blocks; all other signs stand for themselves.
"""

import inspect
import re
from dataclasses import fields, is_dataclass
from typing import Any

import _reference

_SECTION = re.compile(r"^(Args|Arguments|Raises|Returns|Yields|Attributes|Note|Example)s?:$")
_CODE = re.compile(r"`([^`]+)`")
_ITEM = re.compile(r"^\s+(\*{0,2}\w+)(, \*{0,2}\w+)*( \([^)]*\))?:(?= |$)")
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


def process(app, what, name, obj, options, lines) -> None:
    """The hook on a docstring, before Napoleon."""
    namespace = next((n for n in reversed(_reference.NAMESPACES) if name.startswith(n)), "jmeta")
    lines[:] = [*to_rst(lines, namespace), *_members_of(obj, namespace), ""]


def to_rst(lines: list[str], namespace: str) -> list[str]:
    """A docstring as reStructuredText with the sections of Google's style."""
    found: list[str] = []
    prose: list[str] = []
    state = "prose"  # or "section", "literal", "doctest"

    def flush() -> None:
        found.extend(marked_up("\n".join(prose), namespace).split("\n") if prose else [])
        prose.clear()

    for index, line in enumerate(lines):
        indented, blank = line.startswith("    "), not line.strip()
        after_blank = index > 0 and not lines[index - 1].strip()
        if state == "doctest" and blank:
            state = "prose"
        elif state == "literal" and not (blank or indented):
            found.append("")
            state = "prose"
        if state == "section" and not (blank or indented):
            state = "prose"
        if line.lstrip().startswith(">>>"):
            flush()
            state = "doctest"
        elif _SECTION.match(line):
            state = "section"
        elif state == "prose" and indented and after_blank:
            flush()
            found.extend(["::", ""])
            state = "literal"
        if state in ("doctest", "literal"):
            found.append(line)
        elif state == "section" and _ITEM.match(line):
            flush()
            cut = _ITEM.match(line).end()  # type: ignore[union-attr]
            found.append(line[:cut])
            prose.append(line[cut:])
            flush()
            found[-2:] = ["".join(found[-2:])]
        else:
            prose.append(line)
    flush()
    return found


def marked_up(text: str, namespace: str) -> str:
    """Some prose with links to public names."""
    pieces = _CODE.split(text)
    pieces[::2] = [_escaped(piece) for piece in pieces[::2]]
    pieces[1::2] = [_code(piece, namespace) for piece in pieces[1::2]]
    # A role must end before a letter, as in `x`s.
    joined = "".join(
        piece + ("\\ " if i % 2 and i + 1 < len(pieces) and pieces[i + 1][:1].isalnum() else "")
        for i, piece in enumerate(pieces)
    )
    return _ARXIV.sub(r"`arXiv:\1 <https://arxiv.org/abs/\1>`__", joined)


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\\\")
    text = re.sub(r"\|", r"\\|", text)
    text = re.sub(r"(?m)(?<!^)\*(?! )|(?<=\S)\*|(?<=\S )\*", r"\\*", text)
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", text)


def _code(text: str, namespace: str) -> str:
    text = " ".join(text.split())
    for prefix in (f"{namespace}.", "", "jmeta.", "jmeta.core.", "jmeta.learners."):
        if target := _reference.homes().get(prefix + text):
            return f":py:obj:`{text} <{target}>`"
    return f"``{text}``"


def _members_of(obj: Any, namespace: str) -> list[str]:
    """The fields of a named tuple with their comments, or the options of a part."""
    if not inspect.isclass(obj):
        return []
    if hasattr(obj, "_fields"):
        return _field_list(_comments(obj), namespace)
    if is_dataclass(obj):
        return _option_list(obj, namespace)
    return []


def _comments(obj: type) -> dict[str, str]:
    """Field -> the comment behind it."""
    source = inspect.getsource(obj)
    found = {}
    for name in obj._fields:  # type: ignore[attr-defined]
        hit = re.search(rf"^    {name}: .*?  # (.+)$", source, re.MULTILINE)
        found[name] = hit[1] if hit else ""
    return found


def _field_list(comments: dict[str, str], namespace: str) -> list[str]:
    if not comments:
        return []
    items = [
        f"* ``{name}``" + (f": {marked_up(text, namespace)}" if text else "")
        for name, text in comments.items()
    ]
    return ["", "Fields:", "", *items]


def _option_list(obj: type, namespace: str) -> list[str]:
    items = []
    for field in fields(obj):
        about = field.metadata.get("option")
        if about is not None:
            text = marked_up(about.help, namespace)
            items.append(f"* ``{field.name}`` (default ``{field.default!r}``): {text}")
    return ["", "Options:", "", *items] if items else []


def signature(app, what, name, obj, options, arguments, returns):
    """Signatures without the arguments that Flax adds to every module, and none of a protocol."""
    if getattr(obj, "_is_protocol", False):
        return "", None
    if arguments and "Sentinel" in arguments:
        arguments = re.sub(r", parent: .*\)$", ")", arguments)
    return arguments, returns


def skip(app, what, name, obj, skipped, options):
    """Leave out what a class has of its kind, and keep the call that a protocol describes."""
    if type(obj).__name__ == "_tuplegetter" or name == "setup":  # listed as fields; Flax's own
        return True
    if name == "__call__" and getattr(obj, "__module__", "") == "jmeta.core._types":
        return False
    return None

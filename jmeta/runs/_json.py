"""Stored JSON: written whole or not at all, and checked before it is used.

Everything that a run reads back comes through `read_json` or `read_lines`. They limit the size of a
file, the depth of its nesting and the size of its numbers, compare it with a schema, and raise one
line that names the file and the place in it.
"""

import json
import math
import re
import stat
from pathlib import Path
from typing import Any

LARGEST = 2**28  # bytes of a file
DEEPEST = 32  # brackets within brackets
LONGEST = 2**63  # whole numbers are smaller

_STRINGS = re.compile(r'(?s)"[^"\\]*+(?:\\.[^"\\]*+)*+"?')  # in one pass, whatever it holds
_WORDS: dict[Any, str] = {
    int: "a whole number that is not negative",
    float: "a finite number",
    str: "text",
    bool: "true or false",
    None: "null",
}


def read_json(path: Path, schema: Any) -> Any:
    """Read and check a file of JSON.

    Args:
        path: the file.
        schema: what it must hold, see `check`.

    Raises:
        ValueError: the file is a folder, a pipe or a device, too large, no UTF-8, no JSON, nested
            too deeply, holds a number that is too large, or does not fit the schema.
        OSError: the file cannot be read.
    """
    check_regular(path)
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size} bytes, where at most {LARGEST} are expected.")
    try:
        return check(parse(path.read_bytes()), schema)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_lines(path: Path, schema: Any) -> list[Any]:
    """Read and check a file with one JSON value a line.

    The last line is left out where it cannot be read, since a kill may have cut it off.

    Args:
        path: the file; without one there are no lines.
        schema: what each line must hold, see `check`.

    Raises:
        ValueError: as `read_json`, with the number of the line.
        OSError: the file cannot be read.
    """
    found: list[Any] = []
    if not path.exists():
        return found
    check_regular(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                found.append(check(parse(line), schema))
            except ValueError as error:
                if not file.peek(1):  # nothing follows
                    break
                raise ValueError(f"{path}, line {number}: {error}") from error
    return found


def check_regular(path: Path) -> None:
    """Refuse what is no file before it is opened, since a pipe would block for ever.

    Raises:
        ValueError: it is no regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} is a folder, a pipe or a device; expected a regular file.")


def parse(content: bytes, **hooks: Any) -> Any:
    """The value of some JSON; `hooks` are those of `json.loads`.

    Raises:
        ValueError: bytes that are no UTF-8 or no JSON, deep nesting, or a number that is too large.

    >>> parse(b'{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    >>> parse(b"[" * 10_000)
    Traceback (most recent call last):
    ...
    ValueError: it is nested more than 32 levels deep.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text at byte {error.start}.") from error
    if _depth(text) > DEEPEST:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep.")
    try:
        numbers = {"parse_int": _whole, "parse_float": _finite, "parse_constant": _absent}
        return json.loads(text, **{**numbers, **hooks})
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error}.") from error


def _depth(text: str) -> int:
    """How deeply brackets stand within brackets, outside strings."""
    depth = deepest = 0
    for character in re.findall(r"[\[\]{}]", _STRINGS.sub("", text)):
        depth += 1 if character in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _whole(digits: str) -> int:
    if len(digits) > 20 or abs(number := int(digits)) >= LONGEST:
        raise ValueError(f"the number {digits[:20]}... is too large: expected less than 2^63.")
    return number


def _absent(name: str) -> None:
    """NaN and Infinity, which earlier versions wrote, are null as in `finite`."""


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"the number {digits[:20]} is not finite.")
    return number


def check(value: Any, schema: Any, place: str = "") -> Any:
    """Refuse a value that does not fit a schema, and return one that does.

    Args:
        value: what was read.
        schema: a type (`int` for whole numbers from 0; `float` for numbers; `str`; `bool`; `dict`
            for any object), None for null, a tuple of alternatives, a list with the schema of each
            item, or a dictionary: key -> schema, all of which must be there. The key `...` has the
            schema of all other keys, which are not looked at without it.
        place: where the value stands, for the message.

    Raises:
        ValueError: it does not fit.

    >>> check({"step": 3, "value": None}, {"step": int, "value": (float, None)})
    {'step': 3, 'value': None}
    >>> check({"steps": [{"mean": True}]}, {"steps": [{"mean": float}]})
    Traceback (most recent call last):
    ...
    ValueError: steps[0].mean must be a finite number, but got true.
    """
    if isinstance(schema, dict) and isinstance(value, dict):
        for key in schema:
            if key is not ... and key not in value:
                raise ValueError(f"{_joined(place, key)} is missing.")
        for key, item in value.items():
            if key in schema or ... in schema:
                check(item, schema.get(key, schema.get(...)), _joined(place, key))
    elif isinstance(schema, list) and isinstance(value, list):
        for index, item in enumerate(value):
            check(item, schema[0], f"{place}[{index}]")
    elif not any(_fits(value, kind) for kind in _alternatives(schema)):
        raise ValueError(f"{place or 'it'} must be {_said(schema)}, but got {_shown(value)}.")
    elif isinstance(schema, tuple):
        nested = [kind for kind in schema if isinstance(kind, dict | list)]
        if nested and isinstance(value, dict | list):
            check(value, nested[0], place)
    return value


def _alternatives(schema: Any) -> tuple[Any, ...]:
    return schema if isinstance(schema, tuple) else (schema,)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind; what stands inside it is another matter."""
    if kind is None:
        return value is None
    if kind is int:
        return type(value) is int and value >= 0
    if kind is float:
        return type(value) in (int, float)
    if isinstance(kind, dict | list):
        return type(value) is type(kind)
    return type(value) is kind


def _said(schema: Any) -> str:
    """A schema in words.

    >>> _said((float, None))
    'a finite number or null'
    """
    kinds = [
        type(kind) if isinstance(kind, dict | list) else kind for kind in _alternatives(schema)
    ]
    words = {**_WORDS, dict: "an object", list: "a list"}
    return " or ".join(words[kind] for kind in kinds)


def _joined(place: str, key: str) -> str:
    """The place of an entry.

    >>> _joined("best", "step"), _joined("", "a b")
    ('best.step', "'a b'")
    """
    name = key if key.isidentifier() else repr(key[:60])
    return f"{place}.{name}" if place else name


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."

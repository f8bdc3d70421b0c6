"""Requests from anyone: JSON that is checked down to each number before anything is computed.

A text in a request is a label, base64 or the cell of a table. None is ever the name of a file.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jmeta.data._images import image_size
from jmeta.few import FewShot
from jmeta.runs._json import parse
from jmeta.serve._errors import Refused
from jmeta.serve._limits import LABEL, TOGETHER, Limits

LARGEST = 1e30  # numbers are smaller; a float32 ends at 3.4e38
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


class Asked(NamedTuple):
    """The examples of a request, as `jmeta.few` takes them."""

    x: Any  # images as bytes and arrays, or a dictionary of columns
    y: list[Any]  # labels or numbers; empty without answers


def read(body: bytes, names: Sequence[str]) -> dict[str, Any]:
    """The object in a body, which has these fields and no others.

    Raises:
        Refused: it is no JSON, or no such object.

    >>> read(b'{"session": "a"}', ["session"])
    {'session': 'a'}
    """
    try:
        value = parse(body, object_pairs_hook=_once, parse_constant=_no_number)
    except ValueError as error:
        raise Refused(400, f"the body cannot be used: {str(error)[:200]}") from error
    return _fields(value, names, "the body")


def examples_of(value: Any, few: FewShot, limits: Limits, *, answers: bool) -> Asked:
    """The examples of a request.

    Args:
        value: what stands under "examples".
        few: the model.
        limits: of the server.
        answers: whether each example has its label or number.

    Raises:
        Refused: there are too many examples, classes or pixels, or one of them cannot be used.
    """
    if not isinstance(value, list) or not value:
        raise Refused(422, "examples must be a list of at least one example.")
    if len(value) > limits.examples:
        raise Refused(413, f"there are {len(value)} examples; send at most {limits.examples}.")
    answer = ("label" if few.kind == "classes" else "y") if answers else None
    found = [_example(each, answer, few, f"examples[{i}]") for i, each in enumerate(value)]
    _check_pixels([x for x, _ in found], limits)
    y = [y for _, y in found] if answers else []
    if few.kind == "classes" and len(set(y)) > limits.classes:
        raise Refused(413, f"there are {len(set(y))} classes; send at most {limits.classes}.")
    if few.columns is None:
        return Asked([x for x, _ in found], y)
    return Asked({name: [x[name] for x, _ in found] for name in few.columns}, y)


def _example(value: Any, answer: str | None, few: FewShot, place: str) -> tuple[Any, Any]:
    """One example, and its label or number or None."""
    if not isinstance(value, dict):
        raise Refused(422, f"{place} must be an object.")
    kind = "image" if "image" in value and few.takes_images else "x"
    given = _fields(value, [kind, *([answer] if answer else [])], place)
    if kind == "image":
        x: Any = _image(given["image"], f"{place}.image")
    elif few.columns is not None:
        x = _row(given["x"], few.columns, f"{place}.x")
    else:
        x = _array(given["x"], few.example_shape, f"{place}.x")
    if answer is None:
        return x, None
    return x, (_label if answer == "label" else _target)(given[answer], f"{place}.{answer}")


def _fields(value: Any, names: Sequence[str], place: str) -> dict[str, Any]:
    """An object with these fields and no others."""
    said = " and ".join(names)
    if not isinstance(value, dict):
        raise Refused(422, f"{place} must be an object with {said}.")
    if missing := [name for name in names if name not in value]:
        raise Refused(422, f"{place} lacks {missing[0]!r}; it must have {said}.")
    if strange := [name for name in value if name not in names]:
        raise Refused(422, f"{place} has a field {strange[0][:60]!a}; it may have {said} alone.")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which no name stands twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object.")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON.")


def _label(value: Any, place: str) -> str:
    plain = isinstance(value, str) and 0 < len(value) <= LABEL and value.isprintable()
    if not plain or not value.strip():
        raise Refused(422, f"{place} must be text of 1 to {LABEL} printable characters.")
    return value


def _target(value: Any, place: str) -> Any:
    """A number, or a list of a few; `jmeta.few` knows how many."""
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(map(_number, numbers)):
        raise Refused(422, f"{place} must be a finite number below {LARGEST:g}, or a list of them.")
    return value


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < LARGEST


def _image(value: Any, place: str) -> bytes:
    if not isinstance(value, str):
        raise Refused(422, f"{place} must be the base64 of a PNG or a JPEG.")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(422, f"{place} is no base64; send the base64 of a PNG or a JPEG.") from error
    if not data.startswith(_SIGNATURES):
        raise Refused(422, f"{place} is neither a PNG nor a JPEG; send one of these in base64.")
    return data


def _check_pixels(found: Sequence[Any], limits: Limits) -> None:
    """Refuse images that are too large, by their headers, before one is decoded."""
    total = 0
    for place, each in enumerate(found):
        if not isinstance(each, bytes):
            continue
        try:
            wide, high = image_size(each, name=f"examples[{place}].image")
        except ValueError as error:
            raise Refused(422, str(error)) from error
        total += wide * high
        if wide * high > limits.pixels:
            raise Refused(
                413,
                f"examples[{place}].image has {wide}x{high} pixels; send at most {limits.pixels} "
                "in all, scaled down.",
            )
        if total > TOGETHER * limits.pixels:
            raise Refused(
                413,
                f"the images have more than {TOGETHER * limits.pixels} pixels together; send "
                "fewer of them, or scale them down.",
            )


def _array(value: Any, shape: tuple[int, ...], place: str) -> np.ndarray:
    """Nested lists of numbers as an array of the shape of an example."""
    items, regular = [value], True
    for size in shape:
        regular = all(isinstance(each, list) and len(each) == size for each in items)
        if not regular:
            break
        items = [each for item in items for each in item]
    if not regular or not all(map(_number, items)):
        raise Refused(
            422,
            f"{place} must be nested lists of the shape {list(shape)}, of finite numbers below "
            f"{LARGEST:g}.",
        )
    return np.array(items, np.float32).reshape(shape)


def _row(value: Any, columns: Sequence[str], place: str) -> dict[str, Any]:
    """The cells of a row by their columns."""
    if isinstance(value, list) and len(value) == len(columns):
        value = dict(zip(columns, value, strict=True))
    if not isinstance(value, dict) or set(value) != set(columns):
        raise Refused(
            422,
            f"{place} must be an object with a cell for each of the columns "
            f"{', '.join(columns)}, or a list of cells in this order.",
        )
    if not all(_number(cell) or _cell(cell) for cell in value.values()):
        raise Refused(422, f"{place} must have cells that are finite numbers, or short texts.")
    return value


def _cell(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LABEL and value.isprintable()

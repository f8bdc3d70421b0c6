"""What the JSON interface takes and gives, as an OpenAPI document."""

from typing import Any

from jmeta import __version__
from jmeta.few import FewShot
from jmeta.serve._limits import LABEL, Limits

Schema = dict[str, Any]
_NUMBER: Schema = {"type": "number"}
_TEXT: Schema = {"type": "string"}


def description(few: FewShot, limits: Limits) -> dict[str, Any]:
    """The OpenAPI document of a server.

    Args:
        few: its model.
        limits: what clients may ask for.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": f"jmeta serve: {few.title}", "version": __version__},
        "paths": {
            "/health": {
                "get": _operation("Say what is served.", _health(few)),
            },
            "/adapt": {
                "post": _operation(
                    "Learn from a few labelled examples.",
                    _object(session=_TEXT, classes={"type": ["array", "null"], "items": _TEXT}),
                    _object(examples=_list(_example(few, answers=True), limits)),
                ),
            },
            "/predict": {
                "post": _operation(
                    "Predict examples by what a session has learned.",
                    _object(predictions={"type": "array", "items": _prediction(few)}),
                    _object(session=_TEXT, examples=_list(_example(few, answers=False), limits)),
                ),
            },
            "/openapi.json": {"get": _operation("This document.", {"type": "object"})},
        },
    }


def _operation(summary: str, answer: Schema, body: Schema | None = None) -> dict[str, Any]:
    """One method of a path; every error has the same form."""
    error = _content(_object(error=_TEXT))
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "The answer.", **_content(answer)},
            "4XX": {"description": "The request is refused, in one sentence.", **error},
            "503": {"description": "The server is busy.", **error},
        },
    }
    return found if body is None else {**found, "requestBody": {"required": True, **_content(body)}}


def _content(schema: Schema) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _object(**properties: Schema) -> Schema:
    """An object of which every field is required and no other is allowed."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(item: Schema, limits: Limits) -> Schema:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": limits.examples}


def _example(few: FewShot, *, answers: bool) -> Schema:
    """An example: an image or numbers, with its label or number."""
    more: dict[str, Schema] = {}
    if answers and few.kind == "classes":
        more = {"label": {**_TEXT, "minLength": 1, "maxLength": LABEL}}
    elif answers:
        more = {"y": {"oneOf": [_NUMBER, {"type": "array", "items": _NUMBER}]}}
    numbers = _object(x=_x(few), **more)
    if not few.takes_images:
        return numbers
    image = {**_TEXT, "contentEncoding": "base64", "description": "a PNG or a JPEG"}
    return {"oneOf": [_object(image=image, **more), numbers]}


def _x(few: FewShot) -> Schema:
    """Numbers of an example, in lists of its shape; or the cells of a row."""
    if few.columns is not None:
        cell: Schema = {"type": ["number", "string"]}
        row = {"type": "array", "items": cell, "minItems": len(few.columns)}
        return {"oneOf": [_object(**dict.fromkeys(few.columns, cell)), row]}
    found = _NUMBER
    for size in reversed(few.example_shape):
        found = {"type": "array", "items": found, "minItems": size, "maxItems": size}
    return found


def _prediction(few: FewShot) -> Schema:
    if few.kind == "classes":
        shares = {"type": "object", "additionalProperties": _NUMBER}
        return _object(label=_TEXT, probabilities=shares)
    value: Schema = {"type": ["number", "array"]}
    found = _object(value=value, deviation=value)
    return {**found, "required": ["value"]}


def _health(few: FewShot) -> Schema:
    """What /health answers; more fields may come."""
    found = _object(
        status={"const": "ok"},
        model={"const": few.title},
        kind={"enum": ["classes", "numbers"]},
        example={"type": "object"},
        ways={"type": ["integer", "null"]},
        sessions={"type": "integer"},
        limits={"type": "object"},
    )
    return {**found, "additionalProperties": True}

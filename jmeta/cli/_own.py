"""Classes of a person's own that a run was made of."""

from collections.abc import Mapping
from typing import Any

from jmeta.experiments import Part
from jmeta.experiments._names import CHOOSERS, find


def own_parts(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that `--algorithm`, `--network` and `--dataset` name.

    Raises:
        ValueError: there is no such part.
    """
    given = {name: asked.get(name) for name in CHOOSERS}
    return {what: find(what, name) for what, name in given.items() if name is not None}


def known_parts(asked: Mapping[str, Any]) -> list[type[Part]]:
    """Their classes."""
    return [type(part) for part in own_parts(asked).values()]

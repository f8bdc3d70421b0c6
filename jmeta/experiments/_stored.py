"""Experiments as JSON. Nothing that is stored ever causes an import."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from jmeta.experiments._experiment import SECTIONS, Experiment
from jmeta.experiments._names import choose
from jmeta.experiments._options import Part, one_of, options_of
from jmeta.experiments._parts import Budget, Device, Episode, Outer, Points
from jmeta.experiments._tables import ALGORITHMS, NETWORKS, SOURCES

SCHEMA = 2
_TABLES: dict[str, Mapping[str, type[Part]]] = {
    "algorithm": ALGORITHMS,
    "source": SOURCES,
    "network": NETWORKS,
    "episode": {"classes": Episode, "points": Points},
    "outer": {"outer": Outer},
    "budget": {"budget": Budget},
    "device": {"device": Device},
}


def to_json(experiment: Experiment) -> dict[str, Any]:
    """An experiment as a JSON-able dictionary, `{"schema": 2, "algorithm": {...}, ...}`.

    >>> to_json(Experiment())["algorithm"]
    {'name': 'protonet'}
    """
    sections = {name: getattr(experiment, name) for name in SECTIONS}
    return {
        "schema": SCHEMA,
        **{
            name: None if part is None else {"name": stored_name(name, part), **_values(part)}
            for name, part in sections.items()
        },
    }


def stored_name(section: str, part: Part) -> str:
    """The name of a part in its table; `module:Class` for one from outside the package."""
    kind = type(part)
    for name, known in _TABLES[section].items():
        if known is kind:
            return name
    return f"{kind.__module__}:{kind.__qualname__}"


def _values(part: Part) -> dict[str, Any]:
    """The fields of a part."""
    found = {item.name: getattr(part, item.name) for item in fields(part)}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in found.items()}


def from_json(record: Any, known: Iterable[type[Part]] = ()) -> Experiment:
    """The experiment of a dictionary that `to_json` made, by this version or an older one.

    Args:
        record: what was stored.
        known: classes of your own that it may name. Nothing else is ever looked up by a name.

    Raises:
        ValueError: something that is not an experiment, names a part that is not known, or has
            options that this version does not know.

    >>> from_json(to_json(Experiment())) == Experiment()
    True
    """
    if not isinstance(record, dict):
        raise ValueError(f"expected a JSON object, but got {type(record).__name__}.")
    schema = record.get("schema", 1)
    if type(schema) is int and schema == 1:  # True is 1 too
        return from_flat({key: value for key, value in record.items() if key != "schema"})
    if type(schema) is not int or schema != SCHEMA:
        raise ValueError(
            f"it has schema {schema!r}, and this version of jmeta reads 1 to {SCHEMA}; install a "
            "newer one."
        )
    strange = sorted(set(record) - {"schema", *SECTIONS})
    if strange:
        raise ValueError(f"it has sections that this version does not know: {strange}.")
    outside = {f"{kind.__module__}:{kind.__qualname__}": kind for kind in known}
    parts: dict[str, Any] = {name: _part(name, record.get(name), outside) for name in SECTIONS}
    return Experiment(**parts)


def _part(section: str, record: Any, outside: Mapping[str, type[Part]]) -> Part | None:
    """One part."""
    if record is None and section in ("network", "episode"):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("name"), str):
        raise ValueError(f"its {section} is not an object with a name.")
    name = record["name"]
    kind = _TABLES[section].get(name) or outside.get(name)
    if kind is None:
        raise ValueError(_unknown(section, name))
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in record.items()}
    del values["name"]
    strange = sorted(set(values) - {item.name for item in fields(kind)})
    if strange:
        raise ValueError(f"its {section} {name} has options that are not known: {strange}.")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"its {section} {name} cannot be made: {error}.") from error


def _unknown(section: str, name: str) -> str:
    """What is wrong with the name of a part, and what would help if it is one of the user's own."""
    word = "dataset" if section == "source" else section
    if ":" not in name or section not in ("algorithm", "source", "network"):
        return (
            f"its {section} is {name[:60]!r}, and this version knows {', '.join(_TABLES[section])}."
        )
    return (
        f"its {section} is {name}, which is not part of jmeta; give that class again: known=[...] "
        f"in Python, or --{word} {name} on the command line."
    )


def from_flat(record: Mapping[str, Any]) -> Experiment:
    """The experiment of a configuration of schema 1: one flat dictionary of 46 options.

    Options that none of its parts has did nothing, and are left out.

    Raises:
        ValueError: options that there never were, or values that they cannot have.

    >>> flat = {"algorithm": "maml", "dataset": "sinusoid", "network": "mlp", "strength": 2.0}
    >>> from_flat(flat).algorithm.name
    'maml'
    """
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in record.items()}
    flags = {
        flag
        for table in _TABLES.values()
        for kind in table.values()
        for flag, _ in options_of(kind)
    }
    strange = sorted(set(values) - flags - {"algorithm", "dataset", "network"})
    if strange:
        raise ValueError(f"it has options that this version does not know: {strange}.")
    names = {what: values.pop(what, None) for what in ("algorithm", "dataset", "network")}
    names = {
        "algorithm": "protonet",
        "dataset": "glyphs",
        "network": "conv4",
        **{what: name for what, name in names.items() if name is not None},
    }
    for what, table in (("algorithm", ALGORITHMS), ("network", NETWORKS), ("dataset", SOURCES)):
        name = str(names[what])  # never a module:Class, which would be imported
        one_of(what, name.partition(":")[0] if what == "dataset" else name, table)
    chosen = choose(Experiment(), names)
    owned = {flag: value for flag, value in values.items() if flag in chosen.owners()}
    if owned.get("inner_optimizer") == "sgd":
        owned.pop("inner_beta1", None)  # it did nothing
    return chosen.changed(owned)

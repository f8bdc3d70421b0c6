"""What a run knows of its data: written to `data.json` at its start, and compared ever after.

Relative paths stay as they were given. The file says where they were: in the working folder, which
is also kept relative to the run, so that a project may move as a whole, or under the root of the
data sets.
"""

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jmeta.experiments import Domain, Source
from jmeta.experiments._content import PARTS, content, data_folder
from jmeta.experiments._experiment import Origin
from jmeta.runs._json import read_json
from jmeta.runs._programs import Parts

FILE = "data.json"
SCHEMA = 1
_PART = {"examples": (int, None), "digest": str, "classes": ({...: str}, None)}
_STORED = {
    "schema": int,
    "dataset": str,
    "split": (str, None),
    "hash": (str, None),
    "folders": {"working": str, "from_run": str, "root": (str, None)},
    "scaling": (dict, None),
    "parts": {...: _PART},
}


def record(parts: Parts, out: Path, root: str | None) -> dict[str, Any]:
    """What is stored of the data of a new run.

    Args:
        parts: the run; its data have been loaded.
        out: its folder.
        root: where data sets are looked for; None for `$JMETA_DATA`.
    """
    working, info = Path.cwd(), parts.domain.info
    return {
        "schema": SCHEMA,
        "dataset": parts.experiment.source.label,
        "split": info.get("split"),
        "hash": info.get("hash"),
        "folders": {
            "working": str(working),
            "from_run": os.path.relpath(working, os.path.realpath(out)),
            "root": data_folder(root),
        },
        "scaling": info.get("scaling"),
        "parts": content(parts.domain),
    }


def read(out: Path) -> dict[str, Any] | None:
    """What a run has stored of its data; None for a run of an earlier version.

    Raises:
        ValueError: the file is damaged.
    """
    path = out / FILE
    if not path.exists():
        return None
    found = read_json(path, _STORED)
    if found["schema"] != SCHEMA:
        raise ValueError(
            f"{path}: schema must be {SCHEMA}, but got {found['schema']}; install a newer jmeta."
        )
    return found


def digests(record: Mapping[str, Any]) -> dict[str, str]:
    """The digest of each part of a record of data."""
    return {part: held["digest"] for part, held in record["parts"].items()}


def origin(stored: Mapping[str, Any] | None, out: Path) -> Origin | None:
    """Where the data of a run lie, and how they were scaled; None where it has stored nothing."""
    if stored is None:
        return None
    folders = stored["folders"]
    named = [folders["working"], out / folders["from_run"], folders["root"]]
    return Origin(tuple(Path(place) for place in named if place is not None), stored["scaling"])


def changes(stored: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What the data of today do not share with those of a run, a phrase for each part.

    Args:
        stored: what the run has stored of its data.
        here: what the parts hold today, from `content`.
    """
    phrases = [_change(part, stored["parts"].get(part), here.get(part)) for part in PARTS]
    return [phrase for phrase in phrases if phrase]


def _change(part: str, there: dict[str, Any] | None, here: dict[str, Any] | None) -> str:
    """How one part has changed; empty where it has not.

    >>> was = {"digest": "1", "classes": {"a": "x", "b": "y"}}
    >>> _change("test", was, {"digest": "2", "classes": {"a": "x", "b": "z", "c": "u"}})
    "test has 'c' in addition, has other examples of 'b'"
    """
    if there is None or here is None:
        return "" if there is here else f"{part} {'is new' if there is None else 'is gone'}"
    old, new = there["classes"], here["classes"]
    if there["digest"] == here["digest"] and (old is None or new is None or list(old) == list(new)):
        return ""
    if old is None or new is None:
        return f"{part} has other examples"
    pieces = {
        "lacks": [name for name in old if name not in new],
        "has {} in addition": [name for name in new if name not in old],
        "has other examples of": [name for name in old if new.get(name, old[name]) != old[name]],
    }
    said = [_phrase(what, names) for what, names in pieces.items() if names]
    return f"{part} {', '.join(said) or 'has another order or other groups'}"


def _phrase(what: str, names: list[str]) -> str:
    return what.format(shown(names)) if "{}" in what else f"{what} {shown(names)}"


def shown(names: Iterable[str], most: int = 3) -> str:
    """Some names for a message.

    >>> shown("abcde")
    "'a', 'b', 'c' and 2 more"
    """
    listed = [repr(name[:40]) for name in names]
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + rest


def compare(
    stored: Mapping[str, Any] | None, here: Mapping[str, Any], out: Path, *, way_out: str
) -> None:
    """Refuse data that are not those of a run; warn where the run does not know.

    Args:
        stored: what the run has stored of its data; None for a run of an earlier version.
        here: what the parts hold today, from `content`.
        out: the folder of the run.
        way_out: what else a person may do.

    Raises:
        ValueError: they differ; it names what.
    """
    if stored is None and here:
        warnings.warn(
            f"{out} has no record of the data that it was trained on, so nothing says whether "
            "they have changed since",
            stacklevel=3,
        )
    if stored is not None and (found := changes(stored, here)):
        raise ValueError(
            f"the data of {out} have changed since it was trained on {stored['dataset']}: "
            f"{'; '.join(found)}. Bring them back as they were, or {way_out}."
        )


def unseen(trained: Mapping[str, Any], mine: Source, tested: Domain, source: Source) -> list[str]:
    """Refuse test classes that a run has trained on.

    Two classes are the same where their examples are, and where they have one name in one data
    set. In different sets a name may mean another thing (labels are often numbers).

    Args:
        trained: part -> what it holds, of the run's own data.
        mine: the source of the run.
        tested: the domain whose test classes are used.
        source: where they come from.

    Returns:
        Names of test classes that a training class of another set has too.

    Raises:
        ValueError: classes that were trained on.
    """
    learned = (trained.get("train") or {}).get("classes") or {}
    asked = (content(tested).get("test") or {}).get("classes") or {}
    known = set(learned.values())
    named = [name for name in asked if name in learned]
    seen = [name for name in asked if asked[name] in known]
    if type(mine) is type(source) and mine.label == source.label:
        seen, named = [name for name in asked if name in {*seen, *named}], []
    if seen:
        raise ValueError(
            f"the run has trained on {len(seen)} of the {len(asked)} test classes of "
            f"{source.label}: {shown(seen)}; choose a dataset or a division without them."
        )
    return named

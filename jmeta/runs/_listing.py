"""Which runs lie below a folder, and how far each of them has come."""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jmeta.core._home import expanded
from jmeta.experiments import Experiment
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _data as rundata
from jmeta.runs import _records as records
from jmeta.runs._json import check, read_json
from jmeta.runs._lock import writer

RESULT = "result.json"
_TRACES = (rundata.FILE, records.METRICS, records.CHECKPOINTS, RESULT)  # of a run without a config
_MEASURED = {"mean": (float, None), "ci95": (float, None), "episodes": int}
_RESULT = {"metrics": {...: _MEASURED}, "best": dict}
_STORED = {  # what is read of the configuration of a run that has classes of the user's own
    "algorithm": {"name": str},
    "source": {"name": str},
    "episode": {"name": str},
    "budget": {"steps": int},
}
_EMPTY: dict[str, Any] = {
    **{"algorithm": None, "dataset": None, "ways": None, "shots": None, "step": None},
    **{"steps": None, "metric": None, "part": None, "mean": None, "ci95": None},
    **{"finished": None, "writer": None, "problem": None},
}


def list_runs(folder: str | os.PathLike[str] = "runs") -> list[dict[str, Any]]:
    """The runs below a folder at any depth, in the order of their paths; nothing is written.

    Args:
        folder: where they are looked for. A folder that is a run itself is the only one.

    Returns:
        For each run, in values that JSON can hold: "run", its folder; "state", one of "finished",
        "unfinished", "running" (a live process is writing in it, "writer") and "broken" (then
        "problem" says why, and what could be read is there); "algorithm"; "dataset"; "ways" (None
        for regression); "shots"; "step" of "steps", the updates done; "metric", "mean" and
        "ci95", the test result ("part" is "test") or until there is one the last validation
        ("part" is "validation"); "finished", when the result was written, in UTC.

    Raises:
        ValueError: there is no such folder.

    >>> import tempfile
    >>> list_runs(tempfile.mkdtemp())
    []
    """
    top = expanded(folder)
    if not top.is_dir():
        what = "is no folder" if top.exists() else "does not exist"
        raise ValueError(
            f"{top} {what}: expected a folder with runs below it, such as `jmeta train` writes."
        )
    return [_described(path) for path in _found(top)]


def _found(place: Path) -> Iterator[Path]:
    """The folders of runs, and those that look like one or cannot be opened.

    A link is followed where it leads to a run, and not otherwise: so there is no circle.
    """
    if (place / records.CONFIG).exists() or any((place / name).exists() for name in _TRACES):
        yield place
        return
    try:
        inner = sorted(path for path in place.iterdir() if path.is_dir())
    except OSError:
        yield place
        return
    for path in inner:
        if not path.is_symlink() or (path / records.CONFIG).exists():
            yield from _found(path)


def _described(out: Path) -> dict[str, Any]:
    """One run; what cannot be read is said, and what can be read is kept."""
    row = {"run": str(out), "state": "broken", **_EMPTY}
    try:
        row["writer"] = writer(out)
        row |= _planned(out)
        row |= _done(out, row["steps"])
    except (ValueError, OSError) as error:
        row["problem"] = str(error)
        return row
    whole = row["finished"] is not None
    row["state"] = "running" if row["writer"] else "finished" if whole else "unfinished"
    return row


def _planned(out: Path) -> dict[str, Any]:
    """What a run was asked to do.

    Raises:
        ValueError: its configuration is missing or damaged.
    """
    stored = out / records.CONFIG
    if not stored.is_file():
        raise ValueError(f"{stored} is missing.")
    record = read_json(stored, dict)
    if _is_of_another(record):
        return _as_stored(record)
    return _as_read(records.read_config(out))


def _is_of_another(record: Mapping[str, Any]) -> bool:
    """Whether a run was made of a class of the user's own, which a list does not ask for."""
    parts = [record.get(name) for name in ("algorithm", "source", "network")]
    named = [part.get("name") for part in parts if isinstance(part, dict)]
    return any(isinstance(name, str) and ":" in name for name in named)


def _as_read(experiment: Experiment) -> dict[str, Any]:
    size = experiment.episode.testing() if experiment.episode is not None else None
    classes = experiment.source.kind == "classes"
    return {
        "algorithm": experiment.algorithm.name,
        "dataset": experiment.source.label,
        "ways": size.ways if size is not None and classes else None,
        "shots": None if size is None else size.shots,
        "steps": experiment.budget.steps,
    }


def _as_stored(record: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a configuration that names classes which are not at hand.

    Raises:
        ValueError: an entry is missing or of another kind.
    """
    check(record, _STORED)
    episode, source = record["episode"], record["source"]
    path = source.get("path")
    return {
        "algorithm": record["algorithm"]["name"],
        "dataset": f"{source['name']}:{path}" if isinstance(path, str) else source["name"],
        "ways": episode.get("ways"),
        "shots": episode.get("shots"),
        "steps": record["budget"]["steps"],
    }


def _done(out: Path, steps: int) -> dict[str, Any]:
    """How far a run has come, and how good it is.

    Raises:
        ValueError: what it has written is damaged.
    """
    lines = records.read(out)
    kept = checkpoint.steps(out / records.CHECKPOINTS)
    step = max([line["step"] for line in lines] + kept, default=0)
    path = out / RESULT
    if path.is_file() and step >= steps:  # one that is trained longer has that of before
        metrics = read_json(path, _RESULT)["metrics"]
        return {"step": step, "finished": _when(path), **_tested(metrics, _metric(lines))}
    return {"step": step, **_validated(lines)}


def _metric(lines: list[dict[str, Any]]) -> str | None:
    """The metric that a run watches, from its lines."""
    known = ("step", "loss", "tasks_per_second")
    first = next((line for line in lines if "loss" in line), {})
    return next((name for name in first if name not in known), None)


def _tested(metrics: Mapping[str, Any], metric: str | None) -> dict[str, Any]:
    """The metric that says how good a run is; the first of the report where no line names it."""
    name = metric if metric in metrics else next(iter(metrics), None)
    if name is None:
        return {}
    value = metrics[name]
    return {"metric": name, "part": "test", "mean": value["mean"], "ci95": value["ci95"]}


def _validated(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The last validation, if there was one."""
    last = next((line for line in reversed(lines) if "validation" in line), None)
    if last is None:
        return {"metric": _metric(lines)}
    value = {"mean": last["validation"], "ci95": last.get("ci95")}
    return {"metric": _metric(lines), "part": "validation", **value}


def _when(path: Path) -> str:
    """When a file was written, to the second in UTC."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")

"""The files of a run's folder: config.json and metrics.jsonl."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from jmeta.experiments import Experiment, Part, completed, differences, from_json, to_json
from jmeta.runs._checkpoint import write_json


def open_folder(experiment: Experiment, out: Path, *, resume: bool) -> None:
    """Make the folder of a run, or check that it holds this very run.

    Args:
        experiment: the run, completed. It may have more updates than the run in the folder, which
            is then trained longer.
        out: the folder.
        resume: whether the folder may hold the run already.

    Raises:
        ValueError: it holds a run and `resume` is false, or a run of another experiment, or it
            cannot be written.
    """
    try:
        _open(experiment, out, resume=resume)
    except OSError as error:
        raise ValueError(
            f"{out} cannot be written ({error.strerror}); name another --out."
        ) from error


def _open(experiment: Experiment, out: Path, *, resume: bool) -> None:
    stored = out / "config.json"
    if stored.exists():
        if not resume:
            raise ValueError(
                f"{out} holds a run already; go on with it by --resume, or name another --out."
            )
        _compare(experiment, out)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty and holds no run; name another --out.")
    (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    write_json(stored, to_json(experiment))


def _compare(experiment: Experiment, out: Path) -> None:
    """Refuse to go on with a run of another experiment, or with fewer updates."""
    found = completed(read_config(out, parts_of(experiment)))
    longer = experiment.budget.steps > found.budget.steps
    budget = replace(found.budget, steps=experiment.budget.steps) if longer else found.budget
    strange = differences(replace(found, budget=budget), experiment)
    if strange:
        raise ValueError(
            f"the run in {out} is of another experiment: {'; '.join(strange)}; resume it with the "
            "options it began with (only --steps may be larger), or name another --out."
        )


def parts_of(experiment: Experiment) -> list[type[Part]]:
    """The classes of the parts of an experiment, which may be the user's own."""
    found = (experiment.algorithm, experiment.source, experiment.network)
    return [type(part) for part in found if part is not None]


def read_config(out: Path, known: Iterable[type[Part]] = ()) -> Experiment:
    """The experiment of the run in a folder.

    Args:
        out: the folder.
        known: classes of your own that the run was made of.

    Raises:
        ValueError: the folder is missing or holds no readable run, or the run names a part that
            is not known.
    """
    stored = out / "config.json"
    if not stored.is_file():
        what = "holds no run" if out.is_dir() else "does not exist"
        raise ValueError(f"{out} {what}: expected a folder that `jmeta train --out` has written.")
    try:
        return from_json(json.loads(stored.read_text()), known)
    except ValueError as error:  # JSON that cannot be decoded too
        raise ValueError(f"{stored} is not the configuration of a run: {error}") from error


def append(out: Path, line: dict[str, Any]) -> None:
    """Add one line to metrics.jsonl."""
    with (out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def read(out: Path) -> list[dict[str, Any]]:
    """All whole lines of metrics.jsonl; a line cut off by a kill is left out."""
    path = out / "metrics.jsonl"
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def truncate(out: Path, *, after: int) -> None:
    """Drop the lines of updates after step `after`, which will be made again."""
    kept = [json.dumps(line) + "\n" for line in read(out) if line["step"] <= after]
    scratch = out / "metrics.jsonl.tmp"
    scratch.write_text("".join(kept))
    scratch.replace(out / "metrics.jsonl")

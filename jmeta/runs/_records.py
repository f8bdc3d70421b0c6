"""The files of a run's folder: config.json and metrics.jsonl."""

import json
from pathlib import Path
from typing import Any

from jmeta.runs._checkpoint import write_json
from jmeta.train.config import Config, differences, from_json, to_json


def open_folder(config: Config, out: Path, *, resume: bool) -> None:
    """Make the folder of a run, or check that it holds this very run.

    Raises:
        ValueError: it holds a run and `resume` is false, or a run of another configuration, or
            it cannot be written.
    """
    try:
        _open(config, out, resume=resume)
    except OSError as error:
        raise ValueError(
            f"{out} cannot be written ({error.strerror}); name another --out."
        ) from error


def _open(config: Config, out: Path, *, resume: bool) -> None:
    stored = out / "config.json"
    if stored.exists():
        if not resume:
            raise ValueError(
                f"{out} holds a run already; go on with it by --resume, or name another --out."
            )
        strange = differences(read_config(out), config)
        if strange:
            raise ValueError(
                f"the checkpoint in {out} is of another configuration: {'; '.join(strange)}; "
                "resume with the options it began with, or name another --out."
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is not empty and holds no run; name another --out.")
    (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    write_json(stored, to_json(config))


def read_config(out: Path) -> Config:
    """The config of the run in a folder.

    Raises:
        ValueError: the folder is missing or holds no readable run.
    """
    stored = out / "config.json"
    if not stored.is_file():
        what = "holds no run" if out.is_dir() else "does not exist"
        raise ValueError(f"{out} {what}: expected a folder that `jmeta train --out` has written.")
    try:
        return from_json(json.loads(stored.read_text()))
    except (json.JSONDecodeError, AttributeError, TypeError) as error:
        raise ValueError(f"{stored} is no config of a run: {error}") from error


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

"""Files that are written whole or not at all, and JSON in them."""

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any


def write_json(path: Path, record: Any) -> None:
    """Write JSON whole or not at all; null in the place of what is not finite."""
    write_whole(path, json.dumps(finite(record), indent=2) + "\n")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all, also where the power fails."""
    scratch = path.with_name(path.name + ".tmp")
    try:
        with scratch.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise


def write_out(path: Path, record: Any) -> None:
    """Write JSON to where a person asked for it, as `write_text`."""
    write_text(path, json.dumps(finite(record), indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text to where a person asked for it: a file, or what stands in the place of one.

    A file is written whole or not at all; of a link, the file that it leads to. A device, a pipe
    or a standard stream is written to, and stays what it is.
    """
    streams = path.absolute().parts[1:2] in (("dev",), ("proc",))  # /dev/stdout may be a file
    if path.exists() and (streams or not path.is_file()):
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
        return
    write_whole(Path(os.path.realpath(path)), text)


def check_out(path: Path | None) -> None:
    """Refuse a file that `write_out` could not write, before the work that it is to hold.

    Raises:
        ValueError: its folder is missing or takes no files, or it is a folder itself.

    >>> check_out(None)
    """
    if path is None or path.is_file():
        return
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file to write the record to.")
    if path.exists():
        return
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise ValueError(f"{path} cannot be written: its folder does not exist; make it first.")
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            target.with_name(f"{target.name}.tmp").exists()  # a name can be too long
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written: {error.strerror}; name another file."
        ) from error


def finite(value: Any) -> Any:
    """Null in the place of what JSON has no number for.

    >>> finite({"mean": float("nan"), "each": (1.0, float("inf"))})
    {'mean': None, 'each': [1.0, None]}
    """
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

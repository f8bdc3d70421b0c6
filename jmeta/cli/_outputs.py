"""Files that a person asks for by an option."""

from collections.abc import Sequence
from pathlib import Path

from jmeta.runs._writing import check_out


def check_named(path: Path | None, suffixes: Sequence[str], option: str) -> None:
    """Refuse a file that cannot be written, before the work that it is to hold.

    Args:
        path: the file; None where none is asked for.
        suffixes: how its name may end.
        option: that named it.

    Raises:
        ValueError: its name ends otherwise, or its folder is missing or takes no files.
    """
    if path is not None and path.suffix.lower() not in suffixes:
        raise ValueError(
            f"{option} must be a file that ends in {' or '.join(suffixes)}, but got {path}."
        )
    check_out(path)

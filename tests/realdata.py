"""Real data for tests: found under $JMETA_DATA, skipped without it, demanded on CI."""

import os
from pathlib import Path

import pytest


def require(name: str) -> Path:
    """The folder or file `$JMETA_DATA/<name>`; without it skip, or fail where $CI is set."""
    root = os.environ.get("JMETA_DATA")
    path = Path(root).expanduser() / name if root else None
    if path is not None and path.exists():
        return path
    where = f"there is no {path}" if path else "JMETA_DATA is not set"
    reason = f"needs {name}: {where}; set JMETA_DATA to the folder that holds {name}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)

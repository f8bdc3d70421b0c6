"""The `jmeta` command."""

from jmeta.cli._main import main

__all__ = ["main"]

"""The `jmeta` command."""

from jmeta.cli._commands import main

__all__ = ["main"]

"""The version of the installed package."""

from importlib import metadata

try:
    __version__ = metadata.version("jmeta")
except metadata.PackageNotFoundError:  # a checkout that is not installed
    __version__ = "unknown"

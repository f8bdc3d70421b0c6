"""What `jmeta data list`, `info` and `prepare` do."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from jmeta import data
from jmeta.cli import _parser as parser
from jmeta.cli._table import table

Words = Sequence[str]


def list_(words: Words) -> int:
    """`jmeta data list`."""
    parser.data_parser("list").read(words)
    rows = [
        (entry.name, entry.kind, "yes" if entry.present else "no", entry.description)
        for entry in data.available()
    ]
    table(("name", "kind", "here", "description"), rows)
    return 0


def info(words: Words) -> int:
    """`jmeta data info`."""
    asked = parser.data_parser("info").read(words)
    facts = data.describe(asked.name, **_shaping(asked), drop_missing=asked.drop_missing)
    print(json.dumps(facts, indent=2))
    return 0


def prepare(words: Words) -> int:
    """`jmeta data prepare`."""
    asked = parser.data_parser("prepare").read(words)
    found = data.prepare(asked.name, source=asked.source, **_shaping(asked))
    print(json.dumps(found, indent=2))
    return 0


def _shaping(asked: argparse.Namespace) -> dict[str, Any]:
    """The options that say what a set becomes when it is loaded."""
    names = {"split": "split", "size": "size", "fit": "fit", "least": "drop_small"}
    return {name: getattr(asked, given) for name, given in names.items()}

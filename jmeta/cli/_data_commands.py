"""What `jmeta data list`, `info`, `prepare` and `embed` do."""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from jmeta import data
from jmeta.cli import _data_parser as parser
from jmeta.cli._backend import start
from jmeta.cli._outputs import check_named
from jmeta.cli._table import table
from jmeta.core import Params
from jmeta.experiments import Experiment, embed_source, experiment
from jmeta.experiments._features import packed
from jmeta.experiments._options import one_of
from jmeta.runs._records import read_config
from jmeta.runs._start import begun
from jmeta.runs._writing import write_whole

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


def embed(words: Words) -> int:
    """`jmeta data embed`."""
    asked = parser.data_parser("embed").read(words)
    check_named(asked.out, (".npz",), "--out")
    if asked.network is not None and ":" not in asked.network:
        one_of("network", asked.network, parser.EMBED)
    if asked.run is not None and asked.weights is not None:
        raise ValueError("--weights belongs to --network; the network of --run brings its own.")
    start()
    chosen, params = _embedding(asked)
    assert chosen.network is not None
    sizes = {"side": asked.side, "chunk": asked.chunk, "seed": asked.seed}
    arrays, facts = embed_source(chosen.source, chosen.network, params=params, **sizes)
    write_whole(asked.out, packed(arrays))
    count, width = arrays["x"].shape
    classes = {part: len(names) for part, names in facts["classes"].items()}
    print(f"{count} features of {width} numbers, classes {classes}: arrays:{asked.out}")
    return 0


def _embedding(asked: argparse.Namespace) -> tuple[Experiment, Callable[[Params], Params] | None]:
    """The set and the network that embeds it, and what puts the weights of a run into it."""
    given = {
        "split": asked.split,
        "size": asked.size,
        "weights": asked.weights and str(asked.weights),
        "fit": asked.fit if asked.fit != "stretch" else None,
        "drop_small": asked.drop_small if asked.drop_small != 1 else None,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if asked.run is None:
        return experiment("protonet", dataset=asked.name, network=asked.network, **options), None
    network = read_config(asked.run).network
    chosen = experiment("protonet", dataset=asked.name, network=network, **options)
    return chosen, partial(begun, path=str(asked.run))


def _shaping(asked: argparse.Namespace) -> dict[str, Any]:
    """The options that say what a set becomes when it is loaded."""
    names = {"split": "split", "size": "size", "fit": "fit", "least": "drop_small"}
    return {name: getattr(asked, given) for name, given in names.items()}

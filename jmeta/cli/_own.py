"""Classes of a person's own that a run was made of."""

import argparse
from collections.abc import Iterable
from typing import Any

from jmeta.experiments import Part
from jmeta.experiments._names import CHOOSERS, find


def add_own(
    parser: argparse.ArgumentParser, names: Iterable[str] = CHOOSERS, *, many: bool = False
) -> None:
    """Add the options that name such classes.

    Args:
        parser: of a command that opens runs.
        names: of the options.
        many: whether each may be given several times, for several runs.
    """
    text = "a class of your own that the run was made of"
    for name in names:
        parser.add_argument(
            f"--{name}",
            action="append" if many else "store",
            metavar="MODULE:CLASS",
            help=text + ("; may be given several times" if many else ""),
        )


def own_parts(asked: argparse.Namespace) -> dict[str, Any]:
    """The parts that `--algorithm`, `--network` and `--dataset` name, once each.

    Raises:
        ValueError: there is no such part.
    """
    given = {name: getattr(asked, name) for name in CHOOSERS}
    return {what: find(what, name) for what, name in given.items() if name is not None}


def known_parts(asked: argparse.Namespace) -> list[type[Part]]:
    """The classes that these options name, however often.

    Raises:
        ValueError: there is no such class.
    """
    given = {name: getattr(asked, name) or [] for name in CHOOSERS}
    listed = {name: [each] if isinstance(each, str) else each for name, each in given.items()}
    return [type(find(what, name)) for what, names in listed.items() for name in names]

"""The kinds of bad input that `bad_inputs.py` draws from: each a function of a random generator.

A kind writes what it needs under an empty folder and returns a command that must be refused. All
that it draws is bad by construction: an input that could be taken for a good one is not drawn.
"""

from collections.abc import Callable

from hostile import commands, files, stored
from hostile.draws import QUICK, Bad, Place, Random

__all__ = ["KINDS", "QUICK", "Bad", "Place", "Random"]

KINDS: dict[str, Callable[[Random, Place], Bad]] = {
    kind.__name__.replace("_", " "): kind
    for kind in (
        commands.unknown_names,
        commands.own_parts,
        commands.option_values,
        commands.options_of_others,
        commands.conflicts,
        commands.too_large,
        commands.paths,
        commands.environment,
        files.folders,
        files.split_lists,
        files.archives,
        files.arrays,
        files.tables,
        stored.stored,
        stored.checkpoints,
        stored.evaluations,
    )
}

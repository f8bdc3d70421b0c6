"""Can runs be compared? Which folders, which kinds, which data: one sentence where they cannot."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jmeta.core._home import expanded
from jmeta.experiments import Experiment
from jmeta.experiments._content import content
from jmeta.runs import _data as rundata
from jmeta.runs._programs import Parts

Runs = Sequence[str | os.PathLike[str]]
_WAY_OUT = "compare runs of the same dataset and the same division"


class Facts(NamedTuple):
    """What a run says of its data."""

    out: Path
    label: str
    hash: str | None  # of the division
    parts: Mapping[str, Any]  # from `content`


def folders(runs: Runs) -> list[Path]:
    """The folders of some runs.

    Args:
        runs: as they were given.

    Raises:
        ValueError: fewer than two, one of them twice, or what is no list of folders.

    >>> [path.name for path in folders(["runs/a", "runs/b"])]
    ['a', 'b']
    """
    if isinstance(runs, str | os.PathLike) or not isinstance(runs, Sequence):
        raise ValueError(
            f"runs must be a list of folders, such as ['runs/a', 'runs/b'], but got {runs!r}."
        )
    for run in runs:
        if not isinstance(run, str | os.PathLike):
            raise ValueError(f"a run must be a folder, but got {run!r}.")
    found = [expanded(run) for run in runs]
    if len(found) < 2:
        raise ValueError(f"a comparison needs two runs or more, but got {len(found)}.")
    seen = dict[str, Path]()
    for path in found:
        real = os.path.realpath(path)
        if real in seen:
            raise ValueError(f"{path} is given twice; name each run once.")
        seen[real] = path
    return found


def names(runs: Runs) -> list[str]:
    """What runs are called: the names of their folders, or their paths where a name comes twice.

    >>> names(["runs/a", "runs/b/"]), names(["x/a", "y/a"])
    (['a', 'b'], ['x/a', 'y/a'])
    """
    paths = [expanded(run) for run in runs]
    short = [path.name or path.resolve().name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def check_kinds(outs: Sequence[Path], experiments: Sequence[Experiment]) -> None:
    """Refuse runs that have learned other kinds of targets.

    Raises:
        ValueError: one has classes and another has numbers.
    """
    first = experiments[0].source
    for out, experiment in zip(outs, experiments, strict=True):
        if (source := experiment.source).kind != first.kind:
            raise ValueError(
                f"{outs[0]} has learned {first.kind} of {first.label}, but {out} has learned "
                f"{source.kind} of {source.label}; {_WAY_OUT}."
            )


def check_stored(outs: Sequence[Path], stored: Sequence[Mapping[str, Any] | None]) -> None:
    """Refuse runs of other data by what they have stored, before any data are read.

    Args:
        outs: folders.
        stored: what each has stored of its data; None for a run of an earlier version, of which
            nothing is known yet.

    Raises:
        ValueError: they differ in their division or in their test classes.
    """
    known = [(out, held) for out, held in zip(outs, stored, strict=True) if held is not None]
    facts = [Facts(out, held["dataset"], held["hash"], held["parts"]) for out, held in known]
    for other in facts[1:]:
        _check_test(facts[0], other)


def check_opened(first: Path, there: Parts, out: Path, here: Parts) -> None:
    """Refuse runs of other data by the data themselves.

    Args:
        first: the folder of the first run.
        there: its parts, whose data have been loaded.
        out: the folder of the other run.
        here: its parts.

    Raises:
        ValueError: the test tasks differ, or the training tasks where they should not.
    """
    source, mine = there.experiment.source, here.experiment.source
    held, found = content(there.domain), content(here.domain)
    _check_test(
        Facts(first, source.label, there.domain.info.get("hash"), held),
        Facts(out, mine.label, here.domain.info.get("hash"), found),
    )
    if "test" not in held and source != mine:  # no arrays, whose digests would say it
        raise ValueError(
            f"{out} has learned {mine.label}, but {first} has learned {source.label}, or with "
            f"other options; {_WAY_OUT}."
        )
    if source.trained_on == mine.trained_on and (
        strange := rundata.changes({"parts": held}, found)
    ):
        raise ValueError(
            f"{out} was not trained on the data of {first}: {'; '.join(strange)}; {_WAY_OUT}."
        )


def _check_test(first: Facts, other: Facts) -> None:
    """Refuse other test classes, by their digests, and another division, by its hash."""
    if first.label == other.label and first.hash != other.hash:
        raise ValueError(
            f"{other.out} divides the classes of {other.label} otherwise than {first.out}: the "
            f"hash of its division is {other.hash} and not {first.hash}; {_WAY_OUT}."
        )
    there, here = (
        {k: v for k, v in facts.parts.items() if k == "test"} for facts in (first, other)
    )
    if strange := rundata.changes({"parts": there}, here):
        raise ValueError(
            f"{other.out} has learned {other.label} and {first.out} has learned {first.label}, "
            f"whose test tasks are others: {'; '.join(strange)}; {_WAY_OUT}."
        )

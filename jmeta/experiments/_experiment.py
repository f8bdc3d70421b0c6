"""An experiment: all that determines a run, made of parts."""

import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from jmeta.experiments._algorithm import Algorithm, Method
from jmeta.experiments._domain import Domain, check_pools
from jmeta.experiments._fitting import advice
from jmeta.experiments._metric import ProtoNet
from jmeta.experiments._networks import Network, NoNetwork
from jmeta.experiments._options import options_of
from jmeta.experiments._parts import Budget, Device, Episode, Outer, Points
from jmeta.experiments._source import Scaling, Source
from jmeta.experiments._sources import Glyphs
from jmeta.experiments._tables import ALGORITHMS
from jmeta.experiments._unlabelled import check_unlabelled

Root = str | os.PathLike[str] | None
SECTIONS = ("algorithm", "source", "network", "episode", "outer", "budget", "device")


@dataclass(frozen=True)
class Experiment:
    """All that determines a run: the same experiment on the same devices gives the same result.

    Every part is a frozen dataclass with its own options. `experiment("maml", ...)` makes one of
    names, as the command line does.

    Raises:
        ValueError: parts that do not fit together.

    >>> from jmeta.experiments import Glyphs, Maml
    >>> Experiment(algorithm=Maml(steps=2, rate=0.1), source=Glyphs()).algorithm.steps
    2
    """

    algorithm: Algorithm = field(default_factory=ProtoNet)
    source: Source = field(default_factory=Glyphs)
    network: Network | None = None  # None: the one that fits the source
    episode: Episode | Points | None = None  # None: the default numbers
    outer: Outer = field(default_factory=Outer)
    budget: Budget = field(default_factory=Budget)
    device: Device = field(default_factory=Device)

    def __post_init__(self) -> None:
        kinds = {
            "algorithm": Algorithm,
            "source": Source,
            "network": Network | None,
            "episode": Episode | Points | None,
            "outer": Outer,
            "budget": Budget,
            "device": Device,
        }
        for name, kind in kinds.items():
            part = getattr(self, name)
            if not isinstance(part, kind):
                found = getattr(part, "__name__", type(part).__name__)
                hint = f"; write {found}()" if isinstance(part, type) else ""
                raise ValueError(f"{name} of an experiment cannot be {found}{hint}.")
        check_parts(self)


def episode_kind(source: Source) -> type[Episode] | type[Points]:
    """The part that holds the numbers of a source's episodes."""
    return Episode if source.kind == "classes" else Points


def check_parts(experiment: Experiment) -> None:
    """What two parts must agree on, all in one place.

    Raises:
        ValueError: they do not.
    """
    algorithm, source, episode = experiment.algorithm, experiment.source, experiment.episode
    if source.kind not in algorithm.kinds:
        able = [name for name, kind in ALGORITHMS.items() if source.kind in kind.kinds]
        asks = "labels" if "classes" in algorithm.kinds else "numbers"
        raise ValueError(
            f"{algorithm.name} learns {asks}, but the targets of {source.label} are "
            f"{'labels' if source.kind == 'classes' else 'numbers'}; choose one of "
            f"{', '.join(able)}, or another dataset."
        )
    if episode is not None and not isinstance(episode, episode_kind(source)):
        raise ValueError(
            f"the episodes of {source.label} are {episode_kind(source).__name__}, but got "
            f"{type(episode).__name__}."
        )
    unsupervised = getattr(source, "unsupervised", None)
    if unsupervised is not None and algorithm.pools_classes:
        raise ValueError(
            f"{algorithm.name} learns the labels of all training classes, which unsupervised "
            f"{unsupervised} does not read; choose an algorithm that learns from episodes."
        )
    if isinstance(episode, Episode):
        check_unlabelled(unsupervised, episode)
    if isinstance(episode, Episode) and algorithm.one_output_a_class:
        ways = episode.training().ways
        if ways != episode.ways:
            raise ValueError(
                f"{algorithm.name} has one output a class, so it is tested with as many ways as it "
                f"was trained with, but got {ways} in training and {episode.ways} in the test; "
                "metric learners such as protonet may have others."
            )
    if isinstance(experiment.network, NoNetwork) and not algorithm.reads_inputs:
        raise ValueError(
            f"network none is for snail and mann, which read inputs as they are, not for "
            f"{algorithm.name}."
        )


class Origin(NamedTuple):
    """What a stored run says of its data."""

    folders: tuple[Path, ...] = ()  # where its relative paths were, or may be
    scaling: Scaling | None = None  # by which its data were scaled


def completed(
    experiment: Experiment, root: Root = None, *, origin: Origin | None = None
) -> Experiment:
    """The experiment with its open choices made: network, rates, normalisation, division.

    Args:
        experiment: some of whose options may be None.
        root: where data sets are looked for; None for `$JMETA_DATA`.
        origin: what a stored run says of its data; None for a new run.

    A warning tells where few classes are divided otherwise than by default.

    Raises:
        ValueError: the source must be looked at, and cannot be.
    """
    source, steps = experiment.source, experiment.budget.steps
    seen: Any = source if origin is None else source.beside(origin.folders)
    network = experiment.network or seen.network(root)
    episode = experiment.episode or episode_kind(source)()
    divided = seen.divided(episode, root)
    if divided is not seen:  # the path stays as it was given
        source = replace(source, **{"split": divided.split})
    return replace(
        experiment,
        algorithm=experiment.algorithm.completed(source.kind, steps),
        source=source,
        network=network.completed(source.kind, steps),
        episode=episode,
    )


def opened(
    source: Source,
    episode: Episode | Points,
    *,
    seed: int,
    root: Root = None,
    origin: Origin | None = None,
) -> Domain:
    """Load the data of a source; those of a stored run as that run did.

    Args:
        source, episode, seed, root: see `Source.open`.
        origin: what the run has stored; None for a new one.

    Raises:
        ValueError: a set that is missing or damaged, or options that it cannot satisfy.
    """
    if origin is None:
        return source.open(episode, seed=seed, root=root)
    found = source.beside(origin.folders)
    if origin.scaling is None:
        return found.open(episode, seed=seed, root=root)
    return found.open_scaled(origin.scaling, episode, seed=seed, root=root)


def open_experiment(
    experiment: Experiment, root: Root = None, *, origin: Origin | None = None
) -> tuple[Domain, Method]:
    """Load the data of a completed experiment, and build its learner and its loss.

    Args:
        experiment: its open choices have been made.
        root: where data sets are looked for; None for `$JMETA_DATA`.
        origin: what a stored run says of its data; None for a new run.

    Raises:
        ValueError: a missing set, or options that it or the algorithm cannot satisfy.
    """
    algorithm, network, episode = experiment.algorithm, experiment.network, experiment.episode
    assert network is not None and episode is not None, "the experiment has been completed"
    seed = experiment.budget.seed
    found = opened(experiment.source, episode, seed=seed, root=root, origin=origin)
    domain = algorithm.domain(found)
    try:
        check_pools(domain)
    except ValueError as error:
        raise ValueError(f"{error}{advice(domain, experiment.source, episode)}") from error
    return domain, algorithm.build(network, domain, episode)


def differences(left: Experiment, right: Experiment) -> list[str]:
    """What two experiments do not share, one phrase for each option or part.

    >>> from jmeta.experiments import Budget
    >>> differences(Experiment(), Experiment(budget=Budget(steps=7)))
    ['steps is 2000 there and 7 here']
    """
    found = []
    for section in SECTIONS:
        there, here = getattr(left, section), getattr(right, section)
        if type(there) is not type(here):
            found.append(f"{section} is {_named(there)} there and {_named(here)} here")
            continue
        if there is None:
            continue
        flags = {item.name: flag for flag, item in options_of(type(there))}
        for item in fields(there):
            a, b = getattr(there, item.name), getattr(here, item.name)
            if a != b:
                name = flags.get(item.name, f"{item.name} of the {section}")
                found.append(f"{name} is {a!r} there and {b!r} here")
    return found


def _named(part: Any) -> str:
    return getattr(part, "name", type(part).__name__)

"""What every source of tasks is: options, and the domain that they open to."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from jmeta.experiments import _networks
from jmeta.experiments._domain import Domain
from jmeta.experiments._options import Part
from jmeta.experiments._parts import Episode, Points

Root = str | os.PathLike[str] | None
Scaling = Mapping[str, Any]  # what a source has scaled its data by; JSON can hold it
SPLIT_HELP = (
    "How the classes are divided: three fractions such as 0.64,0.16,0.20, three numbers of classes "
    "such as 7,0,5, a folder with train.txt, val.txt and test.txt, or default: the set's own "
    "division, or else 0.64,0.16,0.20. None: default, or what gives an episode enough classes."
)


@dataclass(frozen=True)
class Source(Part):
    """Where tasks come from. A subclass of your own defines `open`, and its options as fields."""

    name: ClassVar[str]
    kind: ClassVar[str] = "classes"  # of targets; "numbers" for regression

    @classmethod
    def parse(cls, rest: str) -> Self:
        """The source of a name on the command line, `NAME` or `NAME:REST`.

        Raises:
            ValueError: something stands behind the colon that this source has no use for.
        """
        if rest:
            raise ValueError(f"{cls.name} takes nothing behind a colon, but got {rest!r}.")
        return cls()

    @property
    def label(self) -> str:
        """The source as one writes it on the command line."""
        return self.name

    def network(self, root: Root = None) -> _networks.Network:
        """The network that fits the examples, where the experiment names none."""
        del root
        return _networks.Conv4() if self.kind == "classes" else _networks.MLP()

    def divided(self, episode: Episode | Points, root: Root = None) -> Self:
        """The same source with its division chosen, where an episode's numbers decide about it."""
        del episode, root
        return self

    def open(self, episode: Episode | Points, *, seed: int, root: Root = None) -> Domain:
        """Load the data, and say how episodes are drawn and judged.

        Args:
            episode: the numbers of an episode; an `Episode` for classes, else `Points`.
            seed: of random splits.
            root: where sets are looked for; None for `$JMETA_DATA`.

        Raises:
            ValueError: a set that is missing or damaged, or options that it cannot satisfy.
        """
        raise NotImplementedError

    def open_scaled(
        self, scaling: Scaling, episode: Episode | Points, *, seed: int, root: Root = None
    ) -> Domain:
        """Load the data by the numbers with which a run has scaled its own.

        A source that scales puts these into `info["scaling"]`, and overrides this method.

        Args:
            scaling: what the run has stored of `info["scaling"]`.
            episode, seed, root: see `open`.
        """
        del scaling
        return self.open(episode, seed=seed, root=root)

    def beside(self, folders: Iterable[Path]) -> Self:
        """The same source, its relative paths taken from the first of some folders that has them.

        Args:
            folders: where a run has looked for them. A path in none of them stays as it is.
        """
        del folders
        return self

    @property
    def inverted(self) -> bool:
        """Whether paper is 0 and ink 255, unlike in a picture's file."""
        return False

    @property
    def trained_on(self) -> str:
        """The parts that the parameters are trained on, for the protocol of a result."""
        return "train"


@dataclass(frozen=True)
class Named(Source):
    """A set that is named by what stands behind a colon."""

    path: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.path, str) or not self.path or "\0" in self.path:
            raise ValueError(f"the path of {self.name} must be text, but got {self.path!r}.")

    @classmethod
    def parse(cls, rest: str) -> Self:
        """The source of `NAME:PATH`."""
        if not rest:
            raise ValueError(f"{cls.name} needs something behind a colon: {cls.name}:PATH.")
        return cls(rest)

    @property
    def label(self) -> str:
        """`NAME:PATH`."""
        return f"{self.name}:{self.path}"


@dataclass(frozen=True)
class Filed(Named):
    """A set in a file or a folder of one's own."""

    def beside(self, folders: Iterable[Path]) -> Self:
        """The same source with its path, and the folder of its lists, found in some folders."""
        places = list(folders)
        split = getattr(self, "split", None)
        moved = {"path": found_in(self.path, places)}
        if split is not None:
            moved["split"] = found_in(split, places)
        return replace(self, **moved)


def found_in(path: str, folders: Iterable[Path]) -> str:
    """A relative path in the first folder that has it, else as it is; options may follow it.

    >>> found_in("nothing.csv,task=school", [Path("/nowhere")])
    'nothing.csv,task=school'
    """
    pieces = path.split(",")
    names = [",".join(pieces[:count]) for count in range(len(pieces), 0, -1)]
    if Path(path).is_absolute() or path.startswith("~"):
        return path
    having = (folder for folder in folders if any((folder / name).exists() for name in names))
    return next((f"{folder}/{path}" for folder in having), path)

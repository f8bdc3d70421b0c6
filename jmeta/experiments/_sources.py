"""Sources of tasks: options, and what they open to."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

from jmeta import data, losses, metrics
from jmeta.core import Key, Task
from jmeta.experiments import _networks, _pictures, _single
from jmeta.experiments._domain import Domain
from jmeta.experiments._options import Part, option
from jmeta.experiments._parts import Episode, Points, Size

Root = str | os.PathLike[str] | None
Scaling = Mapping[str, Any]  # what a source has scaled its data by; JSON can hold it
_SIZE_HELP = "Side of the square images in pixels. None: the set's own."


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
    def trained_on(self) -> str:
        """The parts that the parameters are trained on, for the protocol of a result."""
        return "train"


@dataclass(frozen=True)
class _Named(Source):
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
class Filed(_Named):
    """A set in a file or a folder of one's own."""

    def beside(self, folders: Iterable[Path]) -> Self:
        """The same source with its path, and the folder of its lists, found in some folders."""
        places = list(folders)
        split = getattr(self, "split", None)
        moved = {"path": _found(self.path, places)}
        if split is not None:
            moved["split"] = _found(split, places)
        return replace(self, **moved)


def _found(path: str, folders: Iterable[Path]) -> str:
    """A relative path in the first folder that has it, else as it is; options may follow it.

    >>> _found("nothing.csv,task=school", [Path("/nowhere")])
    'nothing.csv,task=school'
    """
    pieces = path.split(",")
    names = [",".join(pieces[:count]) for count in range(len(pieces), 0, -1)]
    if Path(path).expanduser().is_absolute():
        return path
    having = (folder for folder in folders if any((folder / name).exists() for name in names))
    return next((f"{folder}/{path}" for folder in having), path)


@dataclass(frozen=True)
class _Classes(Source):
    """A set of classes, divided into training, validation and test classes."""

    train_on_val: bool = option(
        False,
        "Train on the validation classes too, and keep the last checkpoint: for when everything "
        "has been chosen.",
    )

    def load(self, *, seed: int, root: Root) -> data.Dataset:
        """The set itself."""
        given = {name: getattr(self, name) for name in ("split", "size") if hasattr(self, name)}
        return data.load(self.label, root=root, seed=seed, **given)

    @property
    def trained_on(self) -> str:
        """The parts that the parameters are trained on."""
        return "train and val" if self.train_on_val else "train"

    def open(self, episode: Episode | Points, *, seed: int, root: Root = None) -> Domain:
        """Load the set; episodes are judged by their accuracy."""
        assert isinstance(episode, Episode)
        found = self.load(seed=seed, root=root)
        groups = max(len(pool.group_sizes) for pool in (found.train, found.test))
        if episode.within_group and groups == 1:
            raise ValueError(
                f"within_group draws the classes of an episode from one group, but the classes of "
                f"{self.label} have no groups."
            )
        train, val = self._training(found)
        return Domain(
            "classes",
            *(train, val, found.test),
            sample_train=_episodes(episode, episode.training(), episode.rotations),
            sample_eval=_episodes(episode, episode.testing(), episode.eval_rotations),
            outputs=episode.ways,
            objective=losses.cross_entropy,
            report=metrics.classification_report,
            metric="accuracy",
            score=metrics.accuracy,
            higher_is_better=True,
            info=found.info if val is found.val else _joined(found.info),
            draw=_pictures.images if found.test.examples.ndim == 4 else None,
            each=_single.classification_each,
        )

    def _training(self, found: data.Dataset) -> tuple[data.Pool, data.Pool | None]:
        """The pools to train and to validate on."""
        if not self.train_on_val:
            return found.train, found.val
        if found.val is None:
            raise ValueError(f"train_on_val: {self.label} has no validation classes to train on.")
        return data.join_pools(found.train, found.val), None


def _joined(info: dict[str, Any]) -> dict[str, Any]:
    """The facts about a set whose validation classes are trained on too."""
    names = info["classes"]
    return {**info, "classes": {**names, "train": [*names["train"], *names["val"]], "val": []}}


def _episodes(episode: Episode, size: Size, rotations: int) -> Callable[[Key, Any], Task]:
    """A sampler of episodes of some size."""
    return partial(
        data.sample_episode,
        **size._asdict(),
        rotations=rotations,
        within_group=episode.within_group,
    )


@dataclass(frozen=True)
class Glyphs(_Classes):
    """Characters rendered from fonts, built in."""

    name: ClassVar[str] = "glyphs"
    size: int | None = option(None, _SIZE_HELP, least=1)


@dataclass(frozen=True)
class Omniglot(_Classes):
    """1,623 handwritten characters of 50 alphabets."""

    name: ClassVar[str] = "omniglot"
    split: str | None = option(
        None,
        "How the classes are divided: vinyals, lake (background and evaluation) or random. None: "
        "vinyals.",
    )
    size: int | None = option(None, _SIZE_HELP, least=1)


SPLIT_HELP = (
    "How the classes are divided: three fractions such as 0.64,0.16,0.20, or a folder with "
    "train.txt, val.txt and test.txt. None: the set's own division, or the default fractions."
)


@dataclass(frozen=True)
class Tfds(_Classes, _Named):
    """An image classification set of TensorFlow Datasets; the path is its name."""

    name: ClassVar[str] = "tfds"
    split: str | None = option(None, SPLIT_HELP)
    size: int | None = option(None, _SIZE_HELP, least=1)


@dataclass(frozen=True)
class Folder(_Classes, Filed):
    """A folder, or a .zip, with a folder of images for each class."""

    name: ClassVar[str] = "folder"
    split: str | None = option(None, SPLIT_HELP)
    size: int | None = option(None, _SIZE_HELP, least=1)


@dataclass(frozen=True)
class Arrays(_Classes, Filed):
    """An .npz with examples x [E, ...] and labels y [E]."""

    name: ClassVar[str] = "arrays"
    split: str | None = option(None, SPLIT_HELP)

    def network(self, root: Root = None) -> _networks.Network:
        """A convolutional network for images, else a fully connected one."""
        shape = data.example_shape(self.label, root=root)
        return _networks.Conv4() if shape is not None and len(shape) == 3 else _networks.MLP()


TABLE: tuple[type[Source], ...] = (Glyphs, Omniglot, Tfds, Folder, Arrays)

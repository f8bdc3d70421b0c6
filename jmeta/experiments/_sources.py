"""Sources of tasks: options, and what they open to."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import jax

from jmeta import data, losses, metrics
from jmeta.core import Key, Task
from jmeta.experiments import _networks, _pictures
from jmeta.experiments._domain import Domain
from jmeta.experiments._options import Part, option
from jmeta.experiments._parts import Episode, Points, Size

Root = str | os.PathLike[str] | None
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

    @property
    def trained_on(self) -> str:
        """The parts that the parameters are trained on, for the protocol of a result."""
        return "train"


@dataclass(frozen=True)
class _Named(Source):
    """A set that is named by what stands behind a colon."""

    path: str

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
            info=found.info,
            draw=_pictures.images if found.test.examples.ndim == 4 else None,
        )

    def _training(self, found: data.Dataset) -> tuple[data.Pool, data.Pool | None]:
        """The pools to train and to validate on."""
        if not self.train_on_val:
            return found.train, found.val
        if found.val is None:
            raise ValueError(f"train_on_val: {self.label} has no validation classes to train on.")
        return data.join_pools(found.train, found.val), None


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


_SPLIT_HELP = (
    "How the classes are divided: three fractions such as 0.64,0.16,0.20, or a folder with "
    "train.txt, val.txt and test.txt. None: the set's own division, or the default fractions."
)


@dataclass(frozen=True)
class Tfds(_Classes, _Named):
    """An image classification set of TensorFlow Datasets; the path is its name."""

    name: ClassVar[str] = "tfds"
    split: str | None = option(None, _SPLIT_HELP)
    size: int | None = option(None, _SIZE_HELP, least=1)


@dataclass(frozen=True)
class Folder(_Classes, _Named):
    """A folder, or a .zip, with a folder of images for each class."""

    name: ClassVar[str] = "folder"
    split: str | None = option(None, _SPLIT_HELP)
    size: int | None = option(None, _SIZE_HELP, least=1)


@dataclass(frozen=True)
class Arrays(_Classes, _Named):
    """An .npz with examples x [E, ...] and labels y [E]."""

    name: ClassVar[str] = "arrays"
    split: str | None = option(None, _SPLIT_HELP)

    def network(self, root: Root = None) -> _networks.Network:
        """A convolutional network for images, else a fully connected one."""
        shape = data.example_shape(self.label, root=root)
        return _networks.Conv4() if shape is not None and len(shape) == 3 else _networks.MLP()


@dataclass(frozen=True)
class _Numbers(Source):
    """Tasks of regression."""

    kind: ClassVar[str] = "numbers"

    def domain(
        self,
        pools: tuple[Any, Any, Any],
        sample: Callable[..., Task],
        episode: Episode | Points,
        info: dict[str, Any],
    ) -> Domain:
        """The domain of a sampler with the options `shots` and `queries`; judged by its error."""
        sizes = [episode.training(), episode.testing()]
        train, test = (partial(sample, shots=n.shots, queries=n.queries) for n in sizes)
        smallest = partial(sample, shots=1, queries=1)
        targets = jax.eval_shape(smallest, jax.random.key(0), pools[2]).query.y
        return Domain(
            "numbers",
            *pools,
            sample_train=train,
            sample_eval=test,
            outputs=targets.shape[-1],
            objective=losses.mean_squared_error,
            report=metrics.regression_report,
            metric="mse",
            score=losses.mean_squared_error,
            higher_is_better=False,
            info=info,
            draw=_pictures.regression,
        )


@dataclass(frozen=True)
class Table(_Numbers, _Named):
    """A CSV of many regression tasks: a row an example, a column that names its task.

    The path is FILE.csv, and perhaps FILE.csv,task=COLUMN,target=COLUMN,drop=COLUMN.
    """

    name: ClassVar[str] = "table"
    split: str | None = option(None, _SPLIT_HELP)

    def open(self, episode: Episode | Points, *, seed: int, root: Root = None) -> Domain:
        """Load the table; errors are in squared deviations of the training tasks' targets."""
        found = data.load(self.label, root=root, split=self.split, seed=seed)
        pools = found.train, found.val, found.test
        return self.domain(pools, data.sample_table_task, episode, found.info)


@dataclass(frozen=True)
class Functions(_Numbers):
    """A family of functions, whose tasks are made of a key alone."""

    name: ClassVar[str] = "sinusoid"

    def open(self, episode: Episode | Points, *, seed: int, root: Root = None) -> Domain:
        """As many tasks for each part as are asked for."""
        draw = data.FAMILIES[self.name]

        def sample(key: Key, pool: Any, *, shots: int, queries: int) -> Task:
            return draw(key, shots=shots, queries=queries)

        return self.domain(((), (), ()), sample, episode, {"source": data.FORMULAS[self.name]})


def _family(name: str) -> type[Functions]:
    """The source of one family; its name is its whole state."""
    title = "".join(word.title() for word in name.split("-"))
    made = type(title, (Functions,), {"name": name, "__doc__": f"{data.FORMULAS[name]}."})
    return dataclass(frozen=True)(made)


FAMILIES: tuple[type[Functions], ...] = tuple(_family(name) for name in data.FAMILIES)
TABLE: tuple[type[Source], ...] = (Glyphs, Omniglot, Tfds, Folder, Arrays, Table, *FAMILIES)

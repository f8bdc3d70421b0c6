"""The sources of classes: built-in sets, and those of one's own."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import jax.numpy as jnp

from jmeta import augment, data, losses, metrics
from jmeta.core import Task
from jmeta.experiments import _networks, _pictures
from jmeta.experiments._domain import Domain, Sampler
from jmeta.experiments._options import option
from jmeta.experiments._parts import Episode, Points, Size
from jmeta.experiments._source import SPLIT_HELP, Filed, Named, Root, Source, found_in
from jmeta.experiments._unlabelled import UNSUPERVISED, unlabelled

_VALUES = ("colour", "cutout")  # augmentations that change the values of pixels
_SIZE_HELP = "Side of the square images in pixels. None: the set's own."
_FIT_HELP = (
    "How an image that is not square is fitted to the size: stretch, crop (its middle) or pad (its "
    "edges are repeated)."
)
_DROP_HELP = (
    "Leave out classes of fewer examples than this, before the set is divided, and name them. "
    "None: keep all."
)


@dataclass(frozen=True)
class _Classes(Source):
    """A set of classes, divided into training, validation and test classes."""

    train_on_val: bool = option(
        False,
        "Train on the validation classes too, and keep the last checkpoint: for when everything "
        "has been chosen.",
    )
    unsupervised: str | None = option(
        None,
        "Training tasks without labels: umtra (an image and its augmentations are a class; say "
        "which by augment) or cactus (clusters of embeddings are classes). Validation and test "
        "keep theirs. None: labels.",
        choices=UNSUPERVISED,
    )
    clusters: int = option(500, "Clusters of a partition (cactus).", least=2)
    partitions: int = option(
        50, "Partitions, each by k-means in another scaling of the dimensions (cactus).", least=1
    )
    embedding: str | None = option(
        None,
        "What cactus clusters: an .npz with x, an embedding for each training image, such as "
        "jmeta data embed writes. None: the pixels.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding is not None and self.unsupervised != "cactus":
            raise ValueError("embedding is what unsupervised cactus clusters; ask for that too.")

    def beside(self, folders: Iterable[Path]) -> Self:
        """The same source, its file of embeddings too found in some folders."""
        places = list(folders)
        moved = super().beside(places)
        if self.embedding is None:
            return moved
        return replace(moved, embedding=found_in(self.embedding, places))

    def load(self, *, seed: int, root: Root) -> data.Dataset:
        """The set itself."""
        names = {"split": "split", "size": "size", "fit": "fit", "drop_small": "least"}
        given = {name: getattr(self, mine, None) for mine, name in names.items()}
        options: dict[str, Any] = {name: v for name, v in given.items() if v is not None}
        return data.load(self.label, root=root, seed=seed, **options)

    @property
    def trained_on(self) -> str:
        """The parts that the parameters are trained on."""
        parts = "train and val" if self.train_on_val else "train"
        return parts if self.unsupervised is None else f"{parts} ({self.unsupervised}, no labels)"

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
        _check_augmented(episode, train, self.label)
        info = found.info if val is found.val else _joined(found.info)
        drawn, sample = train, _episodes(episode, episode.training(), episode.rotations)
        if self.unsupervised is not None:
            names = list(info["classes"]["train"])
            drawn, sample = unlabelled(self, episode, train, classes=names, seed=seed, root=root)
        if episode.augment is not None and self.unsupervised != "umtra":
            sample = _augmented(sample, episode)
        return Domain(
            "classes",
            *(drawn, val, found.test),
            sample_train=sample,
            sample_eval=_episodes(episode, episode.testing(), episode.eval_rotations),
            outputs=episode.ways,
            objective=losses.cross_entropy,
            report=metrics.classification_report,
            metric="accuracy",
            score=metrics.accuracy,
            higher_is_better=True,
            info=info,
            draw=_draw(found, inverted=self.inverted) if found.test.examples.ndim == 4 else None,
            each=metrics.classification_each,
        )

    def _training(self, found: data.Dataset) -> tuple[data.Pool, data.Pool | None]:
        """The pools to train and to validate on."""
        if not self.train_on_val:
            return found.train, found.val
        if found.val is None:
            raise ValueError(f"train_on_val: {self.label} has no validation classes to train on.")
        return data.join_pools(found.train, found.val), None


def _draw(found: data.Dataset, *, inverted: bool) -> Callable[[Task, Any, Path], None]:
    """How a test episode of images is drawn, with the names of its classes."""
    names = _pictures.names_of_classes(found.test, found.info["classes"]["test"])

    def draw(task: Task, outputs: Any, path: Path) -> None:
        _pictures.images(task, outputs, path, names=names(task), inverted=inverted)

    return draw


def _joined(info: dict[str, Any]) -> dict[str, Any]:
    """The facts about a set whose validation classes are trained on too."""
    names = info["classes"]
    return {**info, "classes": {**names, "train": [*names["train"], *names["val"]], "val": []}}


def _check_augmented(episode: Episode, pool: data.Pool, label: str) -> None:
    """Refuse to change the values of what are no pixels."""
    changes = episode.augment is not None and any(w in episode.augment for w in _VALUES)
    if not changes or pool.examples.dtype == jnp.uint8:
        return
    low, high = float(pool.examples.min()), float(pool.examples.max())
    if low < 0 or high > 1:
        raise ValueError(
            f"augment {episode.augment} changes pixels of 0 to 1, but the examples of {label} are "
            f"numbers of {low:g} to {high:g}; scale them, or leave out {' and '.join(_VALUES)}."
        )


def _augmented(sample: Sampler, episode: Episode) -> Sampler:
    """A sampler of episodes whose images are augmented."""
    assert episode.augment is not None
    change, part = augment.named(episode.augment), episode.augment_part
    chosen = {name: change for name in ("support", "query") if part in ("both", name)}
    return augment.augmented(sample, **chosen)


def _episodes(episode: Episode, size: Size, rotations: int) -> Sampler:
    """A sampler of episodes of some size."""
    same: dict[str, Any] = {"rotations": rotations, "within_group": episode.within_group}
    if episode.min_shots is None:
        return partial(data.sample_episode, **size._asdict(), **same)
    return partial(
        data.sample_varied_episode,
        min_ways=size.ways,
        max_ways=size.ways,
        min_shots=episode.min_shots,
        max_shots=size.shots,
        queries=size.queries,
        **same,
    )


@dataclass(frozen=True)
class Glyphs(_Classes):
    """Characters rendered from fonts, built in."""

    name: ClassVar[str] = "glyphs"
    size: int | None = option(None, _SIZE_HELP, least=1)

    @property
    def inverted(self) -> bool:
        """Ink is 255."""
        return True


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

    @property
    def inverted(self) -> bool:
        """Ink is 255."""
        return True


@dataclass(frozen=True)
class Tfds(_Classes, Named):
    """An image classification set of TensorFlow Datasets; the path is its name."""

    name: ClassVar[str] = "tfds"
    split: str | None = option(None, SPLIT_HELP)
    size: int | None = option(None, _SIZE_HELP, least=1)
    fit: str = option("stretch", _FIT_HELP, choices=("stretch", "crop", "pad"))
    drop_small: int | None = option(None, _DROP_HELP, least=1)

    @property
    def inverted(self) -> bool:
        """Of Omniglot, ink is 255."""
        return self.path.partition(":")[0] == "omniglot"


@dataclass(frozen=True)
class _Divided(_Classes):
    """A set whose classes can be counted without loading it."""

    def divided(self, episode: Episode | Points, root: Root = None) -> Self:
        """The default division, or another one where that has too few classes for an episode."""
        found: Any = self
        if found.split is not None or not isinstance(episode, Episode):
            return self
        least, ways = found.drop_small or 1, episode.classes()
        split = data.default_split(self.label, ways=ways, root=root, least=least)
        return replace(found, split=split)


@dataclass(frozen=True)
class Folder(_Divided, Filed):
    """A folder, or a .zip, with a folder of images for each class."""

    name: ClassVar[str] = "folder"
    split: str | None = option(None, SPLIT_HELP)
    size: int | None = option(None, _SIZE_HELP, least=1)
    fit: str = option("stretch", _FIT_HELP, choices=("stretch", "crop", "pad"))
    drop_small: int | None = option(None, _DROP_HELP, least=1)


@dataclass(frozen=True)
class Arrays(_Divided, Filed):
    """An .npz with examples x [E, ...] and labels y [E]."""

    name: ClassVar[str] = "arrays"
    split: str | None = option(None, SPLIT_HELP)
    drop_small: int | None = option(None, _DROP_HELP, least=1)

    def network(self, root: Root = None) -> _networks.Network:
        """A convolutional network for images, else a fully connected one."""
        shape = data.example_shape(self.label, root=root)
        return _networks.Conv4() if shape is not None and len(shape) == 3 else _networks.MLP()


TABLE: tuple[type[Source], ...] = (Glyphs, Omniglot, Tfds, Folder, Arrays)

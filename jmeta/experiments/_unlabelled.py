"""Training tasks without labels, where a source of classes is asked for them."""

from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from jmeta import augment, data
from jmeta.core import Key, Task
from jmeta.experiments._domain import Sampler
from jmeta.experiments._parts import Episode

UNSUPERVISED = ("umtra", "cactus")


class Asked(Protocol):
    """The options of a source that say how tasks are made without labels."""

    @property
    def unsupervised(self) -> str | None:
        """One of UNSUPERVISED."""

    @property
    def clusters(self) -> int:
        """Of a partition."""

    @property
    def partitions(self) -> int:
        """How many."""

    @property
    def embedding(self) -> str | None:
        """A file; None for the pixels."""


class Clustered(NamedTuple):
    """What CACTUs trains on."""

    pool: data.Pool  # the training images as they were loaded; their labels are not read
    clusters: data.Pool  # of places in it, see `jmeta.data.cactus`


def check_unlabelled(how: str | None, episode: Episode) -> None:
    """Refuse numbers of an episode that need labels, or that UMTRA cannot do without.

    Args:
        how: one of UNSUPERVISED, or None.
        episode: the numbers.

    Raises:
        ValueError: they do not fit together.

    >>> check_unlabelled("cactus", Episode())
    """
    if how is None:
        return
    if episode.within_group or episode.min_shots is not None:
        given = "within_group" if episode.within_group else "min_shots"
        raise ValueError(f"{given} draws by labels, so it cannot be used with unsupervised {how}.")
    if how == "cactus" and episode.rotations != 1:
        raise ValueError(
            "rotations makes classes of labelled ones, so it cannot be used with unsupervised "
            "cactus; augment the images instead."
        )
    if how == "umtra" and episode.augment is None:
        raise ValueError(
            "unsupervised umtra makes the queries of a class by augmentation; say by which, such "
            "as augment=crop:4,affine:10."
        )
    if how == "umtra" and episode.augment_part == "support":
        raise ValueError(
            "unsupervised umtra augments queries, so augment_part must be query or both."
        )


def unlabelled(
    asked: Asked,
    episode: Episode,
    pool: data.Pool,
    *,
    classes: list[str],
    seed: int,
    root: Any,
) -> tuple[Any, Sampler]:
    """What training tasks are drawn from, and how, where no label of it is read.

    Args:
        asked: the options of the source.
        episode: the numbers of an episode, which fit them.
        pool: the training images.
        classes: names of the training classes, to see whether a file of embeddings is of them.
        seed: of k-means.
        root: where the file is looked for.

    Raises:
        ValueError: see `jmeta.data.load_embeddings` and `jmeta.data.cactus`.
    """
    check_unlabelled(asked.unsupervised, episode)
    size = episode.training()
    if asked.unsupervised == "umtra":
        assert episode.augment is not None
        return pool, partial(
            data.sample_umtra,
            **size._asdict(),
            change=augment.named(episode.augment),
            change_support=episode.augment_part == "both",
            rotations=episode.rotations,
        )
    if asked.embedding is None:
        z = np.asarray(pool.examples)
    else:
        count = len(pool.examples)
        z = data.load_embeddings(asked.embedding, images=count, classes=classes, root=root)
    clusters = data.cactus(
        z,
        clusters=asked.clusters,
        partitions=asked.partitions,
        least=size.shots + size.queries,
        seed=seed,
    )

    def sample(key: Key, held: Clustered) -> Task:
        return data.sample_cactus(key, held.pool, held.clusters, **size._asdict())

    return Clustered(pool, clusters), sample

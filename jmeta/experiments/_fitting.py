"""What would do, where the classes of a set cannot fill the episodes asked for."""

import numpy as np

from jmeta import data
from jmeta.experiments._domain import Domain
from jmeta.experiments._parts import Episode, Points
from jmeta.experiments._source import Source


def advice(domain: Domain, source: Source, episode: Episode | Points) -> str:
    """Say with which numbers the set would do: another division, fewer ways, or fewer classes.

    Args:
        domain: the opened source.
        source: the source; only one with an option `drop_small` can be divided at will.
        episode: the numbers of an episode.

    Returns:
        Sentences that each begin with a space; none where there is nothing to say.
    """
    if not hasattr(source, "drop_small") or not isinstance(episode, Episode):
        return ""
    labelled = getattr(source, "unsupervised", None) is None  # training reads labels
    return _other_division(domain, episode) + _fewer_classes(domain, episode, train_too=labelled)


def _other_division(domain: Domain, episode: Episode) -> str:
    """Which division, or which number of ways, gives every part enough classes."""
    sizes = [len(names) for names in domain.info["classes"].values()]
    needed = episode.classes()
    if sizes[0] >= needed[0] and all(size >= needed[1] for size in sizes[1:] if size):
        return ""
    total, now = sum(sizes), "/".join(map(str, sizes))
    if found := data.fitting_sizes(total, *needed):
        return f" Of the {total} classes ({now}), split={','.join(map(str, found))} would do."
    most = total // 2
    return (
        f" The {total} classes ({now}) are enough for at most {most} ways, with "
        f"split={total - most},0,{most}."
    )


def _fewer_classes(domain: Domain, episode: Episode, *, train_too: bool) -> str:
    """How many classes have too few examples."""
    train, test = (size.shots + size.queries for size in (episode.training(), episode.testing()))
    learned = domain.train if train_too else None
    pools = ((learned, train), (domain.val, test), (domain.test, test))
    small = sum(int((np.asarray(p.counts) < n).sum()) for p, n in pools if p is not None)
    if not small:
        return ""
    least = max(train, test)
    counts = np.concatenate([np.asarray(p.counts) for p, _ in pools if p is not None])
    if (counts >= least).sum() == 0:
        return f" No class has the {least} examples that an episode takes."
    return f" {small} classes have too few examples; --drop-small {least} leaves them out."

"""The runs of a comparison, opened so that all of them are tested on the same episodes."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jmeta.core import Params
from jmeta.experiments import Domain, Experiment, Part, completed
from jmeta.experiments._content import content
from jmeta.experiments._experiment import opened
from jmeta.runs import _alike as alike
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _data as rundata
from jmeta.runs import _records as records
from jmeta.runs import _report as report
from jmeta.runs._evaluate import load_run, with_test
from jmeta.runs._programs import Parts

DRAWN = 32  # episodes whose content is compared among the runs, number by number


class Side(NamedTuple):
    """One run of a comparison."""

    name: str
    out: Path
    parts: Parts  # its test classes and the sampler of its test episodes are those of all
    params: Params
    best: dict[str, Any]


def opened_alike(
    runs: alike.Runs,
    given: dict[str, int],
    *,
    root: str | None = None,
    known: Iterable[type[Part]] = (),
) -> list[Side]:
    """The runs, with the test classes of the first one and the sampler of its test episodes.

    Args:
        runs: folders.
        given: what is not as in the first run: episodes, ways, shots, queries -> their number.
        root, known: see `compare_runs`.

    Raises:
        ValueError: as `compare_runs`.
    """
    outs, known = alike.folders(runs), tuple(known)
    stored = [completed(records.read_config(out, known), root) for out in outs]
    alike.check_kinds(outs, stored)
    for out in outs:
        if not checkpoint.steps(out / records.CHECKPOINTS):
            raise ValueError(
                f"{out} has no checkpoint yet; go on with it: jmeta train --out {out} --resume"
            )
    alike.check_stored(outs, [rundata.read(out) for out in outs])
    first = with_test(stored[0], given)
    numbers = _numbers(first)
    names = alike.names(runs)
    found: list[Side] = []
    for name, out, experiment in zip(names, outs, stored, strict=True):
        changed = _as_first(out, experiment, numbers)
        found.append(Side(name, out, *load_run(out, changed, root=root, known=known)))
        alike.check_opened(found[0].out, found[0].parts, out, found[-1].parts)
        found[-1] = _sharing(found[0], found[-1])
    base = _test_of(first, found[0], root)
    return [_on(side, base) for side in found]


def _numbers(experiment: Experiment) -> dict[str, int]:
    """The numbers of the test episodes of an experiment, as options."""
    assert experiment.episode is not None, "the experiment has been completed"
    sizes = experiment.episode.testing()._asdict()
    options = {name: value for name, value in sizes.items() if hasattr(experiment.episode, name)}
    return {"episodes": experiment.budget.episodes, **options}


def _as_first(out: Path, experiment: Experiment, numbers: dict[str, int]) -> Experiment:
    """An experiment with the test episodes of the first run.

    Raises:
        ValueError: it cannot be tested on such episodes.
    """
    try:
        return with_test(experiment, numbers)
    except ValueError as error:
        raise ValueError(f"{out} cannot be tested on the same episodes: {error}") from error


def _sharing(first: Side, side: Side) -> Side:
    """A run that keeps no second copy of the parts that it shares with the first one."""
    held, mine = content(first.parts.domain), content(side.parts.domain)
    same = [part for part in mine if held.get(part, {}).get("digest") == mine[part]["digest"]]
    pools = {part: getattr(first.parts.domain, part) for part in same}
    return side._replace(parts=side.parts._replace(domain=side.parts.domain._replace(**pools)))


def _test_of(experiment: Experiment, side: Side, root: str | None) -> Domain:
    """The test classes and the sampler of the first run, before its algorithm changes them."""
    assert experiment.episode is not None, "the experiment has been completed"
    origin = rundata.origin(rundata.read(side.out), side.out)
    seed = experiment.budget.seed
    found = opened(experiment.source, experiment.episode, seed=seed, root=root, origin=origin)
    return found._replace(test=side.parts.domain.test)


def _on(side: Side, base: Domain) -> Side:
    """A run that is tested on the test classes of a domain, by its sampler."""
    made, domain = side.parts.experiment.algorithm.domain(base), side.parts.domain
    domain = domain._replace(test=made.test, sample_eval=made.sample_eval)
    return side._replace(parts=side.parts._replace(domain=domain))


def drawn(parts: Parts, seed: int, episodes: int) -> list[list[np.ndarray]]:
    """What stands in the first test episodes of a run: inputs and targets, a list an episode.

    An algorithm may add masks and keys of its own to an episode, which are left out.
    """
    sample = jax.jit(parts.domain.sample_eval)
    key, found = report.key_of_test(parts, seed), []
    for number in range(episodes):
        task = sample(jax.random.fold_in(key, number), parts.domain.test)
        inputs = [jax.tree.leaves(batch.x)[0] for batch in task]
        found.append([np.asarray(leaf) for leaf in (*inputs, task.support.y, task.query.y)])
    return found


def same_episodes(sides: Sequence[Side], seed: int) -> str:
    """The digest of the first episodes, which must be that of every run.

    Raises:
        ValueError: the algorithm of a run has changed them.
    """
    count = min(DRAWN, sides[0].parts.experiment.budget.episodes)
    digests = [checkpoint.digest(drawn(side.parts, seed, count)) for side in sides]
    for side, digest in zip(sides, digests, strict=True):
        if digest != digests[0]:
            raise ValueError(
                f"{side.parts.experiment.algorithm.name} of {side.out} draws other test episodes "
                f"than {sides[0].out}: its `domain` changes their examples, so they cannot be "
                "compared; let it keep them as they are."
            )
    return digests[0]

"""Several runs on the same test episodes, and the paired differences between them."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jmeta.experiments import Budget, Part
from jmeta.experiments._single import each_of
from jmeta.metrics import paired
from jmeta.runs import _report as report
from jmeta.runs._episodes import Predicted
from jmeta.runs._programs import Parts
from jmeta.runs._progress import Progress, quiet
from jmeta.runs._sides import Side, opened_alike, same_episodes

SCHEMA = 1
_MINE = ("algorithm", "trained_on", "inner_steps", "normalisation", "transductive")  # of a run
_ASIDE = ("seed", "models", "episodes")  # of a protocol: said elsewhere, or not of a comparison


def compare_runs(
    runs: Sequence[str | os.PathLike[str]],
    *,
    episodes: int | None = None,
    ways: int | None = None,
    shots: int | None = None,
    queries: int | None = None,
    seed: int | None = None,
    root: str | None = None,
    known: Iterable[type[Part]] = (),
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Test the best checkpoints of some runs on the same episodes, and take the differences.

        d_e = m_e(run) − m_e(first run),   mean(d) ± 1.96 σ(d)/√E

    All runs read the test classes of the first one and draw its episodes, from one key. So an
    easy episode is easy for all of them, and the interval of a difference is often narrower than
    those of the two means. Nothing is written to the folders.

    Args:
        runs: two or more folders written by `run`, of the same data. Differences are to the first.
        episodes: E, the number of test episodes; None for that of the first run.
        ways: classes of an episode; None for those of the first run.
        shots: support examples of a class, or points of a task; None for those of the first run.
        queries: query examples of a class, or points of a task; None for those of the first run.
        seed: of the test episodes; None for that of the first run, whose figures are then those
            of `evaluate_run`.
        root: where data sets are looked for; None for `$JMETA_DATA`.
        known: classes of your own that the runs were made of.
        progress: told of every event, see `jmeta.tracking`.

    Returns:
        A record that JSON can hold: "runs", with "metrics" (name -> {"mean", "ci95",
        "episodes"}) and "inductive" as in `result.json`; "differences", an entry for each other
        run, with the same names; "metric", the one that says how good a run is; "episodes", with
        their "number", their "seed" and a "digest" of the first ones; "protocol". Metrics that are
        no mean over episodes, such as ece, have no difference. Where a prediction of any run
        depends on the other queries, "inductive" differences stand beside the plain ones.

    Raises:
        ValueError: fewer than two runs, one given twice, a missing folder, a run without a
            checkpoint, runs of other kinds of targets or other data, or episodes that the classes
            or a learner cannot fill.

    >>> import tempfile
    >>> from jmeta.experiments import experiment
    >>> from jmeta.runs import run
    >>> tiny = dict(dataset="sinusoid", steps=2, tasks=2, queries=5, validate_every=2,
    ...             validation_episodes=4, log_every=2, episodes=8, hidden=(4,))
    >>> folders = [f"{tempfile.mkdtemp()}/{name}" for name in ("maml", "reptile")]
    >>> made = [run(experiment(out.split("/")[-1], **tiny), out) for out in folders]
    >>> found = compare_runs(folders)
    >>> found["differences"][0]["metrics"]["mse"]["episodes"]
    8
    """
    asked = {"episodes": episodes, "ways": ways, "shots": shots, "queries": queries}
    given = {name: value for name, value in asked.items() if value is not None}
    sides = opened_alike(runs, given, root=root, known=known)
    used = sides[0].parts.experiment.budget.seed if seed is None else Budget(seed=seed).seed
    digest = same_episodes(sides, used)
    tested = [_tested(side, used, progress) for side in sides]
    return _record(sides, tested, {"seed": used, "digest": digest})


class Tested(NamedTuple):
    """What a test of one run has found."""

    record: dict[str, Any]
    each: list[dict[str, np.ndarray]]  # name -> [E], plain and then inductive
    targets: np.ndarray  # [E, Q, ...]


def _tested(side: Side, seed: int, progress: Progress) -> Tested:
    progress({"event": "test", "what": f"testing {side.name}"})
    record, found, _ = report.tested(side.parts, side.params, seed=seed)
    progress(report.result_event(record, side.best))
    return Tested(record, [_each(side.parts, one) for one in found], found[0].targets)


def _each(parts: Parts, found: Predicted) -> dict[str, np.ndarray]:
    """The metrics of single episodes, name -> [E]."""
    return {name: np.asarray(values) for name, values in each_of(parts.domain)(*found).items()}


def _record(
    sides: Sequence[Side], tested: Sequence[Tested], drawn: dict[str, Any]
) -> dict[str, Any]:
    """What is written of a comparison."""
    for one in tested:
        assert np.array_equal(one.targets, tested[0].targets), "the same episodes have been drawn"
    metric, protocol = _headline(sides, tested), tested[0].record["protocol"]
    shared = {name: v for name, v in protocol.items() if name not in (*_MINE, *_ASIDE)}
    return {
        "schema": SCHEMA,
        "metric": metric,
        "higher_is_better": sides[0].parts.domain.higher_is_better,
        "episodes": {"number": len(tested[0].targets), **drawn},
        "runs": [_entry(side, one) for side, one in zip(sides, tested, strict=True)],
        "differences": [
            {"run": str(side.out), "name": side.name, "from": sides[0].name, **found}
            for side, found in zip(sides[1:], _differences(tested), strict=True)
        ],
        "protocol": shared,
        "machine": report.machine(sides[0].parts),
    }


def _headline(sides: Sequence[Side], tested: Sequence[Tested]) -> str:
    """The metric that says how good a run is, among those that all runs have."""
    common = [name for name in tested[0].each[0] if all(name in one.each[0] for one in tested)]
    wished = [side.parts.domain.metric for side in sides]
    if not common:
        raise ValueError(
            f"the runs have no metric in common: they are judged by {', '.join(wished)}; compare "
            "runs of one kind."
        )
    return next((name for name in wished if name in common), common[0])


def _entry(side: Side, one: Tested) -> dict[str, Any]:
    """What is written of one run."""
    protocol = {name: one.record["protocol"][name] for name in _MINE}
    kept = ("metrics", "inductive", "episodes_not_finite")
    found = {name: one.record[name] for name in kept if name in one.record}
    return {"run": str(side.out), "name": side.name, **protocol, "best": side.best, **found}


def _differences(tested: Sequence[Tested]) -> list[dict[str, Any]]:
    """The paired differences of each other run from the first.

    A run whose predictions do not depend on the other queries is inductive as it is.
    """
    both = any(len(one.each) > 1 for one in tested)
    return [
        {
            "metrics": _difference(one.each[0], tested[0].each[0]),
            **({"inductive": _difference(one.each[-1], tested[0].each[-1])} if both else {}),
        }
        for one in tested[1:]
    ]


def _difference(
    left: dict[str, np.ndarray], right: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """The paired differences of all metrics that both have.

    >>> left, right = {"mse": np.array([3.0, 5.0]), "nll": np.zeros(2)}, {"mse": np.ones(2)}
    >>> _difference(left, right)["mse"]["mean"]
    3.0
    """
    common = [name for name in left if name in right]
    return {name: paired(left[name], right[name])._asdict() for name in common}

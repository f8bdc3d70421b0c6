"""Coming back to a finished run: its best parameters, and other test episodes."""

from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax

from jmeta.core import Params
from jmeta.experiments import Domain, Experiment, Part, Source, completed, example_task
from jmeta.experiments._domain import check_pools
from jmeta.experiments._options import options_of
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs import _report as report
from jmeta.runs._programs import Parts
from jmeta.runs._progress import Progress, quiet


def load_run(
    out: str | Path,
    experiment: Experiment | None = None,
    *,
    root: str | None = None,
    known: Iterable[type[Part]] = (),
) -> tuple[Parts, Params, dict[str, Any]]:
    """The parts of a run, its best parameters, and the record of the best checkpoint.

    Args:
        out: a folder written by `run`.
        experiment: the stored one with other test episodes; None for the stored one.
        root: where data sets are looked for; None for `$JMETA_DATA`.
        known: classes of your own that the run was made of. Nothing in the folder is imported.

    Raises:
        ValueError: no run there, or no checkpoint that can be read.
    """
    out = Path(out)
    parts = programs.parts(experiment or records.read_config(out, known), root=root)
    folder = out / "checkpoints"
    like = programs.initial_state(parts)
    last = checkpoint.restore_last(folder, like)
    if last is None:
        raise ValueError(f"{out} has no checkpoint yet; train it with `jmeta train --out {out}`.")
    best = last.record["best"]
    if best["step"] == 0:  # interrupted before the first validation: the last is all there is
        best = {"step": last.record["step"], "value": None}
    if best["step"] != last.record["step"]:
        last = checkpoint.restore(folder, best["step"], like)
    return parts, programs.replicate(last.state.params, parts.mesh), best


def evaluate_run(
    out: str | Path,
    *,
    source: Source | None = None,
    root: str | None = None,
    known: Iterable[type[Part]] = (),
    progress: Progress = quiet,
    **options: int | None,
) -> dict[str, Any]:
    """Test the best checkpoint of a run again, on other episodes or another source if asked.

    Args:
        out: a folder written by `run`.
        source: its test classes or tasks are used in the place of the run's own; None for those.
            Population statistics stay those of the run's training images.
        root: where data sets are looked for; None for `$JMETA_DATA`.
        known: classes of your own that the run was made of.
        progress: told of every event, see `jmeta.train.lines`.
        **options: `episodes`, `ways`, `shots`, `queries`, `inner_steps` of the test; None, or
            left out, for the run's own.

    Returns:
        A record like `result.json`, with metrics and protocol.

    Raises:
        ValueError: no run there, an option that it does not have, or episodes that the classes
            or the learner cannot fill.
    """
    stored = completed(records.read_config(Path(out), known), root)
    given = {name: value for name, value in options.items() if value is not None}
    parts, params, best = load_run(out, with_test(stored, given), root=root)
    if source is not None:
        parts = _tested_on(parts, source, root=root)
    tested = report.test(parts, params, progress=progress)
    if source is not None:
        trained = stored.source
        tested["protocol"]["trained_on"] = f"{trained.trained_on} of {trained.label}"
    return {
        "schema": report.SCHEMA,
        **tested,
        "best": best,
        "machine": report.machine(parts),
    }


def with_test(experiment: Experiment, options: dict[str, int]) -> Experiment:
    """The experiment with other test episodes; training stays as it was.

    Args:
        experiment: of a run, completed.
        options: episodes, ways, shots, queries, inner_steps -> their number.

    Raises:
        ValueError: an option that the experiment does not have.
    """
    options = dict(options)
    episode: Any = experiment.episode
    size = episode.training()
    trained = {f"train_{name}": value for name, value in size._asdict().items()}
    names = {item.name for item in fields(episode)}
    changes = {name: value for name, value in trained.items() if name in names}
    budget, algorithm = experiment.budget, experiment.algorithm
    if "episodes" in options:
        budget = replace(budget, episodes=options.pop("episodes"))
    if "inner_steps" in options:
        steps = options.pop("inner_steps")
        if "eval_inner_steps" not in dict(options_of(type(algorithm))):
            raise ValueError(f"{algorithm.name} takes no inner steps, so it cannot take {steps}.")
        algorithm = replace(algorithm, eval_steps=steps)  # type: ignore[call-arg]
    for name, value in options.items():
        if name not in ("ways", "shots", "queries") or name not in names:
            raise ValueError(f"episodes of {experiment.source.label} have no option {name}.")
        changes[name] = value
    return replace(
        experiment, episode=replace(episode, **changes), budget=budget, algorithm=algorithm
    )


def _tested_on(parts: Parts, source: Source, *, root: str | None) -> Parts:
    """The same run with the test episodes of another source."""
    mine = parts.experiment.source
    if source.kind != mine.kind:
        raise ValueError(
            f"the run has learned {mine.kind} of {mine.label}, but {source.label} has "
            f"{source.kind}; choose a dataset with the same kind of targets."
        )
    shape: tuple[int, ...] = ()
    if source.kind == "classes":
        shape = example_task(parts.domain).support.x.shape[1:]
    if len(shape) == 3 and getattr(source, "size", 0) is None:
        source = replace(source, size=int(shape[0]))  # type: ignore[call-arg]
    opened = source.open(parts.episode, seed=parts.experiment.budget.seed, root=root)
    other = parts.experiment.algorithm.domain(opened)
    check_pools(other, ["test"])
    for what in ("x", "y"):
        here, there = _shape(parts.domain, what), _shape(other, what)
        if here != there:
            raise ValueError(
                f"the run has learned {'examples' if what == 'x' else 'targets'} of shape {here}, "
                f"but those of {source.label} have shape {there}; choose a dataset with the same."
            )
    test = {name: getattr(other, name) for name in ("test", "sample_eval", "info", "draw")}
    return parts._replace(
        experiment=replace(parts.experiment, source=source), domain=parts.domain._replace(**test)
    )


def _shape(domain: Domain, what: str) -> Any:
    """The shape of a test example, or of its target."""
    query = example_task(domain, train=False).query
    return jax.tree.map(lambda leaf: leaf.shape[1:], getattr(query, what))

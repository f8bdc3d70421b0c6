"""Coming back to a finished run: its best parameters, and other test episodes."""

import warnings
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax

from jmeta.core import Params
from jmeta.experiments import Domain, Experiment, Part, Source, completed, example_task
from jmeta.experiments._content import content
from jmeta.experiments._domain import check_pools
from jmeta.experiments._experiment import Origin, opened
from jmeta.experiments._options import options_of
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _data as rundata
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
        ValueError: no run there, no checkpoint that can be read, or data that have changed since
            the run was trained on them.
    """
    parts, stored = _opened(Path(out), experiment, root=root, known=known)
    _check_data(Path(out), parts, stored)
    return _with_best(Path(out), parts)


Stored = dict[str, Any] | None  # what a run has stored of its data; None for an older run


def _opened(
    out: Path, experiment: Experiment | None, *, root: str | None, known: Iterable[type[Part]]
) -> tuple[Parts, Stored]:
    """The parts of a run, its data scaled as it has scaled them, and what it has stored of them."""
    experiment = experiment or records.read_config(out, known)
    stored = rundata.read(out)
    return programs.parts(experiment, root=root, origin=rundata.origin(stored, out)), stored


def _check_data(out: Path, parts: Parts, stored: Stored) -> None:
    """Refuse data that are not those that the run was trained on."""
    way_out = f"test on what there is now: jmeta evaluate {out} --dataset NAME"
    rundata.compare(stored, content(parts.domain), out, way_out=way_out)


def _with_best(out: Path, parts: Parts) -> tuple[Parts, Params, dict[str, Any]]:
    """The parts, the best parameters, and the record of the best checkpoint."""
    folder = out / records.CHECKPOINTS
    like = programs.state_like(parts)
    last = checkpoint.restore_last(folder, like)
    if last is None:
        if (out / "model.safetensors").exists():
            raise ValueError(
                f"{out} is a model without its checkpoints; `jmeta predict` and jmeta.load open "
                "it, and this needs the whole run."
            )
        raise ValueError(f"{out} has no checkpoint yet; train it with `jmeta train --out {out}`.")
    best = last.record["best"]
    if best["step"] == 0:  # interrupted before the first validation: the last is all there is
        best = {"step": last.record["step"], "value": None}
    if best["step"] != last.record["step"]:
        higher = parts.domain.higher_is_better
        last, best = records.restore_best(out, best, like, higher_is_better=higher)
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
        progress: told of every event, see `jmeta.tracking`.
        **options: `episodes`, `ways`, `shots`, `queries`, `inner_steps` of the test; None, or
            left out, for the run's own.

    Data of the run that have changed since are refused where they are tested on. Another source is
    scaled by the numbers of the run, and refused where the run has trained on its test classes.

    Returns:
        A record like `result.json`, with metrics and protocol.

    Raises:
        ValueError: no run there, an option that it does not have, episodes that the classes or
            the learner cannot fill, or data that cannot be tested on.
    """
    out = Path(out)
    trained = completed(records.read_config(out, known), root)
    given = {name: value for name, value in options.items() if value is not None}
    parts, stored = _opened(out, with_test(trained, given), root=root, known=known)
    if source is None:
        _check_data(out, parts, stored)
    parts, params, best = _with_best(out, parts)
    if source is not None:
        parts = _tested_on(parts, source, out, stored, root=root)
    tested = report.tested(parts, params, progress=progress).record
    if source is not None:
        mine = trained.source
        tested["protocol"]["trained_on"] = f"{mine.trained_on} of {mine.label}"
    progress(report.result_event(tested, best))
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


def _tested_on(
    parts: Parts, source: Source, out: Path, stored: Stored, *, root: str | None
) -> Parts:
    """The same run with the test episodes of another source, scaled as its own data."""
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
    scaling = parts.domain.info.get("scaling") if stored is None else stored["scaling"]
    origin = Origin(scaling=scaling)
    seed = parts.experiment.budget.seed
    found = opened(source, parts.episode, seed=seed, root=root, origin=origin)
    other = parts.experiment.algorithm.domain(found)
    check_pools(other, ["test"])
    for what in ("x", "y"):
        here, there = _shape(parts.domain, what), _shape(other, what)
        if here != there:
            raise ValueError(
                f"the run has learned {'examples' if what == 'x' else 'targets'} of shape {here}, "
                f"but those of {source.label} have shape {there}; choose a dataset with the same."
            )
    _warn_of_seen(parts, source, other, stored)
    test = {name: getattr(other, name) for name in _TEST}
    return parts._replace(
        experiment=replace(parts.experiment, source=source), domain=parts.domain._replace(**test)
    )


_TEST = ("test", "sample_eval", "info", "draw")  # what another source brings to a domain


def _warn_of_seen(parts: Parts, source: Source, other: Domain, stored: Stored) -> None:
    """Refuse test classes that the run has trained on; say what else is not as it was."""
    mine = parts.experiment.source
    trained = content(parts.domain) if stored is None else stored["parts"]
    named = rundata.unseen(trained, mine, other, source)
    if named:
        warnings.warn(
            f"{len(named)} test classes of {source.label} have the names of classes that the run "
            f"has trained on ({rundata.shown(named)}); if they are the same, the figures are not "
            "those of new classes",
            stacklevel=3,
        )
    if parts.method.fix is not None and stored and rundata.changes(stored, content(parts.domain)):
        warnings.warn(
            f"{mine.label} has changed since the run was trained on it, and the statistics of "
            "normalisation are those of its training images of today",
            stacklevel=3,
        )


def _shape(domain: Domain, what: str) -> Any:
    """The shape of a test example, or of its target."""
    query = example_task(domain, train=False).query
    return jax.tree.map(lambda leaf: leaf.shape[1:], getattr(query, what))

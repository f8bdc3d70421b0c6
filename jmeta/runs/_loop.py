"""The run loop: used by the command line and by notebooks alike."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jmeta.core import TrainState
from jmeta.experiments import Budget, Experiment
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _memory as fits
from jmeta.runs import _processes as processes
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs import _report as report
from jmeta.runs._interruption import interruption
from jmeta.runs._programs import Parts
from jmeta.runs._progress import Progress, quiet


class Interrupted(Exception):
    """Ctrl-C: the run was saved and can be resumed."""


class Diverged(ArithmeticError):
    """The loss is not finite; the last good checkpoint was kept."""


class Best(NamedTuple):
    """The best validation so far; `value` is None before the first."""

    step: int
    value: float | None


def run(
    experiment: Experiment,
    out: str | Path,
    *,
    resume: bool = False,
    root: str | None = None,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Meta-train, validate, keep checkpoints, test the best, and write it all to a folder.

    Writes `config.json`, `metrics.jsonl`, `checkpoints/`, `result.json`, `curves.png` and
    `episode.png` into `out`.

    Args:
        experiment: everything that determines the run; `jmeta.train.experiment(...)` makes one.
        out: the folder; it must not hold another run.
        resume: go on from the last checkpoint in `out`, if there is one; the result equals that
            of an undisturbed run, bit for bit, on the same devices.
        root: where data sets are looked for; None for `$JMETA_DATA`.
        progress: told of every event, see `jmeta.runs._progress`.

    Returns:
        The content of `result.json`.

    Raises:
        ValueError: impossible options, a missing set, a folder with another run.
        Interrupted: Ctrl-C; the state was saved.
        Diverged: the loss became infinite or NaN.

    >>> import tempfile
    >>> from jmeta.experiments import experiment
    >>> tiny = experiment("maml", dataset="sinusoid", steps=4, tasks=2, queries=5,
    ...                   validate_every=2, validation_episodes=4, log_every=2, episodes=8)
    >>> result = run(tiny, tempfile.mkdtemp())
    >>> sorted(result["metrics"])
    ['mse']
    """
    out = Path(out)
    progress = progress if processes.first() else quiet
    parts = processes.together(lambda: programs.parts(experiment, root=root))
    processes.agree("options or data", f"{experiment} {parts.domain.info.get('hash')}")
    processes.once(lambda: records.open_folder(parts.experiment, out, resume=resume))
    state, best, seconds = _start(parts, out, resume=resume, progress=progress)
    send, memory = _compiled(parts, state)
    progress(_started(parts.experiment, state, memory))
    state, best, seconds = _train(parts, out, send, state, best, seconds, progress)
    params = _best_params(out, state, best)
    cost = report.Cost(seconds, memory)
    return report.finish(parts, out, params, best=best._asdict(), cost=cost, progress=progress)


def _start(
    parts: Parts, out: Path, *, resume: bool, progress: Progress
) -> tuple[TrainState, Best, float]:
    """The initial state, or that of the last whole checkpoint."""
    state = programs.initial_state(parts)
    folder = out / "checkpoints"
    found = processes.once(lambda: checkpoint.restore_last(folder, state)) if resume else None
    record = processes.tell(found and found.record)
    step = 0 if record is None else record["step"]
    processes.once(lambda: checkpoint.sweep(folder, after=step))
    processes.once(lambda: records.truncate(out, after=step))
    if record is None:
        return state, Best(0, None), 0.0
    progress({"event": "resumed", "step": step})
    restored = processes.share(found and found.state, like=state)
    state = programs.replicate(restored, parts.mesh)
    return state, Best(**record["best"]), record["seconds"]


Send = Callable[..., tuple[TrainState, tuple[jax.Array, jax.Array]]]


def _compiled(parts: Parts, state: TrainState) -> tuple[Send, int | None]:
    """`send(state, length=) -> (state, (losses, scores))` and the bytes of memory it needs.

    Raises:
        ValueError: the machine has not that much.
    """
    advance = programs.dispatch(parts)
    send = partial(advance, pool=parts.domain.train)
    step = int(state.step)
    if step >= parts.experiment.budget.steps:
        return send, None
    length = _length(parts.experiment.budget, step)
    return send, processes.together(lambda: fits.check(parts, advance, state, length=length))


def _started(experiment: Experiment, state: TrainState, memory: int | None) -> dict[str, Any]:
    """What is told before the first update."""
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    told = {"event": "start", "step": int(state.step), "steps": experiment.budget.steps}
    return {**told, "parameters": size, "memory": memory}


def _train(
    parts: Parts,
    out: Path,
    send: Send,
    state: TrainState,
    best: Best,
    seconds: float,
    progress: Progress,
) -> tuple[TrainState, Best, float]:
    """Dispatch after dispatch until the last step; validates and saves at intervals.

    Between intervals the next dispatch is sent before the results of the last are read, so the
    devices never wait for the host. Several processes read first: what they then say to each
    other must not meet the messages of a dispatch.
    """
    budget = parts.experiment.budget
    validate = _validator(parts)
    step = int(state.step)
    unread, begun = list[Sent](), 0.0
    with interruption() as interrupted:
        while step < budget.steps:
            if not unread:
                begun = time.perf_counter()
            length = _length(budget, step)
            state, results = send(state, length=length)
            step += length
            unread.append(Sent(step, length, *results))
            at_interval = step % budget.validate_every == 0 or step == budget.steps
            settle = at_interval or processes.several()
            while len(unread) > (0 if settle or interrupted() else 1):
                sent = unread.pop(0)
                took = processes.together(partial(_read, parts, out, sent, begun, progress))
                begun, seconds = begun + took, seconds + took
            stop = not unread and processes.anywhere(interrupted())
            before = best
            if at_interval:
                best = _validated(parts, out, state, step, best, validate, progress)
            if at_interval or stop:
                _save(out, step, state, best, before, seconds)
            if stop and step < budget.steps:
                raise Interrupted(
                    f"stopped at step {step} of {budget.steps} and saved; "
                    f"go on with: jmeta train --out {out} --resume"
                )
    return state, best, seconds


def _save(
    out: Path, step: int, state: TrainState, best: Best, before: Best, seconds: float
) -> None:
    """Write a checkpoint; that of `before` is kept too, should this one be damaged."""
    record = {"best": best._asdict(), "seconds": seconds}
    folder, keep = out / "checkpoints", {best.step, before.step}
    processes.once(lambda: checkpoint.save(folder, step, state, record, keep=keep))


class Sent(NamedTuple):
    """A dispatch whose results were not read yet."""

    step: int  # the last of its updates
    length: int
    losses: jax.Array  # [length]
    scores: jax.Array  # [length]


def _read(parts: Parts, out: Path, sent: Sent, begun: float, progress: Progress) -> float:
    """Wait for a dispatch, record its line of metrics, and say how long it took."""
    line = _summary(parts, out, sent.step, np.asarray(sent.losses), np.asarray(sent.scores))
    took = time.perf_counter() - begun
    tasks = sent.length * parts.experiment.budget.tasks
    if processes.first():
        records.append(out, {**line, "tasks_per_second": tasks / took})
    progress({"event": "train", **line, "tasks": tasks, "seconds": took})
    return took


def _length(budget: Budget, step: int) -> int:
    """Updates of the next dispatch: up to the next multiple of an interval, or the end.

    It depends on the step alone, so that a resumed run dispatches as an undisturbed one.
    """
    to_log = budget.log_every - step % budget.log_every
    to_validation = budget.validate_every - step % budget.validate_every
    return min(to_log, to_validation, budget.steps - step)


def _summary(
    parts: Parts, out: Path, step: int, losses: np.ndarray, scores: np.ndarray
) -> dict[str, Any]:
    """One line of metrics; refuses a loss that is not finite."""
    if not np.isfinite(losses).all():
        bad = step - len(losses) + int(np.argmin(np.isfinite(losses))) + 1
        raise _diverged(out, f"the loss is {losses[~np.isfinite(losses)][0]} at step {bad}")
    return {"step": step, "loss": float(losses.mean()), parts.domain.metric: float(scores.mean())}


def _diverged(out: Path, what: str) -> Diverged:
    kept = checkpoint.steps(out / "checkpoints")
    last = f"the checkpoint of step {kept[-1]} is kept" if kept else "no checkpoint was made"
    return Diverged(f"{what}; {last}. Lower --rate or --inner-rate, or set --clip 10.")


Validate = Callable[[TrainState], dict[str, Any]]


def _validator(parts: Parts) -> Validate | None:
    """`state -> validation record`, or None where there are no validation classes."""
    budget, domain = parts.experiment.budget, parts.domain
    if domain.val is None:
        return None
    predict = programs.predict(parts, parts.method.learner, episodes=budget.validation_episodes)
    key = programs.keys(budget.seed).val

    def validate(state: TrainState) -> dict[str, Any]:
        found = domain.report(*predict(state.params, domain.val, key))[domain.metric]
        if not np.isfinite(found.mean):
            return {"validation": None, "ci95": None}
        return {"validation": found.mean, "ci95": found.ci95}

    return validate


def _validated(
    parts: Parts,
    out: Path,
    state: TrainState,
    step: int,
    best: Best,
    validate: Validate | None,
    progress: Progress,
) -> Best:
    """Validate, record it, and say which step is the best so far (the last, without classes).

    Adaptation that diverges on one task makes a mean infinite; such a step is never the best.
    """
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
        raise _diverged(out, f"a parameter is not finite at step {step}")
    if validate is None:
        return Best(step, None)
    line = {"step": step, **validate(state)}
    if processes.first():
        records.append(out, line)
    progress({"event": "validation", **line})
    value = line["validation"]
    sign = 1 if parts.domain.higher_is_better else -1
    if value is None:
        return best if best.value is not None else Best(step, None)
    if best.value is None or sign * value > sign * best.value:
        return Best(step, value)
    return best


def _best_params(out: Path, state: TrainState, best: Best) -> Any:
    """Parameters of the best checkpoint; of the last where there was no validation."""
    if best.step == int(state.step):
        return jax.tree.map(np.asarray, state.params)
    folder = out / "checkpoints"
    found = processes.once(lambda: checkpoint.restore(folder, best.step, state).state)
    return processes.share(found, like=state).params

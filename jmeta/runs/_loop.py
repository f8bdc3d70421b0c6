"""The run loop: used by the command line and by notebooks alike."""

import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jmeta.core import TrainState
from jmeta.experiments import Budget, Experiment, to_json
from jmeta.experiments._experiment import Origin
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _data as rundata
from jmeta.runs import _lowered as lowered
from jmeta.runs import _memory as fits
from jmeta.runs import _processes as processes
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs import _report as report
from jmeta.runs._hooks import check_hook, guarded
from jmeta.runs._interruption import Interrupted, interruption
from jmeta.runs._programs import Parts
from jmeta.runs._progress import Progress, quiet
from jmeta.runs._sending import Send, Sent, awaited
from jmeta.runs._validation import Best, Validate, diverged, validated, validator


def run(
    experiment: Experiment,
    out: str | Path,
    *,
    resume: bool = False,
    root: str | None = None,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Meta-train, validate, keep checkpoints, test the best, and write it all to a folder.

    Writes `config.json`, `data.json`, `metrics.jsonl`, `checkpoints/`, `result.json`,
    `episodes.csv`, `confusion.csv`, `curves.png` and `episode.png` into `out`, which is locked
    meanwhile.

    Args:
        experiment: everything that determines the run; `jmeta.train.experiment(...)` makes one.
        out: the folder; it must not hold another run.
        resume: go on from the last checkpoint in `out`, if there is one; the result equals that
            of an undisturbed run, bit for bit, on the same devices.
        root: where data sets are looked for; None for `$JMETA_DATA`.
        progress: a hook, told of every event; `jmeta.tracking` lists them and has hooks for
            TensorBoard, Weights & Biases and MLflow.

    Returns:
        The content of `result.json`.

    Raises:
        ValueError: impossible options, a missing set, a folder with another run or in use by
            another process, or a run on data that have changed since.
        Interrupted: Ctrl-C or SIGTERM; the state was saved.
        Diverged: the loss became infinite or NaN.
        HookFailed: the hook raised an error; checkpoints are as they were.

    >>> import tempfile
    >>> from jmeta.experiments import experiment
    >>> tiny = experiment("maml", dataset="sinusoid", steps=4, tasks=2, queries=5,
    ...                   validate_every=2, validation_episodes=4, log_every=2, episodes=8)
    >>> result = run(tiny, tempfile.mkdtemp())
    >>> sorted(result["metrics"])
    ['mse']
    """
    out = Path(out)
    check_hook(progress)
    progress = guarded(progress if processes.first() else quiet, out)
    origin = _origin(experiment, out) if resume else None
    parts = processes.together(lambda: programs.parts(experiment, root=root, origin=origin))
    data = processes.together(lambda: rundata.record(parts, out, root))
    processes.agree("options or data", f"{experiment} {rundata.digests(data)}")
    return _carry_out(parts, out, data, resume=resume, progress=progress)


def _origin(experiment: Experiment, out: Path) -> Origin | None:
    """Where the data of the run in a folder lie, if it holds one of the same source."""
    held = processes.once(lambda: rundata.read(out) if (out / records.CONFIG).exists() else None)
    stored = processes.tell(held)
    same = stored is not None and stored["dataset"] == experiment.source.label
    return rundata.origin(stored, out) if same else None


def _carry_out(
    parts: Parts, out: Path, data: Mapping[str, Any], *, resume: bool, progress: Progress
) -> dict[str, Any]:
    """Train, test and report in a folder that no other process writes in."""
    state = processes.together(lambda: programs.initial_state(parts))  # refused without a folder
    with ExitStack() as stack:
        claim = records.claimed(parts.experiment, out, data, resume=resume)
        processes.once(lambda: stack.enter_context(claim))
        state, best, seconds = _start(parts, out, state, resume=resume, progress=progress)
        send, memory = _compiled(parts, data, state)
        progress(_started(parts.experiment, state, memory))
        state, best, seconds = _train(parts, out, send, state, best, seconds, progress)
        params, best = _best_params(parts, out, state, best)
        cost = report.Cost(seconds, memory)
        return report.finish(parts, out, params, best=best._asdict(), cost=cost, progress=progress)


def _start(
    parts: Parts, out: Path, state: TrainState, *, resume: bool, progress: Progress
) -> tuple[TrainState, Best, float]:
    """The initial state, or that of the last whole checkpoint."""
    folder = out / records.CHECKPOINTS
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


def _compiled(parts: Parts, data: Mapping[str, Any], state: TrainState) -> tuple[Send, int | None]:
    """What sends the updates, and the bytes of memory that a dispatch needs.

    Raises:
        ValueError: the machine has not that much.
    """
    advance = lowered.dispatch(parts, data)
    send = Send(advance, parts.domain.train)
    step = int(state.step)
    if step >= parts.experiment.budget.steps:
        return send, None
    length = _length(parts.experiment.budget, step)
    return send, processes.together(lambda: fits.check(parts, advance, state, length=length))


def _started(experiment: Experiment, state: TrainState, memory: int | None) -> dict[str, Any]:
    """What is told before the first update."""
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    told = {"event": "start", "step": int(state.step), "steps": experiment.budget.steps}
    told |= {"parameters": size, "memory": memory}
    return {**told, "experiment": to_json(experiment)}


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
    other must not meet the messages of a dispatch. After the first dispatch validation is compiled,
    which updates need not wait for, while nothing runs that would share its time and memory.
    """
    budget = parts.experiment.budget
    step = begin = int(state.step)
    validate: Validate | None = None
    unread, begun, compiled = list[Sent](), 0.0, set[int]()
    if budget.steps == 0:  # nothing is trained, and the run is whole all the same
        _save(out, 0, state, best, best, seconds)
    with interruption() as interrupted:
        while step < budget.steps:
            length, first = _length(budget, step), step == begin
            if length not in compiled:  # which is no part of the time of any dispatch
                send.compile(state, length)
                compiled.add(length)
            sent_at = time.perf_counter()
            state, results = send(state, length)
            step += length
            unread.append(Sent(step, length, sent_at, awaited(*results)))
            at_interval = step % budget.validate_every == 0 or step == budget.steps
            settle = first or at_interval or processes.several()
            while len(unread) > (0 if settle or interrupted() else 1):
                sent = unread.pop(0)
                begun = max(begun, sent.at)  # it began when it was sent, or the one before ended
                took = processes.together(partial(_read, parts, out, sent, begun, progress))
                begun, seconds = begun + took, seconds + took
            if first:
                validate = validator(parts, state)
            stop = not unread and processes.anywhere(bool(interrupted()))
            before = best
            if at_interval:
                best = validated(parts, out, state, step, best, validate, progress)
            if at_interval or stop:
                _save(out, step, state, best, before, seconds)
            if stop and step < budget.steps:
                raise Interrupted(
                    f"stopped at step {step} of {budget.steps} and saved; "
                    f"go on with: jmeta train --out {out} --resume",
                    interrupted() or signal.SIGINT,
                )
    return state, best, seconds


def _save(
    out: Path, step: int, state: TrainState, best: Best, before: Best, seconds: float
) -> None:
    """Write a checkpoint; that of `before` is kept too, should this one be damaged."""
    record = {"best": best._asdict(), "seconds": seconds}
    folder, keep = out / records.CHECKPOINTS, {best.step, before.step}
    processes.once(lambda: checkpoint.save(folder, step, state, record, keep=keep))


def _read(parts: Parts, out: Path, sent: Sent, begun: float, progress: Progress) -> float:
    """Record a dispatch's line of metrics, and say how long it took after the one before."""
    arrived = sent.results.result()
    line = _summary(parts, out, sent.step, arrived.losses, arrived.scores)
    took = arrived.when - begun
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
        raise diverged(out, f"the loss is {losses[~np.isfinite(losses)][0]} at step {bad}")
    return {"step": step, "loss": float(losses.mean()), parts.domain.metric: float(scores.mean())}


def _best_params(parts: Parts, out: Path, state: TrainState, best: Best) -> tuple[Any, Best]:
    """Parameters of the best checkpoint; of the last where there was no validation.

    Where that checkpoint is damaged, those of the next best that is whole.
    """
    if best.step == int(state.step):
        return jax.tree.map(np.asarray, state.params), best
    higher = parts.domain.higher_is_better
    found = processes.once(
        lambda: records.restore_best(out, best._asdict(), state, higher_is_better=higher)
    )
    used = processes.tell(found and found[1])
    restored = processes.share(found and found[0].state, like=state)
    return restored.params, Best(**used)

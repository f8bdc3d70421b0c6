"""Testing a trained learner, and what is written about it."""

import platform
import statistics
import time
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jmeta import __version__, learners
from jmeta.core import Learner, Params
from jmeta.core._padding import is_transductive
from jmeta.metrics import Estimate
from jmeta.runs import _card as card
from jmeta.runs import _episodes as episodes
from jmeta.runs import _model as model
from jmeta.runs import _plots as plots
from jmeta.runs import _processes as processes
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs import _room as room
from jmeta.runs._episodes import Predicted
from jmeta.runs._programs import Parts
from jmeta.runs._progress import Event, Progress, quiet
from jmeta.runs._writing import write_json, write_whole

SCHEMA = 1


class Cost(NamedTuple):
    """What training took."""

    seconds: float
    memory: int | None  # bytes, see `jmeta.runs._memory.needed`


def finish(
    parts: Parts,
    out: Path,
    params: Params,
    *,
    best: dict[str, Any],
    cost: Cost,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Test the chosen parameters and write the result, its episodes and the pictures.

    All processes test; the first one writes.
    """
    outcome = tested(parts, params, progress=progress)
    written = processes.once(
        lambda: _write(parts, out, params, outcome.record, best=best, cost=cost)
    )
    processes.once(lambda: _write_model(parts, out, outcome.alone, written))
    processes.once(lambda: episodes.write(parts, out, outcome.predicted))
    progress(result_event(outcome.record, best))
    return processes.tell(written)


def result_event(outcome: dict[str, Any], best: dict[str, Any]) -> Event:
    """What is told when a test is over.

    >>> result_event({"metrics": {}, "protocol": {}}, {"step": 7, "value": None})
    {'event': 'result', 'step': 7, 'metrics': {}}
    """
    told: Event = {name: outcome[name] for name in ("metrics", "inductive") if name in outcome}
    return {"event": "result", "step": best["step"], **told}


def _write(
    parts: Parts,
    out: Path,
    params: Params,
    tested: dict[str, Any],
    *,
    best: dict[str, Any],
    cost: Cost,
) -> dict[str, Any]:
    lines = records.read(out)
    rates = [line["tasks_per_second"] for line in lines if "tasks_per_second" in line]
    # the first dispatch of a run may be slower than the others
    rate = statistics.median(rates[1:] or rates) if rates else None  # its lines were deleted
    result = {
        "schema": SCHEMA,
        **tested,
        "best": best,
        "throughput": {"tasks_per_second": rate, "memory_bytes": cost.memory},
        "seconds": cost.seconds,
        "machine": machine(parts),
    }
    write_json(out / "result.json", result)
    plots.curves(lines, metric=parts.domain.metric, path=out / "curves.png")
    plots.episode(parts, params, path=out / "episode.png")
    return result


def _write_model(parts: Parts, out: Path, params: Params, result: Mapping[str, Any] | None) -> None:
    """Write the model and its card; `params` hold fixed moments where there are such."""
    assert result is not None, "the first process has written it"
    record = model.record_of(parts, moments=parts.method.fix is not None)
    model.write_arrays(out / model.FILE, model.named(params), record)
    write_whole(out / card.FILE, card.written(parts.experiment, record, result))


class Tested(NamedTuple):
    """A test."""

    record: dict[str, Any]
    predicted: list[Predicted]  # that it was made from; inductive ones second
    alone: Params  # with which a prediction does not depend on others, where the algorithm can


def tested(
    parts: Parts, params: Params, *, seed: int | None = None, progress: Progress = quiet
) -> Tested:
    """Metrics on fixed test episodes with their protocol, and the predictions behind them.

    With batch statistics or a transductive learner, the figure of queries that are given together
    (transductive) is accompanied by an inductive one.

    Args:
        parts: the run.
        params: its parameters.
        seed: of the test episodes; None for that of the run.
        progress: told what is tested.
    """
    begun = time.perf_counter()
    progress({"event": "test", "what": "testing"})
    learner, key = parts.method.learner, key_of_test(parts, seed)
    found = [_predict(parts, learner, params, key)]
    record: dict[str, Any] = {
        "metrics": _measure(parts, found[0]),
        "protocol": protocol(parts),
        "episodes_not_finite": _not_finite(found[0]),
    }
    if record["protocol"]["transductive"]:
        progress({"event": "test", "what": "testing inductively"})
        learner, params, how = _inductive(parts, learner, params)
        found.append(_predict(parts, learner, params, key))
        record["inductive"] = {"metrics": _measure(parts, found[1]), "statistics": how}
    record["test_seconds"] = time.perf_counter() - begun
    return Tested(record, found, params)


def key_of_test(parts: Parts, seed: int | None = None) -> jax.Array:
    """The key of all test episodes, from a seed or from that of the run."""
    return programs.keys(parts.experiment.budget.seed if seed is None else seed).test


def _predict(parts: Parts, learner: Learner, params: Params, key: jax.Array) -> Predicted:
    predict = programs.predict(parts, learner, episodes=parts.experiment.budget.episodes)
    return Predicted(*predict(params, parts.domain.test, key))


def _not_finite(predicted: Predicted) -> int:
    """How many episodes have a prediction that is not finite; a warning says so."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(predicted.outputs)]
    finite = np.all([np.isfinite(leaf).reshape(len(leaf), -1).all(1) for leaf in leaves], axis=0)
    bad = int((~finite).sum())
    if bad:
        warnings.warn(
            f"{bad} of {len(finite)} test episodes have predictions that are not finite: "
            "adaptation diverges there; lower the inner rate",
            stacklevel=2,
        )
    return bad


def _measure(parts: Parts, predicted: Predicted) -> dict[str, Any]:
    found = parts.domain.report(*predicted)
    return {name: Estimate(*value)._asdict() for name, value in found.items()}


def _inductive(parts: Parts, learner: Learner, params: Params) -> tuple[Learner, Params, str]:
    """The same learner with predictions that do not depend on the other queries."""
    alone = "the support set and the one query"
    if parts.method.fix is None:
        return learners.inductive(learner), params, alone
    params, how = fixed_moments(parts, params), "population statistics of training images"
    if is_transductive(learner):
        return learners.inductive(learner), params, f"{how}, {alone}"
    return learner, params, how


def fixed_moments(parts: Parts, params: Params, tasks: int = 16) -> Params:
    """Parameters whose normalisation layers hold the statistics of some training tasks."""
    assert parts.method.fix is not None, "a network with batch statistics"
    key = programs.keys(parts.experiment.budget.seed).statistics
    draw, fix = jax.vmap(parts.domain.sample_train, (0, None)), parts.method.fix

    def fixed(params: Params, pool: Any, key: jax.Array) -> Params:
        return fix(params, draw(jax.random.split(key, tasks), pool))

    given = params, parts.domain.train, key
    precise = jax.jit(parts.experiment.device.traced(fixed))
    return room.fitting(precise, parts.mesh, *given, what="the test")(*given)


def protocol(parts: Parts) -> dict[str, Any]:
    """All that a figure depends on."""
    experiment, info, size = parts.experiment, parts.domain.info, parts.episode.testing()
    norm = getattr(parts.network, "norm", "none")
    return {
        "algorithm": experiment.algorithm.name,
        "dataset": experiment.source.label,
        "split": info.get("split"),
        "split_hash": info.get("hash"),
        "trained_on": experiment.source.trained_on,
        "part": "test",
        "target": info.get("target"),
        "ways": size.ways if parts.domain.kind == "classes" else None,
        "shots": size.shots,
        "min_shots": getattr(parts.episode, "min_shots", None),
        "queries": size.queries,
        "episodes": experiment.budget.episodes,
        "rotations": getattr(parts.episode, "eval_rotations", 1),
        "inner_steps": parts.method.steps,
        "normalisation": norm if norm != "batch" or transductive(parts) else "none",
        "transductive": transductive(parts),
        "models": 1,
        "seed": experiment.budget.seed,
        "versions": versions(),
    }


def transductive(parts: Parts) -> bool:
    """Whether a prediction depends on the other queries, by batch statistics or by the learner."""
    batch = parts.method.fix is not None or parts.network.transductive
    return batch or is_transductive(parts.method.learner)


def versions() -> dict[str, str]:
    """Versions of Python, jmeta and what it computes with."""
    names = ("jax", "jaxlib", "flax", "optax")
    found = {name: metadata.version(name) for name in names}
    return {"python": platform.python_version(), "jmeta": __version__, **found}


def machine(parts: Parts) -> dict[str, Any]:
    """The machine in words."""
    device = parts.mesh.devices.flat[0]
    return {
        "backend": device.platform,
        "device": device.device_kind,
        "devices": parts.mesh.size,
        "shared": parts.share,
        "processes": jax.process_count(),
        "system": platform.system(),
        "processor": platform.machine(),
    }

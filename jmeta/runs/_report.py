"""Testing a trained learner, and what is written about it."""

import platform
import statistics
import time
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jmeta import learners
from jmeta.core import Estimate, Learner, Params
from jmeta.train import build
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _processes as processes
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs._programs import Parts
from jmeta.runs._progress import Progress, quiet

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
    """Test the chosen parameters and write result.json, curves.png and episode.png.

    All processes test; the first one writes.
    """
    tested = test(parts, params, progress=progress)
    written = processes.once(lambda: _write(parts, out, params, tested, best=best, cost=cost))
    return processes.tell(written)


def _write(
    parts: Parts,
    out: Path,
    params: Params,
    tested: dict[str, Any],
    *,
    best: dict[str, Any],
    cost: Cost,
) -> dict[str, Any]:
    from jmeta.runs import _plots as plots

    lines = records.read(out)
    rates = [line["tasks_per_second"] for line in lines if "tasks_per_second" in line]
    # the first dispatch of a run compiles
    rate = statistics.median(rates[1:] or rates)
    result = {
        "schema": SCHEMA,
        **tested,
        "best": best,
        "throughput": {"tasks_per_second": rate, "memory_bytes": cost.memory},
        "seconds": cost.seconds,
        "machine": machine(parts),
    }
    checkpoint.write_json(out / "result.json", result)
    plots.curves(lines, metric=parts.built.metric, path=out / "curves.png")
    plots.episode(parts, params, path=out / "episode.png")
    return result


def test(parts: Parts, params: Params, *, progress: Progress = quiet) -> dict[str, Any]:
    """Metrics on fixed test episodes with their protocol.

    With batch statistics, the figure as the statistics of the query batch give it
    (transductive) is accompanied by an inductive one.
    """
    begun = time.perf_counter()
    progress({"event": "test", "what": "testing"})
    config = parts.config
    learner = build.eval_learner(config, parts.net)
    record = {"metrics": _measure(parts, learner, params), "protocol": protocol(parts)}
    if record["protocol"]["transductive"]:
        progress({"event": "test", "what": "testing inductively"})
        learner, params, how = _inductive(parts, learner, params)
        record["inductive"] = {"metrics": _measure(parts, learner, params), "statistics": how}
    return {**record, "test_seconds": time.perf_counter() - begun}


def _measure(parts: Parts, learner: Learner, params: Params) -> dict[str, Any]:
    predict = programs.predict(parts, learner, episodes=parts.config.episodes)
    key = programs.keys(parts.config.seed).test
    found = parts.built.report(*predict(params, parts.built.test, key))
    return {name: Estimate(*value)._asdict() for name, value in found.items()}


def _inductive(parts: Parts, learner: Learner, params: Params) -> tuple[Learner, Params, str]:
    """The same learner with predictions that do not depend on the other queries."""
    if parts.config.algorithm in build.GRADIENT_BASED:
        return learners.inductive(learner), params, "the support set and the one query"
    return learner, fixed_moments(parts, params), "population statistics of training images"


def fixed_moments(parts: Parts, params: Params, tasks: int = 16) -> Params:
    """Parameters whose normalisation layers hold the statistics of some training tasks."""
    keys = jax.random.split(programs.keys(parts.config.seed).statistics, tasks)
    draw = jax.vmap(parts.built.sample_train, (0, None))
    drawn = jax.jit(draw)(keys, parts.built.train)
    return build.with_fixed_moments(parts.net, params, drawn)


def protocol(parts: Parts) -> dict[str, Any]:
    """All that a figure depends on."""
    config, info = parts.config, parts.built.info
    gradient = config.algorithm in build.GRADIENT_BASED
    steps = config.inner_steps if config.eval_inner_steps is None else config.eval_inner_steps
    return {
        "dataset": config.dataset,
        "split": info.get("split"),
        "split_hash": info.get("hash"),
        "trained_on": "train and val" if config.train_on_val else "train",
        "part": "test",
        "ways": config.ways if parts.built.metric == "accuracy" else None,
        "shots": config.shots,
        "queries": config.queries,
        "episodes": config.episodes,
        "rotations": config.eval_rotations,
        "inner_steps": steps if gradient else None,
        "normalisation": config.norm if parts.net.fix or config.norm != "batch" else "none",
        "transductive": parts.net.fix is not None,
        "models": 1,
        "seed": config.seed,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of Python, jmeta and what it computes with."""
    names = ("jmeta", "jax", "jaxlib", "flax", "optax")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def machine(parts: Parts) -> dict[str, Any]:
    """The machine in words."""
    device = parts.mesh.devices.flat[0]
    return {
        "backend": device.platform,
        "device": device.device_kind,
        "devices": parts.mesh.size,
        "processes": jax.process_count(),
        "system": platform.system(),
        "processor": platform.machine(),
    }

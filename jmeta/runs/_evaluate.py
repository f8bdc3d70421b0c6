"""Coming back to a finished run: its best parameters, and other test episodes."""

import dataclasses
from pathlib import Path
from typing import Any

from jmeta.core import Params
from jmeta.runs import _checkpoint as checkpoint
from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs import _report as report
from jmeta.train.config import Config
from jmeta.runs._programs import Parts
from jmeta.runs._progress import Progress, quiet


def load_run(
    out: str | Path, config: Config | None = None, *, root: str | None = None
) -> tuple[Parts, Params, dict[str, Any]]:
    """The parts of a run, its best parameters, and the record of the best checkpoint.

    Args:
        out: a folder written by `run`.
        config: the stored config with other test episodes; None for the stored one.
        root: where data sets are looked for; None for `$JMETA_DATA`.

    Raises:
        ValueError: no run there, or no checkpoint that can be read.
    """
    out = Path(out)
    parts = programs.parts(config or records.read_config(out), root=root)
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
    episodes: int | None = None,
    ways: int | None = None,
    shots: int | None = None,
    queries: int | None = None,
    inner_steps: int | None = None,
    root: str | None = None,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Test the best checkpoint of a run again, on other episodes if asked.

    Args:
        out: a folder written by `run`.
        episodes, ways, shots, queries, inner_steps: of the test; None for the run's own.
        root: where data sets are looked for; None for `$JMETA_DATA`.

    Returns:
        A record like `result.json`, with metrics and protocol.

    Raises:
        ValueError: no run there, or episodes that the classes or the learner cannot fill.
    """
    stored = records.read_config(Path(out))
    train_ways, train_shots, train_queries = stored.training()
    asked: dict[str, Any] = {
        "train_ways": train_ways,
        "train_shots": train_shots,
        "train_queries": train_queries,
        "episodes": episodes,
        "ways": ways,
        "shots": shots,
        "queries": queries,
        "eval_inner_steps": inner_steps,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    config = dataclasses.replace(stored, **given)
    parts, params, best = load_run(out, config, root=root)
    return {
        "schema": report.SCHEMA,
        **report.test(parts, params, progress=progress),
        "best": best,
        "machine": report.machine(parts),
    }

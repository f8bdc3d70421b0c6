"""Runs that learn: every algorithm of the table, better than before and than chance."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick import SINUSOID

from jmeta.runs import _programs as programs
from jmeta.runs import _records as records
from jmeta.runs import _report as report
from jmeta.train import ALGORITHMS, Experiment, completed, evaluate_run, experiment, run

pytestmark = pytest.mark.usefixtures("compiled_once")

EVERY = {"devices": 1, "chunk": 1, "validation_episodes": 48, "episodes": 2, "schedule": "constant"}
CLASSES = {"ways": 3, "shots": 1, "queries": 3, "train_queries": 3, "tasks": 4, "rate": 1e-2}
NUMBERS = {"shots": 10, "queries": 10, "train_queries": 10, "tasks": 8, "rate": 1e-2}
PIXELS = {"network": "mlp", "hidden": (16,), "norm": "layer"}
# What an algorithm needs to learn within seconds, where that is not what the others need.
OWN: dict[str, dict[str, Any]] = {
    "reptile": {"inner_steps": 3, "train_shots": 3},
}


@pytest.fixture(scope="module")
def patterns(tmp_path_factory) -> str:
    """20 easy classes of 16x16 images: a pattern each, and noise."""
    random = np.random.default_rng(0)
    pattern = np.repeat(random.uniform(40, 215, (20, 1, 16, 16)), 8, axis=1)
    x = np.clip(pattern + random.normal(0, 20, pattern.shape), 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("images") / "easy.npz"
    np.savez(path, x=x.reshape(-1, 16, 16), y=np.repeat(np.arange(20), 8))
    return f"arrays:{path}"


@pytest.fixture(scope="module")
def images(patterns) -> Experiment:
    """Protonet on the patterns."""
    return experiment(
        "protonet",
        dataset=patterns,
        split="0.5,0.25,0.25",
        ways=3,
        queries=2,
        filters=4,
        steps=4,
        devices=1,
        validate_every=2,
        log_every=2,
        validation_episodes=4,
        episodes=8,
    )

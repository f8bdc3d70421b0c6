"""jmeta: meta-learning in JAX, learners as pure functions.

The names below are the vocabulary that learners are composed in. More lies in the namespaces:
`jmeta.losses`, `jmeta.metrics`, `jmeta.distances`, `jmeta.learners` (every learner and head),
`jmeta.nn` (networks), `jmeta.data` (tasks), `jmeta.train` (whole runs), `jmeta.few`
(a trained run and examples of one's own) and `jmeta.testing`.
"""

from importlib import import_module
from typing import Any

from jmeta import core, distances, learners, losses, metrics
from jmeta._evaluation import evaluate, predictions
from jmeta._version import __version__
from jmeta.core import (
    Batch,
    Learner,
    Loss,
    Net,
    Solution,
    Solver,
    Task,
    TrainState,
    all_but,
    context,
    episodic,
    everything,
    first_order,
    implicit,
    meta_gradient,
    multi_step,
    own_per_step,
    part,
    per_step,
    predict_path,
    reptile,
    scored,
    step,
    switch,
    task_mesh,
    train_state,
    unrolled,
)
from jmeta.learners import (
    amortised,
    inductive,
    learned,
    maml,
    maml_plus_plus,
    matching,
    meta_network,
    meta_sgd,
    metric,
    neural_process,
    proto_maml,
    prototypical,
    relation,
    ridge,
    siamese,
)

__all__ = [
    "Batch",
    "Learner",
    "Loss",
    "Net",
    "Solution",
    "Solver",
    "Task",
    "TrainState",
    "__version__",
    "all_but",
    "amortised",
    "context",
    "core",
    "distances",
    "episodic",
    "evaluate",
    "everything",
    "first_order",
    "implicit",
    "inductive",
    "learned",
    "learners",
    "losses",
    "maml",
    "maml_plus_plus",
    "matching",
    "meta_gradient",
    "meta_network",
    "meta_sgd",
    "metric",
    "metrics",
    "multi_step",
    "neural_process",
    "own_per_step",
    "part",
    "per_step",
    "predict_path",
    "predictions",
    "proto_maml",
    "prototypical",
    "relation",
    "reptile",
    "ridge",
    "scored",
    "siamese",
    "step",
    "switch",
    "task_mesh",
    "train_state",
    "unrolled",
]


def __getattr__(name: str) -> Any:
    """`jmeta.load` is that of `jmeta.few`, which imports whole runs and so waits until it is used.

    It is no part of the vocabulary above, and so not in `__all__`.
    """
    if name == "load":
        return import_module("jmeta.few").load
    raise AttributeError(f"module 'jmeta' has no attribute {name!r}")

"""Types, solvers, losses of tasks, and the outer step. Imports only jax, optax and numpy."""

from jmeta.core._devices import data_parallel, examples_parallel, task_mesh
from jmeta.core._frozen import frozen
from jmeta.core._hoist import hoist
from jmeta.core._implicit import LinearSolve, conjugate_gradient, implicit, neumann
from jmeta.core._losses import (
    episodic,
    multi_step,
    multi_step_weights,
    predict_path,
    reptile,
    scored,
    switch,
)
from jmeta.core._low_rank import low_rank
from jmeta.core._meta_gradient import Aux, meta_gradient
from jmeta.core._selection import Selection, all_but, context, everything, own_per_step, part
from jmeta.core._solvers import unrolled
from jmeta.core._step import TrainState, step, train_state
from jmeta.core._transforms import (
    clip_by_global_norm,
    first_order,
    per_step,
    pull_to_start,
    scale_by_rates,
)
from jmeta.core._types import (
    Adapted,
    Batch,
    Key,
    Learner,
    Loss,
    MethodNet,
    Net,
    Objective,
    Outputs,
    Padded,
    Params,
    PyTree,
    Sample,
    Scalar,
    Solution,
    Solver,
    Targets,
    Task,
)

__all__ = [
    "Adapted",
    "Aux",
    "Batch",
    "Key",
    "Learner",
    "LinearSolve",
    "Loss",
    "MethodNet",
    "Net",
    "Objective",
    "Outputs",
    "Padded",
    "Params",
    "PyTree",
    "Sample",
    "Scalar",
    "Selection",
    "Solution",
    "Solver",
    "Targets",
    "Task",
    "TrainState",
    "all_but",
    "clip_by_global_norm",
    "conjugate_gradient",
    "context",
    "data_parallel",
    "episodic",
    "everything",
    "examples_parallel",
    "first_order",
    "frozen",
    "hoist",
    "implicit",
    "low_rank",
    "meta_gradient",
    "multi_step",
    "multi_step_weights",
    "neumann",
    "own_per_step",
    "part",
    "per_step",
    "predict_path",
    "pull_to_start",
    "reptile",
    "scale_by_rates",
    "scored",
    "step",
    "switch",
    "task_mesh",
    "train_state",
    "unrolled",
]

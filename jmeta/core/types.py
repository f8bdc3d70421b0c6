"""The four types that every learner, loss and loop in jmeta is written in.

Axes are named once for the whole library: `[T]` tasks, `[S]` support examples, `[Q]` query
examples, `[K]` inner steps. A batch of tasks is a `Task` whose leaves have a leading `[T]`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

PyTree = Any  # any nesting of containers with array leaves
Params = PyTree  # meta-parameters theta: a pytree of inexact arrays
Adapted = PyTree  # what a learner keeps of a support set: phi, prototypes, a memory, ...
Outputs = PyTree  # predictions, leading axis [Q]
Targets = PyTree  # labels [Q] (int, -1 = padding) or values [Q, D]
Scalar = jax.Array  # a float array of shape []

Apply = Callable[[Params, PyTree], Outputs]  # the model: Flax Linen's `model.apply`
Objective = Callable[[Outputs, Targets], Scalar]  # e.g. `jmeta.cross_entropy`
Solver = Callable[[Callable[[Params], Scalar], Params], Params]  # (loss, start) -> solution


class Batch(NamedTuple):
    """Examples and their targets. An integer label of -1 marks a padded example."""

    x: PyTree  # [N, ...]
    y: PyTree  # [N] or [N, D]


class Task(NamedTuple):
    """What a learner adapts on, and what it is judged by."""

    support: Batch  # [S, ...]
    query: Batch  # [Q, ...]


Loss = Callable[[Params, Task], tuple[Scalar, Outputs]]  # always (scalar, query outputs)


def identity(params: Params) -> Params:
    """The `init` of a learner whose meta-parameters are the model's own."""
    return params


class Learner(NamedTuple):
    """A way to learn from few examples, as three pure functions.

    `adapt` returns a pytree and never a closure, so that an adapted learner can be stored, sent
    and served. A stochastic learner finds its key in `support.x`.
    """

    adapt: Callable[[Params, Batch], Adapted]  # meta-parameters, support -> what predict needs
    predict: Callable[[Adapted, PyTree], Outputs]  # adapted, query inputs -> outputs
    init: Callable[[Params], Params] = identity  # model parameters -> meta-parameters

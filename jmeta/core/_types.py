"""The types that every learner, loss and loop in jmeta is written in.

Axes are named once for the whole library: `[T]` tasks, `[S]` support examples, `[Q]` query
examples, `[K]` inner steps. A batch of tasks is a `Task` whose leaves have a leading `[T]`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

PyTree = Any  # any nesting of containers with array leaves
Key = jax.Array  # a typed PRNG key, as `jax.random.key` makes
Params = PyTree  # meta-parameters theta: a pytree of floating-point arrays
Adapted = PyTree  # what a learner keeps of a support set: phi, prototypes, a memory, ...
Outputs = PyTree  # predictions, leading axis [Q]
Targets = PyTree  # labels [Q] (int, -1 = padding) or values [Q, D]
Scalar = jax.Array  # a float array of shape []
StepIndex = jax.Array | int  # k, the number of the inner step, from 0


class Batch(NamedTuple):
    """Examples, their targets, and randomness for learners that want some.

    An integer label of -1 marks a padded example. The key belongs to the batch as a whole:
    minibatches, chunks and `inductive` leave it uncut.
    """

    x: PyTree  # [N, ...]
    y: PyTree  # [N] or [N, D]
    key: Key | None = None  # [] for dropout, latents, augmentation or rollouts


class Task(NamedTuple):
    """What a learner adapts on, and what it is judged by."""

    support: Batch  # [S, ...]
    query: Batch  # [Q, ...]


class Solution(NamedTuple):
    """What a solver found."""

    final: PyTree  # φ_K
    path: PyTree | None = None  # φ_0 ... φ_K, leaves [K + 1, ...]; None unless it was asked for
    steps: int | None = None  # K; None in what a learner keeps


class Net(Protocol):
    """A network as two pure functions. Every Flax Linen module is one as it stands.

    `jmeta.nn.from_functions`, `from_nnx` and `from_equinox` make one of anything else. A network
    whose attribute `stochastic` is true takes a PRNG key as one more input.
    """

    def init(self, key: Key, /, *inputs: PyTree) -> Params:
        """Parameters for inputs of these shapes."""

    def apply(self, params: Params, /, *inputs: PyTree) -> Outputs:
        """Outputs `[N, ...]` for inputs `[N, ...]`."""


class MethodNet(Net, Protocol):
    """A network with several functions, called by name as Flax Linen's methods are."""

    def apply(self, params: Params, /, *inputs: PyTree, method: str | None = None) -> Outputs:
        """Outputs of one of its functions."""


class Objective(Protocol):
    """A number to descend, such as `jmeta.losses.cross_entropy`."""

    def __call__(self, outputs: Outputs, targets: Targets, /) -> Scalar:
        """The mean over examples."""


class InnerLoss(Protocol):
    """What a solver descends: a function of the parameters and of the inner step's number."""

    def __call__(self, params: PyTree, step: StepIndex, /) -> Scalar:
        """The loss at step k; the number is traced."""


class Solver(Protocol):
    """How a learner descends its support loss, such as `unrolled(tx, steps)`."""

    def __call__(self, loss: InnerLoss, start: PyTree, /) -> Solution:
        """Descend `loss` from `start`."""


class Loss(Protocol):
    """What meta-training descends on one task, such as `episodic(learner, objective)`."""

    def __call__(self, params: Params, task: Task, /) -> tuple[Scalar, Outputs]:
        """The loss, and the query outputs [Q, ...] that a report is made from."""


class Sample(Protocol):
    """A sampler of tasks: a pure function of a key."""

    def __call__(self, key: Key, /) -> Task:
        """One task."""


class Learner(NamedTuple):
    """A way to learn from few examples, as three pure functions.

    A learner owns its parameters: `init` makes all that is meta-learned, and no caller needs to
    know what is inside. `adapt` returns a pytree and never a closure, so that an adapted learner
    can be stored, sent and served. A stochastic learner reads `support.key`.
    """

    init: Callable[[Key, Task], Params]  # from the shapes of one task
    adapt: Callable[[Params, Batch], Adapted]  # meta-parameters, support -> what predict needs
    predict: Callable[[Adapted, PyTree], Outputs]  # adapted, query inputs -> outputs

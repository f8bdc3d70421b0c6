"""The types of which every learner, loss and loop in jmeta is composed.

The names of axes are the same in the whole library: `[T]` tasks, `[S]` support examples, `[Q]`
query examples, `[K]` inner steps. A batch of tasks is a `Task` whose leaves have a leading `[T]`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

PyTree = Any  # any nesting of containers with array leaves
Key = jax.Array  # a typed PRNG key, as `jax.random.key` makes
Params = PyTree  # meta-parameters theta: a pytree of floating-point arrays
Adapted = PyTree  # the result of adaptation: phi, prototypes, a memory, ...
Outputs = PyTree  # predictions, leading axis [Q]
Targets = PyTree  # labels [Q] (int, -1 = padding) or values [Q, D]
Scalar = jax.Array  # a float array of shape []
StepIndex = jax.Array | int  # k, the number of the inner step, from 0


class Batch(NamedTuple):
    """Examples, their targets, and a random key for stochastic learners.

    An integer label of -1 marks a padded example. The key belongs to the whole batch, so
    minibatches, chunks and `inductive` do not split it.
    """

    x: PyTree  # [N, ...]
    y: PyTree  # [N] or [N, D]
    key: Key | None = None  # [] for dropout, latents, augmentation or rollouts


class Task(NamedTuple):
    """A support set to adapt to, and a query set to evaluate the adapted learner on."""

    support: Batch  # [S, ...]
    query: Batch  # [Q, ...]


class Padded(NamedTuple):
    """Inputs some of which are padding, for networks and learners that must know which.

    A loss that sees the labels makes it of a query set, so that padded queries do not enter the
    batch statistics of a network. See `marked`.
    """

    x: PyTree  # [N, ...]
    real: jax.Array  # [N] bool: false for padding


class Solution(NamedTuple):
    """The result of a solver."""

    final: PyTree  # φ_K
    path: PyTree | None = None  # φ_0 ... φ_K, leaves [K + 1, ...]; None unless requested
    steps: int | None = None  # K; None in the result of a learner's `adapt`


class Net(Protocol):
    """A network as two pure functions. Every Flax Linen module is one as it stands.

    `jmeta.nn.from_functions`, `from_nnx` and `from_equinox` convert anything else. A network whose
    attribute `stochastic` is true takes a PRNG key as its last input. One whose attribute `masked`
    is true takes the keyword `real`, [N] bool, which is false for padded examples: a network needs
    it if its output for one example depends on the others of the batch, as with batch statistics.
    """

    def init(self, key: Key, /, *inputs: PyTree) -> Params:
        """Parameters for inputs of these shapes."""

    def apply(self, params: Params, /, *inputs: PyTree) -> Outputs:
        """Outputs `[N, ...]` for inputs `[N, ...]`."""


class MethodNet(Net, Protocol):
    """A network with several functions, which are called by name like Flax Linen's methods."""

    def apply(self, params: Params, /, *inputs: PyTree, method: str | None = None) -> Outputs:
        """Outputs of the function that is named `method`."""


class Objective(Protocol):
    """A function to minimise, such as `jmeta.losses.cross_entropy`."""

    def __call__(self, outputs: Outputs, targets: Targets, /) -> Scalar:
        """The mean loss over examples."""


class InnerLoss(Protocol):
    """The loss that a solver minimises: a function of the parameters and the index of the step."""

    def __call__(self, params: PyTree, step: StepIndex, /) -> Scalar:
        """The loss at step k, which is a traced number."""


class Solver(Protocol):
    """How a learner minimises its support loss, such as `unrolled(tx, steps)`."""

    def __call__(self, loss: InnerLoss, start: PyTree, /) -> Solution:
        """Minimise `loss`, starting from `start`."""


class Loss(Protocol):
    """The loss of one task in meta-training, such as `episodic(learner, objective)`."""

    def __call__(self, params: Params, task: Task, /) -> tuple[Scalar, Outputs]:
        """The loss, and the query outputs [Q, ...] from which reports are made."""


class Sample(Protocol):
    """A sampler of tasks: a pure function of a key."""

    def __call__(self, key: Key, /) -> Task:
        """One task."""


class Learner(NamedTuple):
    """A way to learn from few examples, as three pure functions.

    A learner owns its parameters: `init` makes everything that is meta-learned, and callers need
    not know what it contains. `adapt` returns a pytree and never a closure, so an adapted learner
    can be stored and sent to another process. A stochastic learner reads `support.key`.

    If `masked` is true, `predict` also takes `Padded(x, real)`. The losses and `evaluate` then tell
    it which queries are padding, whose labels are -1. If `transductive` is true, predictions depend
    on the other queries by design, also where the network has no batch statistics.
    """

    init: Callable[[Key, Task], Params]  # from the shapes of one task
    adapt: Callable[[Params, Batch], Adapted]  # meta-parameters, support -> adapted
    predict: Callable[[Adapted, PyTree], Outputs]  # adapted, query inputs -> outputs
    masked: bool = False
    transductive: bool = False

"""Meta-training: the gradient of a loss over a batch of tasks, and the outer update."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from jmeta.core._devices import data_parallel, examples_parallel
from jmeta.core._meta_gradient import Aux, MetaGradient, meta_gradient
from jmeta.core._solvers import require_transformation
from jmeta.core._tree import learned_part, require_inexact, with_learned
from jmeta.core._types import Key, Loss, Outputs, Params, PyTree, Sample, Scalar


class TrainState(NamedTuple):
    """The state that meta-training carries from step to step."""

    params: Params
    opt_state: optax.OptState
    step: jax.Array  # [] int32, the number of updates made so far


Step = Callable[[TrainState, PyTree], tuple[TrainState, Aux]]
Share = Literal["tasks", "examples"]


def train_state(params: Params, tx: optax.GradientTransformation) -> TrainState:
    """The state before the first step.

    Collections that are not learned, such as the "batch_stats" of Flax's BatchNorm, stay in the
    parameters, and the optimizer does not see them.

    Args:
        params: meta-parameters, from `learner.init(key, task)`.
        tx: the outer optimizer.

    Raises:
        ValueError: a leaf of `params` is not a floating-point array, or `tx` is not an Optax
            transformation.

    >>> int(train_state({"w": jnp.ones(2)}, optax.adam(1e-3)).step)
    0
    """
    require_transformation(tx, of="train_state")
    require_inexact(params)
    return TrainState(params, tx.init(learned_part(params)), jnp.zeros((), jnp.int32))


def step(
    loss: Loss,
    tx: optax.GradientTransformation,
    *,
    sample: Sample | None = None,
    chunk: int | None = None,
    mesh: Mesh | None = None,
    share: Share = "tasks",
) -> Step:
    """One outer update, which can be the body of a `jax.lax.scan` over batches of tasks or keys.

        θ ← θ + tx((1/T) Σ_t ∇L(θ, task_t)),   task_t = sample(key_t)

    Args:
        loss: the loss of one task, such as that of `episodic` or `reptile`.
        tx: the outer optimizer.
        sample: draws one task from a key. With it, the update takes keys [T], and each device
            draws its own tasks, `chunk` at a time. Without it, the update takes a batch of tasks.
        chunk: the number of tasks differentiated at once (see `meta_gradient`).
        mesh: the devices that share the work. None: one device.
        share: what they share. "tasks" gives each device its part of the T tasks (see
            `data_parallel`), and "examples" its part of the examples of each task, for updates of
            few large tasks (see `examples_parallel`).

    Returns:
        `update(state, keys or tasks [T]) -> (state, Aux)`. It is not jitted; call
        `jax.jit(update)`.

    Raises:
        ValueError: the arguments are in another order, the batch cannot be divided by `chunk` or
            among the devices, a single task was given instead of a batch, or `share` is neither.

    >>> loss = lambda params, task: (jnp.sum((params - task) ** 2), params)
    >>> tx = optax.sgd(0.5)
    >>> state, aux = step(loss, tx)(train_state(jnp.zeros(()), tx), jnp.array([1.0, 3.0]))
    >>> float(state.params), float(aux.loss)
    (2.0, 5.0)
    """
    require_transformation(tx, of="step")
    gradient = meta_gradient(loss if sample is None else _sampled(loss, sample), chunk=chunk)
    gradient = _shared(gradient, mesh, share)
    change = optax.with_extra_args_support(tx).update  # some transformations need the value

    def update(state: TrainState, tasks: PyTree) -> tuple[TrainState, Aux]:
        grads, aux = gradient(state.params, tasks)
        grads, params = learned_part(grads), learned_part(state.params)
        updates, opt_state = change(grads, state.opt_state, params, value=aux.loss)
        params = with_learned(state.params, optax.apply_updates(params, updates))
        return TrainState(params, opt_state, state.step + 1), aux

    return update


def _shared(gradient: MetaGradient, mesh: Mesh | None, share: Share) -> MetaGradient:
    """The gradient, shared among the devices of a mesh."""
    if share not in get_args(Share):
        raise ValueError(f"got share={share!r}; give 'tasks' or 'examples'.")
    if mesh is None:
        return gradient
    return (data_parallel if share == "tasks" else examples_parallel)(gradient, mesh)


def _sampled(loss: Loss, sample: Sample) -> Callable[[Params, Key], tuple[Scalar, Outputs]]:
    """The same loss as a function of the key from which the task is drawn."""
    return lambda params, key: loss(params, sample(key))

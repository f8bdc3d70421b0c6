"""The gradient of a loss over a batch of tasks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.core._tree import leading_axis
from jmeta.core._types import Loss, Outputs, Params, PyTree, Scalar


class Aux(NamedTuple):
    """What a step returns beside the new state."""

    loss: Scalar  # [] mean over tasks
    outputs: Outputs  # [T, Q, ...] query outputs, or what the loss returns instead


MetaGradient = Callable[[Params, PyTree], tuple[Params, Aux]]  # (params, tasks [T]) -> ...


def meta_gradient(
    loss: Loss | Callable[[Params, Any], tuple[Scalar, Outputs]], *, chunk: int | None = None
) -> MetaGradient:
    """The gradient of the mean loss over a batch of tasks.

        g = (1/T) Σ_t ∇L(θ, task_t)

    Args:
        loss: the loss of one task.
        chunk: the number of tasks differentiated at once. None takes all T under one `vmap`. A
            smaller number scans over T / chunk groups and adds up their gradients, with the
            memory of one group. On a CPU, 1 is fastest for convolutional learners.

    Returns:
        `gradient(params, tasks) -> (gradient, Aux)`; `tasks` has a leading axis [T].

    Raises:
        ValueError: `loss` is not a function, or T is not a multiple of `chunk`.
    """
    if not callable(loss):
        raise ValueError(
            f"expected the loss of one task, loss(params, task), such as "
            f"jmeta.episodic(learner, objective), but got {type(loss).__name__}."
        )

    def whole(params: Params, tasks: PyTree) -> tuple[Scalar, Outputs]:
        losses, outputs = jax.vmap(loss, in_axes=(None, 0))(params, tasks)
        return jnp.mean(losses), outputs

    def single(params: Params, tasks: PyTree) -> tuple[Scalar, Outputs]:
        value, outputs = loss(params, jax.tree.map(lambda leaf: leaf[0], tasks))
        return value, jax.tree.map(lambda leaf: leaf[None], outputs)

    def gradient(params: Params, tasks: PyTree) -> tuple[Params, Aux]:
        count = leading_axis(tasks)
        size = count if chunk is None else chunk
        if size < 1 or count % size:
            raise ValueError(
                f"a batch of {count} tasks cannot be taken {size} at a time; "
                "choose a chunk that divides the number of tasks."
            )
        differentiate = jax.value_and_grad(single if size == 1 else whole, has_aux=True)
        if size == count:
            (value, outputs), grads = differentiate(params, tasks)
            return grads, Aux(value, outputs)
        return _accumulate(differentiate, params, tasks, count // size)

    return gradient


def _accumulate(
    differentiate: Callable, params: Params, tasks: PyTree, groups: int
) -> tuple[Params, Aux]:
    """The mean gradient over `groups` groups of tasks of equal size, in one scan."""

    def add(total: PyTree, group: PyTree) -> tuple[PyTree, tuple[Scalar, Outputs]]:
        (value, outputs), grads = differentiate(params, group)
        return jax.tree.map(jnp.add, total, grads), (value, outputs)

    grouped = jax.tree.map(lambda leaf: leaf.reshape(groups, -1, *leaf.shape[1:]), tasks)
    zeros = jax.tree.map(lambda leaf: leaf * 0, params)  # keeps the varying axes of `params`
    total, (values, outputs) = lax.scan(add, zeros, grouped)
    grads = jax.tree.map(lambda leaf: leaf / groups, total)
    return grads, Aux(
        jnp.mean(values), jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), outputs)
    )


def default_chunk(*, convolves: bool) -> int | None:
    """The `chunk` to use by default: 1 for convolutions on a CPU, None (all tasks) otherwise.

    On a CPU the arrays of one task fit into the cache, and `vmap` over tasks is slower.

    Args:
        convolves: whether the learner's network has convolutions.

    >>> default_chunk(convolves=False)
    """
    return 1 if convolves and jax.default_backend() == "cpu" else None

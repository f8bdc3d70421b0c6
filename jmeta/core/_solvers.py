"""The unrolled solver, and the single step that every solver repeats."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jmeta.core._smooth import require_smooth
from jmeta.core._tree import require_inexact
from jmeta.core._types import InnerLoss, PyTree, Solution, Solver, StepIndex


def unrolled(
    tx: optax.GradientTransformation,
    steps: int,
    *,
    path: bool = False,
    remat: bool = False,
    unroll: int | bool = 1,
) -> Solver:
    """Take K steps of any Optax transformation, and differentiate through all of them.

        φ_0 = start,   φ_{k+1} = φ_k + tx(∇L(φ_k, k)),   returns φ_K

    Args:
        tx: the inner optimizer, whose state is initialised for each task. Transformations with a
            root need an ε inside it, such as `optax.adam(α, eps_root=1e-8)`.
        steps: K ≥ 0. With K = 0 the start is returned, and meta-training is ordinary training.
        path: keep every iterate, for adaptation curves and for the loss `multi_step`.
        remat: recompute each step in the backward pass, which takes more time and the activation
            memory of only one step.
        unroll: inner steps in one iteration of the loop, as in `jax.lax.scan`; True unrolls the
            loop completely.

    Returns:
        `solve(loss, start) -> Solution(final, path, steps)`. The loss is `loss(φ, k)`, where k is
        the traced number of the step. `path` has leaves [K + 1, ...], the start first, or is None.

    Raises:
        ValueError: `steps` is negative, a leaf of `start` is not a floating-point array, or `tx`
            is not an Optax transformation, cannot be differentiated at a zero gradient, or contains
            a `while` loop such as the line search of L-BFGS (use `implicit` for that one).

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Finn, Abbeel, Levine,
    2017, arXiv:1703.03400).

    >>> solve = unrolled(optax.sgd(0.25), 2, path=True)
    >>> found = solve(lambda w, k: w**2, jnp.array(4.0))
    >>> float(found.final), found.path.tolist()
    (1.0, [4.0, 2.0, 1.0])
    """
    require_transformation(tx, of="unrolled")
    check_steps("unrolled", steps)

    def solve(loss: InnerLoss, start: PyTree) -> Solution:
        require_smooth(tx, start)
        descend = descent(tx, loss, start, remat=remat)

        def advance(carry: tuple, k: jax.Array) -> tuple[tuple, PyTree]:
            carry = descend(carry, k)
            return carry, carry[0] if path else None

        carry = (start, tx.init(start))
        (final, _), after = lax.scan(advance, carry, jnp.arange(steps), unroll=unroll)
        if not path:
            return Solution(final, steps=steps)
        iterates = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, after)
        return Solution(final, iterates, steps)

    return solve


def require_transformation(tx: Any, *, of: str) -> None:
    """Refuse what is not an Optax transformation.

    Raises:
        ValueError: `tx` has no `init` and `update`.

    >>> require_transformation(optax.sgd(0.1), of="unrolled")
    """
    if not all(callable(getattr(tx, name, None)) for name in ("init", "update")):
        raise ValueError(
            f"{of} expects an Optax transformation such as optax.sgd(0.1), but got "
            f"{getattr(tx, '__name__', type(tx).__name__)}; check the order of the arguments."
        )


def check_steps(name: str, steps: int, *, least: int = 0) -> None:
    """Refuse a number of steps below `least`.

    Raises:
        ValueError: `steps` is too small.

    >>> check_steps("unrolled", 0)
    """
    if steps < least:
        raise ValueError(f"{name} expects steps >= {least}, but got {steps}.")


def descent(
    tx: optax.GradientTransformation, loss: InnerLoss, start: PyTree, *, remat: bool
) -> Callable[[tuple, StepIndex], tuple]:
    """One step: (φ, optimizer state), k -> (φ, optimizer state)."""
    require_inexact(start, what="the inner loop's start")
    update = optax.with_extra_args_support(tx).update  # some transformations need the value

    def descend(carry: tuple, k: StepIndex) -> tuple:
        params, state = carry
        at_step = partial(_swapped, loss, k)
        value, grads = jax.value_and_grad(at_step)(params)
        extra = {"value": value, "grad": grads, "value_fn": at_step}
        updates, state = update(grads, state, params, **extra)
        return optax.apply_updates(params, updates), state

    return jax.checkpoint(descend) if remat else descend


def _swapped(loss: InnerLoss, k: StepIndex, params: PyTree) -> jax.Array:
    return loss(params, k)

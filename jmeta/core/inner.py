"""Solvers: how a learner descends its support loss. The only inner loops in the library."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jmeta.core.smooth import require_smooth
from jmeta.core.tree import require_inexact
from jmeta.core.types import Params, Scalar, Solver


def unrolled(
    tx: optax.GradientTransformation, steps: int, *, remat: bool = False, unroll: int | bool = 1
) -> Solver:
    """K steps of any optax transformation, differentiable through every step.

        φ_0 = θ,   φ_{k+1} = φ_k + tx(∇L(φ_k)),   returns φ_K

    Args:
        tx: the inner optimizer; its state is made anew for each task. Transformations with a
            singular derivative need their ε inside the root: `optax.adam(α, eps_root=1e-8)`.
        steps: K ≥ 0. With K = 0 the start is returned, and meta-training is plain training.
        remat: recompute each step in the backward pass: memory of one step, more time.
        unroll: inner steps a loop iteration, as in `jax.lax.scan`; True for no loop at all.

    Returns:
        `solve(loss, start) -> solution`, both pytrees of the same structure.

    Raises:
        ValueError: `steps` is negative, a leaf of `start` is no floating-point array, or the
            derivative of `tx` at a zero gradient is not finite.

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Finn, Abbeel, Levine,
    2017, arXiv:1703.03400).

    >>> solve = unrolled(optax.sgd(0.5), 2)
    >>> float(solve(lambda w: w**2, jnp.array(3.0)))
    0.0
    """
    check_steps("unrolled", steps)

    def solve(loss: Callable[[Params], Scalar], start: Params) -> Params:
        require_smooth(tx, start)
        descend = descent(tx, loss, start, remat=remat)
        (solution, _), _ = lax.scan(descend, (start, tx.init(start)), length=steps, unroll=unroll)
        return solution

    return solve


def trajectory(
    tx: optax.GradientTransformation, steps: int, *, remat: bool = False, unroll: int | bool = 1
) -> Solver:
    """The same descent, returning every iterate: leaves [K + 1, ...], the start first.

    For `maml(..., path=True)`: adaptation curves, and losses of several steps (`multi_step`).

    Args:
        tx, steps, remat, unroll: see `unrolled`, whose solution is the last iterate.

    Raises:
        ValueError: as `unrolled`.

    >>> trajectory(optax.sgd(0.25), 2)(lambda w: w**2, jnp.array(4.0)).tolist()
    [4.0, 2.0, 1.0]
    """
    check_steps("trajectory", steps)

    def solve(loss: Callable[[Params], Scalar], start: Params) -> Params:
        require_smooth(tx, start)
        descend = descent(tx, loss, start, remat=remat)

        def keep(carry: tuple, _: None) -> tuple[tuple, Params]:
            carry, _ = descend(carry, None)
            return carry, carry[0]

        _, after = lax.scan(keep, (start, tx.init(start)), length=steps, unroll=unroll)
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, after)

    return solve


def check_steps(name: str, steps: int, *, least: int = 0) -> None:
    """Refuse an impossible number of steps with a ValueError."""
    if steps < least:
        raise ValueError(f"{name} expects steps >= {least}, but got {steps}.")


def descent(
    tx: optax.GradientTransformation,
    loss: Callable[[Params], Scalar],
    start: Params,
    *,
    remat: bool,
) -> Callable[[tuple, None], tuple[tuple, None]]:
    """One step as a scan body over (φ, optimizer state)."""
    require_inexact(start, what="the inner loop's start")
    update = optax.with_extra_args_support(tx).update  # some transformations ask for the value

    def descend(carry: tuple, _: None) -> tuple[tuple, None]:
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params)
        extra = {"value": value, "grad": grads, "value_fn": loss}
        updates, state = update(grads, state, params, **extra)
        return (optax.apply_updates(params, updates), state), None

    return jax.checkpoint(descend) if remat else descend

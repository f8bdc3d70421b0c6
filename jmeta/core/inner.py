"""Solvers: how a learner descends its support loss. The only inner loop in the library."""

from collections.abc import Callable

import jax
import optax
from jax import lax

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
        ValueError: `steps` is negative, or a leaf of `start` is no floating-point array.

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Finn, Abbeel, Levine,
    2017, arXiv:1703.03400).

    >>> solve = unrolled(optax.sgd(0.5), 2)
    >>> float(solve(lambda w: w**2, jax.numpy.array(3.0)))
    0.0
    """
    if steps < 0:
        raise ValueError(f"unrolled expects steps >= 0, but got {steps}.")

    def solve(loss: Callable[[Params], Scalar], start: Params) -> Params:
        require_inexact(start, what="the inner loop's start")
        gradient = jax.grad(loss)

        def descend(carry: tuple, _: None) -> tuple[tuple, None]:
            params, state = carry
            updates, state = tx.update(gradient(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        body = jax.checkpoint(descend) if remat else descend
        carry = (start, tx.init(start))
        (solution, _), _ = lax.scan(body, carry, length=steps, unroll=unroll)
        return solution

    return solve

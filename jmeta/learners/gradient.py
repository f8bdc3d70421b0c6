"""Learners that adapt by descending the support loss."""

from functools import partial

import jax
from jax import lax

from jmeta.core.hoist import hoist
from jmeta.core.selection import Selection, everything
from jmeta.core.types import (
    Adapted,
    Apply,
    Batch,
    Learner,
    Objective,
    Outputs,
    Params,
    PyTree,
    Scalar,
    Solver,
)


def maml(
    apply: Apply,
    objective: Objective,
    solver: Solver,
    *,
    adapts: Selection = everything,
    batches: int = 1,
    path: bool = False,
) -> Learner:
    """Model-agnostic meta-learning: φ = solver(L_support, θ), predictions f(φ, x).

        φ_{k+1} = φ_k − α ∇ objective(f(φ_k, x_S), y_S),   φ_0 = θ

    What adapts, how, and to which order of derivative are three choices that do not touch:

    * `adapts`: `everything` (MAML), `part("head")` (ANIL), `all_but("head")` (BOIL),
      `context()` (CAVIA), or any mask;
    * `solver`: `unrolled`, or `implicit` (iMAML); `trajectory` keeps every step;
    * the inner chain: `first_order()` at its head is FOMAML; `learned` gives it learned rates.

    Reptile is the same with `reptile` for `episodic`.

    Args:
        apply: the model, `apply(params, x [N, ...]) -> outputs [N, ...]`.
        objective: what the inner loop descends, `objective(outputs, targets) -> scalar`.
        solver: how, e.g. `unrolled(optax.sgd(0.4), 1)`.
        adapts: which of the parameters adapt.
        batches: equal parts of the support set that the solver descends one after the other, each
            with an optimizer state of its own: Reptile's minibatches. Part i is examples i,
            i + batches, ...; it must divide their number.
        path: the solver is a `trajectory`: adapted parameters and predictions have a leading
            axis [K + 1], one entry an iterate.

    Raises:
        ValueError: support examples that cannot be divided, or `batches` with `path`.

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Finn, Abbeel, Levine,
    2017, arXiv:1703.03400).

    >>> import jax.numpy as jnp, optax
    >>> from jmeta.core import mean_squared_error, unrolled
    >>> learner = maml(lambda w, x: x * w, mean_squared_error, unrolled(optax.sgd(0.5), 1))
    >>> adapted = learner.adapt(jnp.zeros(()), Batch(jnp.ones((1, 1)), jnp.ones((1, 1))))
    >>> float(adapted)
    1.0
    """

    if batches < 1 or (batches > 1 and path):
        raise ValueError(f"maml got batches={batches}, path={path}; a path is of one batch.")

    def descend(params: Params, start: Params, part: Batch) -> Params:
        def loss(adapted: Params) -> Scalar:
            return objective(apply(adapts.put(params, adapted), part.x), part.y)

        return solver(loss if adapts is everything else hoist(loss, start), start)

    def adapt(params: Params, support: Batch) -> Adapted:
        start = adapts.take(params)
        if batches == 1:
            solution = descend(params, start, support)
        else:
            parts = jax.tree.map(partial(_parts, batches), support)
            solution, _ = lax.scan(lambda at, part: (descend(params, at, part), None), start, parts)
        put = jax.vmap(adapts.put, in_axes=(None, 0)) if path else adapts.put
        return put(params, solution)

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        return lax.map(lambda params: apply(params, x), adapted) if path else apply(adapted, x)

    return Learner(adapt, predict)


def _parts(count: int, leaf: jax.Array) -> jax.Array:
    """[S, ...] to [count, S / count, ...], every count-th example in one part."""
    if len(leaf) % count:
        raise ValueError(f"{len(leaf)} support examples cannot be divided into {count} batches.")
    return leaf.reshape(-1, count, *leaf.shape[1:]).swapaxes(0, 1)

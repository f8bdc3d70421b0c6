"""Learners that adapt by descending the support loss."""

from jmeta.core.types import (
    Adapted,
    Apply,
    Batch,
    Learner,
    Objective,
    Outputs,
    Params,
    PyTree,
    Solver,
)


def maml(apply: Apply, objective: Objective, solver: Solver) -> Learner:
    """Model-agnostic meta-learning: φ = solver(L_support, θ), predictions f(φ, x).

        φ_{k+1} = φ_k − α ∇ objective(f(φ_k, x_S), y_S),   φ_0 = θ

    First-order MAML is the same with `first_order()` at the head of the inner chain, and
    Reptile the same with `reptile` for `episodic`.

    Args:
        apply: the model, `apply(params, x [N, ...]) -> outputs [N, ...]`.
        objective: what the inner loop descends, `objective(outputs, targets) -> scalar`.
        solver: how, e.g. `unrolled(optax.sgd(0.4), 1)`.

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Finn, Abbeel, Levine,
    2017, arXiv:1703.03400).

    >>> import jax.numpy as jnp, optax
    >>> from jmeta.core import mean_squared_error, unrolled
    >>> learner = maml(lambda w, x: x * w, mean_squared_error, unrolled(optax.sgd(0.5), 1))
    >>> adapted = learner.adapt(jnp.zeros(()), Batch(jnp.ones((1, 1)), jnp.ones((1, 1))))
    >>> float(adapted)
    1.0
    """

    def adapt(params: Params, support: Batch) -> Adapted:
        return solver(lambda theta: objective(apply(theta, support.x), support.y), params)

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        return apply(adapted, x)

    return Learner(adapt, predict)

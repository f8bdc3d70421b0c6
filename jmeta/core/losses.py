"""What meta-training descends on one task: (θ, task) -> (scalar, query outputs)."""

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.core.tree import squared_distance
from jmeta.core.types import Learner, Loss, Objective, Outputs, Params, Scalar, Task


def episodic(learner: Learner, objective: Objective) -> Loss:
    """Judge the adapted learner by its query set: L(θ) = objective(predict(adapt(θ, S), Q)).

    Returns:
        `loss(params, task) -> (scalar, query outputs [Q, ...])`, differentiable in `params`
        through the adaptation.

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Finn, Abbeel, Levine,
    2017, arXiv:1703.03400).
    """

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        adapted = learner.adapt(params, task.support)
        outputs = learner.predict(adapted, task.query.x)
        return objective(outputs, task.query.y), outputs

    return loss


def reptile(learner: Learner, objective: Objective) -> Loss:
    """Move towards the adapted parameters: L(θ) = ½ |θ − stop(φ)|², with ∇L = θ − φ.

    It takes `objective` so that it can stand wherever `episodic` does; what Reptile descends
    is in the learner already, so the argument is not used.

    Args:
        learner: one whose `adapt` returns parameters of the structure of θ, such as `maml`.

    On First-Order Meta-Learning Algorithms (Nichol, Achiam, Schulman, 2018, arXiv:1803.02999).
    """
    del objective

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        adapted = lax.stop_gradient(learner.adapt(params, task.support))
        outputs = learner.predict(adapted, task.query.x)
        return squared_distance(params, adapted) / 2, outputs

    return loss


def multi_step(learner: Learner, objective: Objective, weights: jax.Array) -> Loss:
    """Judge the learner after every inner step: L(θ) = Σ_k w_k objective(f(φ_k, x_Q), y_Q).

    Args:
        learner: one that keeps its path, `maml(..., trajectory(tx, K), path=True)`.
        objective: of one step's query outputs.
        weights: [K], of the iterates after 1 to K steps; `multi_step_weights` anneals them.

    How to Train Your MAML (Antoniou, Edwards, Storkey, 2019, arXiv:1810.09502), section 4.
    """

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        adapted = learner.adapt(params, task.support)
        path = learner.predict(adapted, task.query.x)
        after = jax.tree.map(lambda leaf: leaf[1:], path)
        losses = jax.vmap(objective, in_axes=(0, None))(after, task.query.y)
        return jnp.dot(weights, losses), jax.tree.map(lambda leaf: leaf[-1], path)

    return loss


def multi_step_weights(step: int | jax.Array, steps: int, *, until: int) -> jax.Array:
    """Weights [K] that start equal and move to the last inner step over `until` outer updates.

        w_k = max(1/K − e/K, 0.03/K) for k < K,   w_K = 1 − Σ_{k<K} w_k,   e = step / until

    How to Train Your MAML (Antoniou, Edwards, Storkey, 2019, arXiv:1810.09502), section 4, with
    the published code's floor of 0.03/K.

    Args:
        step: outer updates made so far; it may be traced.
        steps: K, inner steps.
        until: outer updates over which the weights move.

    Raises:
        ValueError: `steps` or `until` is less than 1.

    >>> multi_step_weights(0, 4, until=100).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    if min(steps, until) < 1:
        raise ValueError(f"expected steps and until of at least 1, but got {steps} and {until}.")
    early = jnp.maximum(1 - step / until, 0.03) / steps
    return jnp.full(steps, early).at[-1].set(1 - (steps - 1) * early)


def switch(when: bool | jax.Array, chosen: Loss, other: Loss) -> Loss:
    """One loss while a condition holds, and another else; only one of them is computed.

    Derivative-order annealing is `switch(state.step < n, first_order_loss, second_order_loss)`.

    Args:
        when: [] bool; it may be traced, such as a comparison with the number of updates.
        chosen, other: losses whose outputs have the same shapes.

    >>> loss = switch(True, lambda w, task: (w, task), lambda w, task: (-w, task))
    >>> float(loss(jnp.array(2.0), jnp.array(0.0))[0])
    2.0
    """

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        return lax.cond(when, chosen, other, params, task)

    return loss

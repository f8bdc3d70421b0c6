"""Losses of one task, which meta-training minimises: (θ, task) -> (scalar, query outputs)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.core._numbers import product
from jmeta.core._padding import marked
from jmeta.core._tree import squared_distance
from jmeta.core._types import (
    Adapted,
    Learner,
    Loss,
    Objective,
    Outputs,
    Params,
    PyTree,
    Scalar,
    Solution,
    Task,
)


def require_learner(learner: Any, *, of: str) -> None:
    """Refuse what is not a learner.

    Raises:
        ValueError: `learner` has no `init`, `adapt` and `predict`.
    """
    if not all(callable(getattr(learner, name, None)) for name in ("init", "adapt", "predict")):
        raise ValueError(
            f"{of} expects a Learner as its first argument, but got {type(learner).__name__}; make "
            "one with jmeta.maml, jmeta.metric or another constructor."
        )


def require_objective(objective: Any, *, of: str) -> None:
    """Refuse an objective that cannot be called with outputs and targets.

    Raises:
        ValueError: `objective` is a learner, a network, or something else that is not a function.
    """
    if not callable(objective) or hasattr(objective, "apply"):
        raise ValueError(
            f"{of} expects an objective, a function of outputs and targets such as "
            f"jmeta.losses.cross_entropy, but got {type(objective).__name__}; check the order of "
            "the arguments."
        )


def episodic(learner: Learner, objective: Objective) -> Loss:
    """The loss of the adapted learner on the query set of a task.

        L(θ) = objective(predict(adapt(θ, S), x_Q), y_Q)

    Args:
        learner: any learner.
        objective: compares query outputs [Q, ...] with query targets, such as
            `jmeta.losses.cross_entropy`.

    Returns:
        `loss(params, task) -> (scalar, query outputs [Q, ...])`, differentiable in `params`
        through the adaptation.

    Raises:
        ValueError: the arguments are not a learner and an objective.

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Finn, Abbeel, Levine,
    2017, arXiv:1703.03400).
    """
    require_learner(learner, of="episodic")
    require_objective(objective, of="episodic")

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        adapted = learner.adapt(params, task.support)
        outputs = learner.predict(adapted, marked(learner, task.query))
        return objective(outputs, task.query.y), outputs

    return loss


def reptile(learner: Learner, objective: Objective) -> Loss:
    """Move the parameters towards the adapted ones: Reptile.

        L(θ) = ½ |θ − stop(φ)|²,   ∇L = θ − φ

    Args:
        learner: `maml` in which everything adapts, so that φ has the structure of θ.
        objective: not used, since the learner already contains the loss that it descends. It is
            accepted so that `reptile` can replace `episodic`.

    Returns:
        `loss(params, task) -> (scalar, query outputs [Q, ...])`.

    Raises:
        ValueError: the learner does not adapt parameters of the structure of θ.

    On First-Order Meta-Learning Algorithms (Nichol, Achiam, Schulman, 2018, arXiv:1803.02999).
    """
    require_learner(learner, of="reptile")
    del objective

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        adapted = lax.stop_gradient(learner.adapt(params, task.support))
        final = getattr(adapted, "params", None)
        if str(jax.tree.structure(final)) != str(jax.tree.structure(params)):
            raise ValueError(
                "reptile needs a learner that adapts parameters of the structure of its own "
                "meta-parameters, such as jmeta.maml(net, objective, solver)."
            )
        outputs = learner.predict(adapted, marked(learner, task.query))
        return squared_distance(params, final) / 2, outputs

    return loss


def predict_path(learner: Learner, adapted: Adapted, x: PyTree) -> Outputs:
    """Predictions at the start and after each inner step: outputs [K + 1, Q, ...].

    Args:
        learner: a gradient-based learner, or one that wraps such a learner. Its solver must keep
            the path: `unrolled(..., path=True)`.
        adapted: what its `adapt` returned.
        x: query inputs [Q, ...].

    Raises:
        ValueError: `adapted` holds no path.
    """
    is_solution = lambda node: isinstance(node, Solution)  # noqa: E731
    nodes = jax.tree.leaves(adapted, is_leaf=is_solution)
    found = [node for node in nodes if is_solution(node)]
    if not found or any(node.path is None for node in found):
        raise ValueError(
            "predictions after each inner step need a learner whose solver keeps its path: "
            "jmeta.unrolled(tx, steps, path=True)."
        )

    def at(iterates: list[PyTree]) -> Outputs:
        rest = iter(iterates)
        replaced = jax.tree.map(
            lambda node: Solution(next(rest)) if is_solution(node) else node,
            adapted,
            is_leaf=is_solution,
        )
        return learner.predict(replaced, x)

    return lax.map(at, [node.path for node in found])


def multi_step(learner: Learner, objective: Objective, weights: jax.Array) -> Loss:
    """A weighted sum of the query losses after every inner step.

        L(θ) = Σ_{k=1}^{K} w_k objective(f(φ_k, x_Q), y_Q)

    Args:
        learner: a learner whose solver keeps its path: `unrolled(tx, K, path=True)`.
        objective: compares the query outputs of one step with the query targets.
        weights: [K], one for each of the steps 1 to K; `multi_step_weights` anneals them.

    Returns:
        `loss(params, task) -> (scalar, query outputs [Q, ...] after the last step)`.

    Raises:
        ValueError: the learner keeps no path, or its number of steps is not K.

    How to Train Your MAML (Antoniou, Edwards, Storkey, 2019, arXiv:1810.09502), section 4.
    """
    require_learner(learner, of="multi_step")
    require_objective(objective, of="multi_step")

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        adapted = learner.adapt(params, task.support)
        path = predict_path(learner, adapted, marked(learner, task.query))
        after = jax.tree.map(lambda leaf: leaf[1:], path)
        losses = jax.vmap(objective, in_axes=(0, None))(after, task.query.y)
        if losses.shape != jnp.shape(weights):
            raise ValueError(
                f"multi_step got weights of shape {jnp.shape(weights)} for {len(losses)} inner "
                "steps; give one weight for each step."
            )
        return product(weights, losses), jax.tree.map(lambda leaf: leaf[-1], path)

    return loss


def multi_step_weights(step: int | jax.Array, steps: int, *, until: int) -> jax.Array:
    """Weights [K] for `multi_step` that start equal and shift to the last inner step.

        w_k = max(1/K − e/K, 0.03/K) for k < K,   w_K = 1 − Σ_{k<K} w_k,   e = step / until

    Args:
        step: the number of outer updates made so far; it may be traced.
        steps: K, the number of inner steps.
        until: the number of outer updates over which the weights shift.

    Raises:
        ValueError: `steps` or `until` is less than 1.

    How to Train Your MAML (Antoniou, Edwards, Storkey, 2019, arXiv:1810.09502), section 4. The
    lower bound 0.03/K is that of the published code.

    >>> multi_step_weights(0, 4, until=100).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    if min(steps, until) < 1:
        raise ValueError(f"expected steps and until of at least 1, but got {steps} and {until}.")
    early = jnp.maximum(1 - step / until, 0.03) / steps
    return jnp.full(steps, early).at[-1].set(1 - (steps - 1) * early)


def switch(when: bool | jax.Array, chosen: Loss, other: Loss) -> Loss:
    """Choose one of two losses by a condition; only the chosen one is computed.

    Derivative-order annealing is `switch(state.step < n, first_order_loss, second_order_loss)`.

    Args:
        when: [] bool. It may be traced, such as a comparison with the number of updates.
        chosen: the loss where `when` is true.
        other: the loss where `when` is false. Its outputs have the shapes of those of `chosen`.

    >>> loss = switch(True, lambda w, task: (w, task), lambda w, task: (-w, task))
    >>> float(loss(jnp.array(2.0), jnp.array(0.0))[0])
    2.0
    """

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        return lax.cond(when, chosen, other, params, task)

    return loss


def scored(loss: Loss, metric: Callable[[Outputs, PyTree], Scalar]) -> Loss:
    """Replace the query outputs that a loss returns by a metric of them.

    A run over many tasks then keeps one number for each task instead of all its outputs.

    Args:
        loss: the loss of one task.
        metric: (query outputs, query targets) -> a number, such as `jmeta.metrics.accuracy`.

    >>> from jmeta.core._types import Batch
    >>> loss = scored(lambda w, task: (w, task.query.x), lambda out, y: jnp.mean(out - y))
    >>> batch = Batch(jnp.ones(3), jnp.zeros(3))
    >>> [float(value) for value in loss(jnp.array(2.0), Task(batch, batch))]
    [2.0, 1.0]
    """

    def one(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        value, outputs = loss(params, task)
        return value, metric(outputs, task.query.y)

    return one

"""Gradient transformations for the inner optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jmeta.core._types import Params, PyTree


def first_order() -> optax.GradientTransformation:
    """Stop gradients through the inner gradients: first-order MAML.

    Put it at the head of the inner chain. With SGD, ∂φ/∂θ is then the identity, and the
    meta-gradient is ∇L_query at φ:

        φ = θ − α · stop(∇L_support(θ))

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Finn, Abbeel, Levine,
    2017, arXiv:1703.03400), section 5.2; On First-Order Meta-Learning Algorithms (Nichol,
    Achiam, Schulman, 2018, arXiv:1803.02999).

    >>> inner = optax.chain(first_order(), optax.sgd(0.4))
    """
    return optax.stateless(lambda updates, params: jax.lax.stop_gradient(updates))


def scale_by_rates(rates: PyTree) -> optax.GradientTransformation:
    """Descend with a rate for each parameter or layer: u = −α ∘ g.

    Args:
        rates: α, a tree with the structure of the parameters that adapt. Its leaves have the same
            shapes (Meta-SGD) or broadcast to them, such as one number for each layer. They may be
            learned.

    Meta-SGD: Learning to Learn Quickly for Few-Shot Learning (Li, Zhou, Chen, Li, 2017,
    arXiv:1707.09835).

    >>> tx = scale_by_rates({"w": jnp.array([0.5, 0.0])})
    >>> tx.update({"w": jnp.ones(2)}, tx.init(None))[0]["w"].tolist()
    [-0.5, -0.0]
    """
    return optax.stateless(
        lambda updates, params: jax.tree.map(lambda rate, g: -rate * g, rates, updates)
    )


class PerStep(NamedTuple):
    """State of `per_step`."""

    steps: jax.Array  # [] int32, the number of steps taken so far
    inner: Any


def per_step(
    make: Callable[[PyTree], optax.GradientTransformation], values: PyTree
) -> optax.GradientTransformation:
    """A transformation whose hyperparameters differ from step to step, and may be learned.

        step k:  make(values[min(k, K − 1)])

    Args:
        make: hyperparameters of one step -> a transformation. With `scale_by_rates` these are the
            learned rates of MAML++ for each layer and step; with `optax.sgd` one rate for each
            step.
        values: a tree of arrays [K, ...]. Steps after the K-th use the last values.

    How to Train Your MAML (Antoniou, Edwards, Storkey, 2019, arXiv:1810.09502), section 4.

    >>> tx = per_step(optax.sgd, jnp.array([1.0, 0.5]))
    >>> state = tx.init(jnp.ones(()))
    >>> for _ in range(3):
    ...     update, state = tx.update(jnp.ones(()), state)
    ...     print(float(update))
    -1.0
    -0.5
    -0.5
    """

    def at(count: jax.Array | int) -> optax.GradientTransformation:
        return make(jax.tree.map(lambda v: v[jnp.minimum(count, v.shape[0] - 1)], values))

    def init(params: Params) -> PerStep:
        return PerStep(jnp.zeros((), jnp.int32), at(0).init(params))

    def update(updates: Params, state: PerStep, params: Params | None = None) -> tuple:
        updates, inner = at(state.steps).update(updates, state.inner, params)
        return updates, PerStep(state.steps + 1, inner)

    return optax.GradientTransformation(init, update)


def clip_by_global_norm(
    largest: float | jax.Array, *, epsilon: float = 1e-12
) -> optax.GradientTransformation:
    """Scale the gradient so that its norm over all leaves is at most `largest`.

        u = g / max(1, √(|g|² + ε) / c)

    Use it in inner loops, since `optax.clip_by_global_norm` has no finite derivative at a zero
    gradient.

    Args:
        largest: c > 0, the largest norm of an update; it may be a learned value.
        epsilon: ε > 0, which keeps the derivative of the root finite at zero.

    >>> tx = clip_by_global_norm(1.0)
    >>> round(float(jnp.linalg.norm(tx.update(jnp.array([3.0, 4.0]), tx.init(None))[0])), 4)
    1.0
    """

    def clip(updates: Params, params: Params | None) -> Params:
        square = jax.tree.reduce(jnp.add, jax.tree.map(lambda g: jnp.sum(g**2), updates))
        factor = 1 / jnp.maximum(1, jnp.sqrt(square + epsilon) / largest)
        return jax.tree.map(lambda g: g * factor, updates)

    return optax.stateless(clip)


class PullState(NamedTuple):
    """State of `pull_to_start`."""

    start: Params


def pull_to_start(strength: float | jax.Array) -> optax.GradientTransformation:
    """Add the gradient of λ/2 |φ − φ_0|², which keeps the iterates near their start.

    Args:
        strength: λ ≥ 0, which may be a learned value.

    Meta-Learning with Implicit Gradients (Rajeswaran, Finn, Kakade, Levine, 2019,
    arXiv:1909.04630), equation 3; L²-SP of Explicit Inductive Bias for Transfer Learning (Li,
    Grandvalet, Davoine, 2018, arXiv:1802.01483).

    >>> tx = pull_to_start(2.0)
    >>> float(tx.update(jnp.zeros(()), tx.init(jnp.array(1.0)), jnp.array(4.0))[0])
    6.0
    """

    def update(updates: Params, state: PullState, params: Params | None = None) -> tuple:
        pulled = jax.tree.map(
            lambda g, here, start: g + strength * (here - start), updates, params, state.start
        )
        return pulled, state

    return optax.GradientTransformation(PullState, update)

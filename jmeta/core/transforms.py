"""Gradient transformations for the inner chain."""

import jax
import optax


def first_order() -> optax.GradientTransformation:
    """Stop gradients through the inner gradients: first-order MAML.

    At the head of an inner chain it makes ∂φ/∂θ the identity for SGD, so that the
    meta-gradient is ∇L_query at φ:

        φ = θ − α · stop(∇L_support(θ))

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Finn, Abbeel, Levine,
    2017, arXiv:1703.03400), section 5.2; On First-Order Meta-Learning Algorithms (Nichol,
    Achiam, Schulman, 2018, arXiv:1803.02999).

    >>> inner = optax.chain(first_order(), optax.sgd(0.4))
    """
    return optax.stateless(lambda updates, params: jax.lax.stop_gradient(updates))

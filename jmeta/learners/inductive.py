"""Prediction without looking at the other queries."""

import jax
import jax.numpy as jnp

from jmeta.core.types import Adapted, Batch, Learner, Outputs, Params, PyTree


def inductive(learner: Learner) -> Learner:
    """Predict each query in a batch of its own: the support inputs and that one query.

    With batch statistics a prediction depends on all queries given at once (transduction).
    Here query q is normalised with the support set only, so no other query can move it:

        f(φ, [x_S; x_q])_last    for each q

    Use it to report the inductive figure beside the transductive one. It costs a pass over
    S + 1 examples a query.

    On First-Order Meta-Learning Algorithms (Nichol, Achiam, Schulman, 2018, arXiv:1803.02999),
    section 6.1, names the two settings.
    """

    def adapt(params: Params, support: Batch) -> Adapted:
        return learner.adapt(params, support), support.x

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        inner, support_x = adapted

        def one(query: PyTree) -> Outputs:
            joined = jax.tree.map(lambda s, q: jnp.concatenate([s, q[None]]), support_x, query)
            return jax.tree.map(lambda out: out[-1], learner.predict(inner, joined))

        return jax.lax.map(one, x)

    return Learner(adapt, predict, learner.init)

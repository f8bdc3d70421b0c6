"""Predictions that do not depend on the other queries."""

import jax
import jax.numpy as jnp

from jmeta.core import Adapted, Batch, Learner, Outputs, Params, PyTree
from jmeta.core._losses import require_learner
from jmeta.core._networks import is_key
from jmeta.core._padding import again_marked, is_masked, marked, unmarked


def inductive(learner: Learner) -> Learner:
    """Predict each query in a batch of its own, together with the support inputs.

        f(φ, [x_S; x_q])_last    for each q

    With batch statistics or a transductive head, a prediction depends on all queries that are
    given at once (transduction). Here a query is seen together with the support set only, so that
    other queries do not change its prediction; a transductive head takes the support examples as
    queries beside it. Use it to report the inductive accuracy beside the transductive one. Each
    query costs a pass over S + 1 examples.

    Args:
        learner: any learner whose query inputs have the structure of its support inputs.

    Raises:
        ValueError: `learner` is not a learner.

    On First-Order Meta-Learning Algorithms (Nichol, Achiam, Schulman, 2018, arXiv:1803.02999),
    section 6.1, names the two settings.
    """
    require_learner(learner, of="inductive")

    def adapt(params: Params, support: Batch) -> Adapted:
        return learner.adapt(params, support), marked(learner, support)

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        inner, support_x = adapted
        if is_masked(learner):
            x = _all_marked(learner, x)
            support_x = _all_marked(learner, support_x)
        leaves, structure = jax.tree.flatten(x)
        examples = [leaf for leaf in leaves if not is_key(leaf)]

        def one(query: list[jax.Array]) -> Outputs:
            rest = iter(query)
            alone = [leaf if is_key(leaf) else next(rest)[None] for leaf in leaves]
            joined = jax.tree.map(_joined, support_x, jax.tree.unflatten(structure, alone))
            return jax.tree.map(lambda out: out[-1], learner.predict(inner, joined))

        return jax.lax.map(one, examples)

    return Learner(learner.init, adapt, predict, is_masked(learner))


def _all_marked(learner: Learner, x: PyTree) -> PyTree:
    """Inputs with a mask: their own, or one that is true everywhere."""
    x, real = unmarked(x)
    every = next(leaf.shape[0] for leaf in jax.tree.leaves(x) if not is_key(leaf))
    return again_marked(learner, x, jnp.ones(every, bool) if real is None else real)


def _joined(support: jax.Array, query: jax.Array) -> jax.Array:
    """The support inputs and one query; of two keys, that of the query."""
    return query if is_key(query) else jnp.concatenate([support, query])

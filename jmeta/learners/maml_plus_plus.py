"""MAML++: rates and normalisation weights that differ from step to step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jmeta.core.inner import trajectory, unrolled
from jmeta.core.selection import Selection, Which, all_but, everything, nothing, part
from jmeta.core.transforms import first_order, per_step, scale_by_rates
from jmeta.core.types import Apply, Learner, Objective, Outputs, Params, PyTree
from jmeta.learners.gradient import maml
from jmeta.learners.learned import learned, rates_per_layer


class Stepped(NamedTuple):
    """Parameters of which some have a value for each step, and the step they are at."""

    model: Params  # per-step leaves have a leading axis [K + 1]
    step: jax.Array  # [] float; 0 at first, and every inner step adds 1


def maml_plus_plus(
    apply: Apply,
    objective: Objective,
    steps: int,
    *,
    rate: float,
    own: Which | None = None,
    run: int | None = None,
    path: bool = False,
    second_order: bool = True,
    remat: bool = False,
) -> Learner:
    """MAML++: a learned rate for every layer and step, normalisation weights for every step.

        φ_{k+1} = φ_k − α_{k, layer} ∇L(φ_k, γ_k, β_k)

    The parameters that are a step's own (γ, β) do not adapt, they are meta-learned. The other
    parts of the method are for the outer loop: `path=True` with `multi_step` and
    `multi_step_weights`, `switch` for the order of the derivative, and
    `optax.cosine_decay_schedule`.

    Args:
        apply, objective, path: see `maml`.
        steps: K, that there are values for.
        rate: the initial value of all rates.
        own: which parameters every step has its own of (see `part`), such as the weights of
            normalisation layers; None for none.
        run: inner steps to take, K by default; those after K use the values of the last.
        second_order: False stops the inner gradients.
        remat: see `unrolled`.

    How to Train Your MAML (Antoniou, Edwards, Storkey, 2019, arXiv:1810.09502).

    >>> learner = maml_plus_plus(
    ...     lambda w, x: x @ w["out"], lambda out, y: ((out - y) ** 2).mean(), 3, rate=0.1
    ... )
    >>> learner.init({"out": jnp.zeros((2, 1))}).hyper["out"].shape
    (3,)
    """
    owned, shared = (nothing, everything) if own is None else (part(own), all_but(own))
    solver = trajectory if path else unrolled

    def at_step(params: Stepped, x: PyTree) -> Outputs:
        index = jnp.clip(jnp.round(params.step).astype(jnp.int32), 0, steps)
        values = jax.tree.map(lambda leaf: leaf[index], owned.take(params.model))
        return apply(owned.put(params.model, values), x)

    adapts = Selection(
        take=lambda params: Stepped(shared.take(params.model), params.step),
        put=lambda params, new: Stepped(shared.put(params.model, new.model), new.step),
    )

    def init(params: Params) -> Stepped:
        stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * (steps + 1)), owned.take(params))
        return Stepped(owned.put(params, stacked), jnp.zeros(()))

    def make(rates: PyTree) -> Learner:
        tx = per_step(scale_by_rates, rates)
        chain = _counting(tx if second_order else optax.chain(first_order(), tx))
        solve = solver(chain, steps if run is None else run, remat=remat)
        return maml(at_step, objective, solve, adapts=adapts, path=path)._replace(init=init)

    return learned(make, rates_per_layer(rate, steps, shared))


def _counting(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """The transformation on the parameters, and 1 for the step."""

    def update(updates: Stepped, state: optax.OptState, params: Stepped) -> tuple:
        model, state = tx.update(updates.model, state, params.model)
        return Stepped(model, jnp.ones_like(updates.step)), state

    return optax.GradientTransformation(lambda params: tx.init(params.model), update)

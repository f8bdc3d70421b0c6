"""MAML++: rates and normalisation weights that differ from step to step."""

import optax

from jmeta.core import (
    Learner,
    Net,
    Objective,
    PyTree,
    everything,
    first_order,
    own_per_step,
    per_step,
    scale_by_rates,
    unrolled,
)
from jmeta.core._selection import Which
from jmeta.learners._learned import learned, rates_per_layer
from jmeta.learners.gradient._maml import maml


def maml_plus_plus(
    net: Net,
    objective: Objective,
    steps: int,
    *,
    rate: float,
    own: Which | None = None,
    run: int | None = None,
    path: bool = False,
    first: bool = False,
    remat: bool = False,
) -> Learner:
    """MAML++: a learned rate for every layer and step, and normalisation weights for every step.

        φ_{k+1} = φ_k − α_{k, layer} ∇L(φ_k, γ_k, β_k)

    The parameters with a value for each step (γ, β) are meta-learned and do not adapt. The other
    parts of the method belong to the outer loop: `path=True` with `multi_step` and
    `multi_step_weights`, `switch` to change the order of the derivative, and
    `optax.cosine_decay_schedule`.

    Args:
        net, objective: see `maml`.
        steps: K, the number of steps with rates and weights of their own.
        rate: the initial value of all rates.
        own: the parameters with a value for each step (see `part`), such as the weights of
            normalisation layers; None for none.
        run: the number of inner steps to take, K by default. Steps after the K-th use its values.
        first: whether to stop the inner gradients (see `first_order`).
        path, remat: see `unrolled`.

    Returns:
        A learner with parameters `Meta(θ, α)`.

    How to Train Your MAML (Antoniou, Edwards, Storkey, 2019, arXiv:1810.09502).

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from jmeta.core import Batch, Task
    >>> from jmeta.losses import mean_squared_error
    >>> from jmeta.nn import MLP
    >>> learner = maml_plus_plus(MLP((), 1), mean_squared_error, 3, rate=0.1)
    >>> batch = Batch(jnp.ones((3, 2)), jnp.ones((3, 1)))
    >>> learner.init(jax.random.key(0), Task(batch, batch)).hyper["params"]["head"]["kernel"].shape
    (3,)
    """
    adapts = everything if own is None else own_per_step(own, steps)

    def make(rates: PyTree) -> Learner:
        tx = per_step(scale_by_rates, rates)
        chain = optax.chain(first_order(), tx) if first else tx
        taken = steps if run is None else run
        return maml(net, objective, unrolled(chain, taken, path=path, remat=remat), adapts=adapts)

    return learned(make, rates_per_layer(rate, steps, adapts))

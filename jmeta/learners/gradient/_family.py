"""Gradient-based learners that are built on `maml`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from jmeta.core import (
    Adapted,
    Batch,
    Key,
    Learner,
    Net,
    Objective,
    Outputs,
    Params,
    PyTree,
    Selection,
    Solver,
    Task,
    everything,
    first_order,
    scale_by_rates,
    unrolled,
)
from jmeta.core._networks import (
    bound,
    first_example,
    init_net,
    is_stochastic,
    key_of,
    require_net,
)
from jmeta.core._padding import is_masked, marked
from jmeta.learners._learned import learned, rates_like
from jmeta.learners.comparison._heads import prototypical
from jmeta.learners.gradient._maml import maml


def meta_sgd(
    net: Net,
    objective: Objective,
    steps: int,
    *,
    rate: float,
    adapts: Selection = everything,
    first: bool = False,
    path: bool = False,
    remat: bool = False,
) -> Learner:
    """MAML with a learned rate for every entry of every parameter.

        φ_{k+1} = φ_k − α ∘ ∇L(φ_k),   θ and α meta-learned

    Args:
        net, objective, adapts: see `maml`.
        steps: K, the number of inner steps; the paper has 1.
        rate: the initial value of all rates.
        first: whether to stop the inner gradients (see `first_order`).
        path, remat: see `unrolled`.

    Returns:
        A learner with parameters `Meta(θ, α)`.

    Meta-SGD: Learning to Learn Quickly for Few-Shot Learning (Li, Zhou, Chen, Li, 2017,
    arXiv:1707.09835).

    >>> import jax
    >>> from jmeta.losses import mean_squared_error
    >>> from jmeta.nn import MLP
    >>> learner = meta_sgd(MLP((), 1), mean_squared_error, 1, rate=0.1)
    >>> batch = Batch(jnp.ones((3, 2)), jnp.ones((3, 1)))
    >>> learner.init(jax.random.key(0), Task(batch, batch)).hyper["params"]["head"]["kernel"].shape
    (2, 1)
    """

    def make(rates: PyTree) -> Learner:
        tx = scale_by_rates(rates)
        chain = optax.chain(first_order(), tx) if first else tx
        return maml(net, objective, unrolled(chain, steps, path=path, remat=remat), adapts=adapts)

    return learned(make, rates_like(rate, adapts))


def proto_maml(
    embed: Net,
    objective: Objective,
    solver: Solver,
    *,
    ways: int,
    adapts: Selection = everything,
) -> Learner:
    """MAML whose output layer starts, for each task, as the nearest-prototype classifier.

        logits = f(φ, x) W + b,   W_n = 2 c_n,   b_n = −|c_n|²,   c_n = mean of f(θ, x_S) of class n

    The meta-gradient flows through the prototypes as well. A class without a support example
    starts with a bias so low that it is not predicted.

    Args:
        embed: the embedding network, inputs [N, ...] -> embeddings [N, D].
        objective, solver: see `maml`.
        ways: N, the number of classes of an episode.
        adapts: which of {"body": θ, "kernel": W, "bias": b} adapt; everything in the paper.

    Raises:
        ValueError: `ways` is less than 1, or the arguments are in another order.

    Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few Examples (Triantafillou et
    al., 2020, arXiv:1903.03096).

    >>> from jmeta.losses import cross_entropy
    >>> from jmeta.nn import from_functions
    >>> embed = from_functions(lambda key, x: jnp.ones(1), lambda w, x: x * w[None])
    >>> learner = proto_maml(embed, cross_entropy, unrolled(optax.sgd(0.1), 2), ways=2)
    >>> support = Batch(jnp.array([[0.0], [2.0]]), jnp.array([0, 1]))
    >>> adapted = learner.adapt(jnp.ones(1), support)
    >>> learner.predict(adapted, jnp.array([[0.5]])).argmax(-1).tolist()
    [0]
    """
    require_net(embed, of="proto_maml")
    head, net = prototypical(ways), _with_output_layer(embed)
    inner = maml(net, objective, solver, adapts=adapts)

    def init(key: Key, task: Task) -> Params:
        return init_net(embed, key, first_example(task.support.x))

    def adapt(params: Params, support: Batch) -> Adapted:
        key = key_of(embed, support.key, of="proto_maml")
        means, present = head.fit(bound(embed, key, -2)(params, marked(embed, support)), support.y)
        least = jnp.finfo(means.dtype).min / 2
        bias = jnp.where(present, -jnp.sum(means**2, -1), least)
        return inner.adapt({"body": params, "kernel": 2 * means.T, "bias": bias}, support)

    return Learner(init, adapt, inner.predict, inner.masked)


def _with_output_layer(embed: Net) -> Net:
    """The embedding network with a linear output layer, which is made for each task."""

    def apply(params: Params, x: PyTree, *key: Key, **options: Any) -> Outputs:
        features = embed.apply(params["body"], x, *key, **options)
        return features @ params["kernel"] + params["bias"][None]

    return OutputLayer(embed.init, apply, is_stochastic(embed), is_masked(embed))


class OutputLayer(NamedTuple):
    """The network that `proto_maml` composes; only its `apply` is called."""

    init: Callable[..., Params]
    apply: Callable[..., Outputs]
    stochastic: bool
    masked: bool

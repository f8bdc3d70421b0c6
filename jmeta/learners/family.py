"""Members of the gradient-based family that are more than one argument of `maml`."""

import jax.numpy as jnp

from jmeta.core.inner import trajectory, unrolled
from jmeta.core.selection import Selection, everything
from jmeta.core.transforms import scale_by_rates
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
from jmeta.learners.gradient import maml
from jmeta.learners.heads import prototypical
from jmeta.learners.learned import learned, rates_like


def meta_sgd(
    apply: Apply,
    objective: Objective,
    steps: int,
    *,
    rate: float,
    adapts: Selection = everything,
    path: bool = False,
    remat: bool = False,
) -> Learner:
    """MAML with a learned rate for every entry of every parameter.

        φ_{k+1} = φ_k − α ∘ ∇L(φ_k),   θ and α meta-learned

    Args:
        apply, objective, adapts, path: see `maml`.
        steps: K, one in the paper.
        rate: the initial value of all rates.
        remat: see `unrolled`.

    Meta-SGD: Learning to Learn Quickly for Few-Shot Learning (Li, Zhou, Chen, Li, 2017,
    arXiv:1707.09835).

    >>> learner = meta_sgd(lambda w, x: x @ w, lambda out, y: ((out - y) ** 2).mean(), 1, rate=0.1)
    >>> learner.init(jnp.zeros((2, 1))).hyper.shape
    (2, 1)
    """
    solver = trajectory if path else unrolled

    def make(rates: PyTree) -> Learner:
        solve = solver(scale_by_rates(rates), steps, remat=remat)
        return maml(apply, objective, solve, adapts=adapts, path=path)

    return learned(make, rates_like(rate, adapts))


def proto_maml(
    embed: Apply,
    objective: Objective,
    solver: Solver,
    *,
    ways: int,
    adapts: Selection = everything,
    path: bool = False,
) -> Learner:
    """MAML whose output layer starts, for each task, as the nearest-prototype classifier.

        logits = f(φ, x) W + b,   W_n = 2 c_n,   b_n = −|c_n|²,   c_n = mean of f(θ, x_S) of class n

    The meta-gradient flows through the prototypes as well. A class without a support example
    starts with the least logit.

    Args:
        embed: `embed(params, x [N, ...]) -> embeddings [N, D]`.
        objective, solver, path: see `maml`.
        ways: N, the number of classes of an episode.
        adapts: of {"body": θ, "kernel": W, "bias": b}; everything in the paper.

    Raises:
        ValueError: `ways` is less than 1.

    Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few Examples (Triantafillou et
    al., 2020, arXiv:1903.03096).

    >>> import optax
    >>> from jmeta.core import cross_entropy
    >>> learner = proto_maml(
    ...     lambda w, x: x * w[None], cross_entropy, unrolled(optax.sgd(0.1), 2), ways=2
    ... )
    >>> support = Batch(jnp.array([[0.0], [2.0]]), jnp.array([0, 1]))
    >>> adapted = learner.adapt(jnp.ones(1), support)
    >>> learner.predict(adapted, jnp.array([[0.5]])).argmax(-1).tolist()
    [0]
    """
    head = prototypical(ways)

    def classify(params: Params, x: PyTree) -> Outputs:
        return embed(params["body"], x) @ params["kernel"] + params["bias"][None]

    inner = maml(classify, objective, solver, adapts=adapts, path=path)

    def adapt(params: Params, support: Batch) -> Adapted:
        means, present = head.fit(embed(params, support.x), support.y)
        least = jnp.finfo(means.dtype).min / 2
        bias = jnp.where(present, -jnp.sum(means**2, -1), least)
        return inner.adapt({"body": params, "kernel": 2 * means.T, "bias": bias}, support)

    return Learner(adapt, inner.predict)

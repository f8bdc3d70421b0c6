"""Any hyperparameter of any learner, learned beside the parameters."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core.selection import Selection, everything
from jmeta.core.types import Adapted, Batch, Learner, Outputs, Params, PyTree


class Meta(NamedTuple):
    """Meta-parameters of a learner with learned hyperparameters."""

    params: Params  # θ
    hyper: PyTree  # η: rates, a regularisation strength, a temperature, ...


def learned(
    make: Callable[[PyTree], Learner], hyper: PyTree | Callable[[Params], PyTree]
) -> Learner:
    """A learner whose hyperparameters η are meta-parameters too.

        adapt((θ, η), S) = make(η).adapt(θ, S)

    An optax transformation is no pytree, so one that depends on learned values is made inside
    the trace; that is what `make` is for.

    Args:
        make: hyperparameters -> a learner. Keep a positive one as its logarithm.
        hyper: the initial η, or a function of the parameters that gives it; leaves become
            floating-point arrays.

    Returns:
        A learner whose meta-parameters are `Meta(params, hyper)`; `init(params)` makes them.

    Meta-SGD: Learning to Learn Quickly for Few-Shot Learning (Li, Zhou, Chen, Li, 2017,
    arXiv:1707.09835) learns the rate of every parameter so.

    >>> import optax
    >>> from jmeta.core import mean_squared_error, unrolled
    >>> from jmeta.learners.gradient import maml
    >>> apply = lambda w, x: x * w
    >>> make = lambda rate: maml(apply, mean_squared_error, unrolled(optax.sgd(rate), 1))
    >>> learner = learned(make, 0.25)
    >>> meta = learner.init(jnp.zeros(()))
    >>> adapted = learner.adapt(meta, Batch(jnp.ones((1, 1)), jnp.ones((1, 1))))
    >>> learner.predict(adapted, jnp.ones((1, 1))).tolist()
    [[0.5]]
    """

    def init(params: Params) -> Meta:
        given = hyper(params) if callable(hyper) else hyper
        arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf, float)), given)
        inner = make(arrays).init(params)
        return Meta(inner, arrays)

    def adapt(meta: Meta, support: Batch) -> Adapted:
        return make(meta.hyper).adapt(meta.params, support), meta.hyper

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        inner, hyper = adapted
        return make(hyper).predict(inner, x)

    return Learner(adapt, predict, init)


def rates_like(rate: float, adapts: Selection = everything) -> Callable[[Params], PyTree]:
    """Initial rates of Meta-SGD: one for every entry of every parameter that adapts.

    Args:
        rate: α at the start.
        adapts: what adapts.

    >>> rates_like(0.1)({"w": jnp.ones(2)})["w"].tolist() == [jnp.float32(0.1)] * 2
    True
    """
    return lambda params: jax.tree.map(lambda leaf: jnp.full_like(leaf, rate), adapts.take(params))


def rates_per_layer(
    rate: float, steps: int, adapts: Selection = everything
) -> Callable[[Params], PyTree]:
    """Initial rates of MAML++: one for every array that adapts and every inner step, [K].

    >>> rates_per_layer(0.1, 3)({"w": jnp.ones((2, 2))})["w"].shape
    (3,)
    """
    return lambda params: jax.tree.map(
        lambda leaf: jnp.full(steps, rate, leaf.dtype), adapts.take(params)
    )

"""Hyperparameters of any learner, meta-learned together with its parameters."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core import (
    Adapted,
    Batch,
    Key,
    Learner,
    Outputs,
    Params,
    PyTree,
    Selection,
    Task,
    everything,
)
from jmeta.core._padding import again_marked, is_transductive, unmarked


class Meta(NamedTuple):
    """The meta-parameters of a learner with learned hyperparameters."""

    params: Params  # θ
    hyper: PyTree  # η: rates, a regularisation strength, a temperature, ...


def learned(
    make: Callable[[PyTree], Learner], hyper: PyTree | Callable[[Params], PyTree]
) -> Learner:
    """Meta-learn the hyperparameters η of a learner.

        adapt((θ, η), S) = make(η).adapt(θ, S)

    An Optax transformation is not a pytree, so one that depends on learned values must be made
    inside the trace. `make` is called there.

    Args:
        make: hyperparameters -> a learner. Pass the logarithm of hyperparameters that must stay
            positive.
        hyper: the initial η, or a function that computes it from the learner's parameters, such
            as `rates_like(0.1)`. In the second case `make(None)` is called too, and only the
            `init` of the learner that it returns is used. Leaves become floating-point arrays.

    Returns:
        A learner whose meta-parameters are `Meta(params, hyper)`.

    Raises:
        ValueError: `make` is not a function, or the parameters were not made by this learner's
            `init`.

    Meta-SGD: Learning to Learn Quickly for Few-Shot Learning (Li, Zhou, Chen, Li, 2017,
    arXiv:1707.09835), which learns the rate of every parameter.

    >>> import optax
    >>> from jmeta.core import unrolled
    >>> from jmeta.learners.gradient import maml
    >>> from jmeta.losses import mean_squared_error
    >>> from jmeta.nn import from_functions
    >>> net = from_functions(lambda key, x: jnp.zeros(()), lambda w, x: x * w)
    >>> make = lambda rate: maml(net, mean_squared_error, unrolled(optax.sgd(rate), 1))
    >>> learner = learned(make, 0.25)
    >>> batch = Batch(jnp.ones((1, 1)), jnp.ones((1, 1)))
    >>> meta = learner.init(jax.random.key(0), Task(batch, batch))
    >>> learner.predict(learner.adapt(meta, batch), jnp.ones((1, 1))).tolist()
    [[0.5]]
    """

    if not callable(make) or hasattr(make, "adapt"):
        raise ValueError(
            f"learned expects a function that makes a learner of hyperparameters, but got "
            f"{type(make).__name__}; check the order of the arguments."
        )

    def init(key: Key, task: Task) -> Meta:
        if not callable(hyper):
            values = _floats(hyper)
            return Meta(make(values).init(key, task), values)
        params = make(None).init(key, task)
        return Meta(params, _floats(hyper(params)))

    def adapt(meta: Meta, support: Batch) -> Adapted:
        if not isinstance(meta, Meta):
            raise ValueError(
                f"this learner's parameters are Meta(params, hyper), but got "
                f"{type(meta).__name__}; make them with learner.init(key, task)."
            )
        return make(meta.hyper).adapt(meta.params, support), meta.hyper

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        inner, hyper = adapted
        learner, (x, real) = make(hyper), unmarked(x)
        return learner.predict(inner, again_marked(learner, x, real))

    first = make(None if callable(hyper) else _floats(hyper))
    # Marks are passed on to the learner that `make` makes.
    return Learner(init, adapt, predict, masked=True, transductive=is_transductive(first))


def _floats(tree: PyTree) -> PyTree:
    """The leaves as floating-point arrays."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf, float)), tree)


def rates_like(rate: float, adapts: Selection = everything) -> Callable[[Params], PyTree]:
    """Initial rates of Meta-SGD: one for every entry of every parameter that adapts.

    Args:
        rate: the initial value of all rates.
        adapts: the parameters that adapt.

    Returns:
        A function from the learner's parameters to the rates, for `learned`.

    >>> rates_like(0.1)({"w": jnp.ones(2)})["w"].tolist() == [jnp.float32(0.1)] * 2
    True
    """
    return lambda params: jax.tree.map(lambda leaf: jnp.full_like(leaf, rate), adapts.take(params))


def rates_per_layer(
    rate: float, steps: int, adapts: Selection = everything
) -> Callable[[Params], PyTree]:
    """Initial rates of MAML++: one for every array that adapts and every inner step.

    Args:
        rate: the initial value of all rates.
        steps: K, the number of inner steps.
        adapts: the parameters that adapt.

    Returns:
        A function from the learner's parameters to rates [K] for each array, for `learned`.

    >>> rates_per_layer(0.1, 3)({"w": jnp.ones((2, 2))})["w"].shape
    (3,)
    """
    return lambda params: jax.tree.map(
        lambda leaf: jnp.full(steps, rate, leaf.dtype), adapts.take(params)
    )

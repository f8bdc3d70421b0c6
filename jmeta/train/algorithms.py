"""From a config and a network to a learner and the loss that meta-training descends.

One entry an algorithm; the gradient-based family is in `gradient_based`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jmeta import core, learners
from jmeta.core import Apply, Learner, Loss, Params, Task
from jmeta.train import gradient_based
from jmeta.train.config import CONDITIONAL, GRADIENT_BASED, Config
from jmeta.train.networks import Model
from jmeta.train.problems import objective

_LATENTS = 16  # draws of a latent in validation and testing


def learner(config: Config, net: Model, *, ways: int, inner_steps: int = 0) -> Learner:
    """The learner of a config.

    Args:
        config: the algorithm and its options are read.
        net: what `model(config, problem)` gives.
        ways: classes of an episode.
        inner_steps: steps of adaptation of a gradient-based learner.
    """
    if config.algorithm in GRADIENT_BASED:
        return gradient_based.learner(config, net.apply, ways=ways, inner_steps=inner_steps)
    return _LEARNERS[config.algorithm](config, net, ways)


_LEARNERS: dict[str, Callable[[Config, Model, int], Learner]] = {
    "protonet": lambda config, net, ways: learners.metric(net.apply, learners.prototypical(ways)),
    "matching": lambda config, net, ways: learners.metric(
        net.apply, learners.matching(ways, scale=config.scale)
    ),
    "matching-fce": lambda config, net, ways: _full_context(config, *net.functions, ways=ways),
    "siamese": lambda config, net, ways: learners.siamese(
        net.apply, ways=ways, features=net.width, match="mean"
    ),
    "relation": lambda config, net, ways: learners.relation(*net.functions, ways=ways),
    "r2d2": lambda config, net, ways: _learned_head(
        *(net, jnp.log(jnp.array([1.0, 10.0]))),
        lambda value: learners.ridge(ways, strength=value[0], scale=value[1]),
    ),
    "lrd2": lambda config, net, ways: _learned_head(
        *(net, jnp.log(jnp.array([1.0, 1.0]))),
        lambda value: learners.logistic(ways, strength=value[0], scale=value[1]),
    ),
    "metaopt-net": lambda config, net, ways: _learned_head(
        *(net, jnp.log(jnp.array([1.0]))),
        lambda value: learners.svm(ways, capacity=0.1, scale=value[0]),
    ),
    "snail": lambda config, net, ways: learners.amortised(*net.functions, ways=ways),
    "mann": lambda config, net, ways: learners.amortised(*net.functions, ways=ways),
    "meta-network": lambda config, net, ways: learners.on_features(
        net.apply, learners.meta_network(*net.functions[1:], sharpness=config.scale)
    ),
    "cnp": lambda config, net, ways: learners.neural_process(*net.functions),
    "np": lambda config, net, ways: learners.neural_process(*net.functions, samples=_LATENTS),
    "anp": lambda config, net, ways: learners.neural_process(*net.functions, samples=_LATENTS),
}


def _full_context(
    config: Config, embed: Apply, support: Apply, query: Apply, *, ways: int
) -> Learner:
    return learners.contextual(embed, support, query, learners.matching(ways, scale=config.scale))


def _learned_head(
    net: Model, logs: jax.Array, make: Callable[[jax.Array], learners.Head]
) -> Learner:
    """A head whose positive hyperparameters are learned as their logarithms."""
    return learners.learned(lambda value: learners.metric(net.apply, make(jnp.exp(value))), logs)


def eval_learner(config: Config, net: Model) -> Learner:
    """The learner as it is validated and tested."""
    steps = config.inner_steps if config.eval_inner_steps is None else config.eval_inner_steps
    return learner(config, net, ways=config.ways, inner_steps=steps)


def curve_learner(config: Config, net: Model, *, steps: int) -> Learner:
    """The learner that keeps all of `steps` inner steps, for adaptation curves.

    Raises:
        ValueError: an algorithm without inner steps.
    """
    if config.algorithm not in GRADIENT_BASED:
        raise ValueError(f"{config.algorithm} takes no inner steps, so it has no adaptation curve.")
    return gradient_based.learner(config, net.apply, ways=config.ways, inner_steps=steps, path=True)


def train_loss(config: Config, net: Model, step: int | jax.Array = 0) -> Loss:
    """What meta-training descends on one task.

    Args:
        config: the algorithm is read.
        net: what `model(config, problem)` gives.
        step: outer updates made so far, traced or not: annealing reads it.
    """
    ways = config.training()[0]
    if config.algorithm in GRADIENT_BASED:
        return gradient_based.loss(config, net.apply, step)
    if config.algorithm in CONDITIONAL:
        return learners.neural_process_loss(*net.functions)
    if config.algorithm == "siamese":
        return learners.siamese_loss(net.apply, ways=ways, match="mean")
    error = learners.relation_error if config.algorithm == "relation" else objective(config)
    return core.episodic(learner(config, net, ways=ways), error)


def with_fixed_moments(net: Model, params: Params, tasks: Task) -> Params:
    """Meta-parameters with batch statistics fixed to those of some tasks [T, ...].

    Args:
        net: a network with batch statistics.
        params: meta-parameters, as a learner's `init` makes them.
        tasks: what the moments are taken of.
    """
    assert net.fix is not None
    if isinstance(params, learners.Meta):
        return params._replace(params=net.fix(params.params, tasks))
    if isinstance(params, dict) and "alpha" in params:  # Siamese networks
        return {**params, "embed": net.fix(params["embed"], tasks)}
    return net.fix(params, tasks)

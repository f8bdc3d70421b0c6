"""From a config to the parts of a run: a problem, a model, learners, a loss, an optimizer.

Learners and losses are in `algorithms`, problems in `problems`.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import optax

from jmeta import nn
from jmeta.core import Apply, Params, Task
from jmeta.train.algorithms import curve_learner as curve_learner
from jmeta.train.algorithms import eval_learner as eval_learner
from jmeta.train.algorithms import learner as learner
from jmeta.train.algorithms import train_loss as train_loss
from jmeta.train.config import GRADIENT_BASED as GRADIENT_BASED
from jmeta.train.config import Config
from jmeta.train.problems import Problem as Problem
from jmeta.train.problems import problem as problem
from jmeta.train.problems import regresses


class Model(NamedTuple):
    """A network as two pure functions."""

    apply: Apply
    init: Callable[[jax.Array], Params]  # key -> parameters
    module: Any  # the Flax module itself


def model(config: Config, built: Problem) -> Model:
    """The network of a config, with its input shape read off a training task.

    Raises:
        ValueError: a network that does not fit the inputs.
    """
    task = jax.eval_shape(built.sample_train, jax.random.key(0), built.train)
    outputs = _outputs(config, task)
    module = _module(config, outputs)
    example = jax.numpy.zeros((1, *task.support.x.shape[1:]), task.support.x.dtype)

    def init(key: jax.Array) -> Params:
        return module.init(key, example)

    return Model(module.apply, init, module)


def _outputs(config: Config, task: Task) -> int | None:
    """Width of the last layer: None for an embedding."""
    if regresses(config):
        return task.support.y.shape[-1]
    if config.algorithm in ("protonet", "proto-maml"):
        return None
    if config.training()[0] != config.ways:
        raise ValueError(
            f"{config.algorithm} has one output a class, so train_ways must equal ways, but got "
            f"{config.training()[0]} and {config.ways}; protonet can train with more."
        )
    return config.ways


def _module(config: Config, outputs: int | None) -> Any:
    norm: Any = None if config.norm == "none" else config.norm
    context = config.context if config.algorithm == "cavia" else 0
    if config.network == "mlp":
        last = config.hidden[-1] if outputs is None else outputs
        inner = config.hidden[:-1] if outputs is None else config.hidden
        init = jax.nn.initializers.he_normal()
        return nn.MLP(features=inner, outputs=last, norm=norm, context=context, kernel_init=init)
    if config.network == "resnet12":
        if context:
            raise ValueError("cavia needs a network with a context: choose mlp or conv4.")
        widths = tuple(int(config.filters * scale) for scale in (1, 2.5, 5, 10))
        return nn.ResNet12(outputs=outputs, widths=widths, norm=norm)
    strided = config.network == "conv4-strided"
    form: Literal["strided", "maxpool"] = "strided" if strided else "maxpool"
    return nn.Conv4(outputs=outputs, filters=config.filters, norm=norm, form=form, context=context)


def outer_optimizer(config: Config) -> optax.GradientTransformation:
    """The outer optimizer with its schedule and clipping."""
    schedules: dict[str, Callable[[], optax.ScalarOrSchedule]] = {
        "constant": lambda: config.rate,
        "cosine": lambda: optax.cosine_decay_schedule(config.rate, config.steps),
        "linear": lambda: optax.linear_schedule(config.rate, 0.0, config.steps),
        "halving": lambda: optax.exponential_decay(
            config.rate, config.halve_every, 0.5, staircase=True
        ),
    }
    rate = schedules[config.schedule]()
    names = {"sgd": optax.sgd, "adam": optax.adam, "adamw": optax.adamw}
    tx = names[config.optimizer](rate)
    return tx if config.clip is None else optax.chain(optax.clip(config.clip), tx)

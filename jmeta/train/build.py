"""From a config to the parts of a run: a problem, a model, learners, a loss, an optimizer."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import optax

from jmeta import core, learners, nn
from jmeta.core import Apply, Learner, Loss, Params, Task
from jmeta.train.config import Config
from jmeta.train.problems import Problem as Problem
from jmeta.train.problems import objective, regresses
from jmeta.train.problems import problem as problem

GRADIENT_BASED = ("maml", "fomaml", "reptile")


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
    if config.algorithm == "protonet":
        return None
    if config.training()[0] != config.ways:
        raise ValueError(
            f"{config.algorithm} has one output a class, so train_ways must equal ways, but got "
            f"{config.training()[0]} and {config.ways}; protonet can train with more."
        )
    return config.ways


def _module(config: Config, outputs: int | None) -> Any:
    norm: Any = None if config.norm == "none" else config.norm
    if config.network == "mlp":
        last = config.hidden[-1] if outputs is None else outputs
        inner = config.hidden[:-1] if outputs is None else config.hidden
        init = jax.nn.initializers.he_normal()
        return nn.MLP(features=inner, outputs=last, norm=norm, kernel_init=init)
    if config.network == "resnet12":
        widths = tuple(int(config.filters * scale) for scale in (1, 2.5, 5, 10))
        return nn.ResNet12(outputs=outputs, widths=widths, norm=norm)
    strided = config.network == "conv4-strided"
    form: Literal["strided", "maxpool"] = "strided" if strided else "maxpool"
    return nn.Conv4(outputs=outputs, filters=config.filters, norm=norm, form=form)


def optimizer(name: str, rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """sgd, adam or adamw with what makes them differentiable (ε inside Adam's root)."""
    if name == "sgd":
        return optax.sgd(rate)
    return {"adam": optax.adam, "adamw": optax.adamw}[name](rate, eps_root=1e-8)


def learner(config: Config, apply: Apply, *, ways: int, inner_steps: int) -> Learner:
    """The learner of a config for episodes of `ways` classes."""
    if config.algorithm == "protonet":
        return learners.metric(apply, learners.prototypical(ways))
    tx = optimizer(config.inner_optimizer, config.inner_rate)
    if config.algorithm != "maml":
        tx = optax.chain(core.first_order(), tx)
    return learners.maml(
        apply, objective(config), core.unrolled(tx, inner_steps, remat=config.remat)
    )


def eval_learner(config: Config, apply: Apply) -> Learner:
    """The learner as it is validated and tested."""
    steps = config.inner_steps if config.eval_inner_steps is None else config.eval_inner_steps
    return learner(config, apply, ways=config.ways, inner_steps=steps)


def train_loss(config: Config, apply: Apply) -> Loss:
    """What meta-training descends on one task."""
    trained = learner(config, apply, ways=config.training()[0], inner_steps=config.inner_steps)
    make = core.reptile if config.algorithm == "reptile" else core.episodic
    return make(trained, objective(config))


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

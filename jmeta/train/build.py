"""From a config to the parts of a run: a problem, a model, learners, a loss, an optimizer."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import optax

from jmeta import core, data, learners, nn
from jmeta.core import Apply, Learner, Loss, Params, Task
from jmeta.core.evaluation import Report
from jmeta.train.config import Config

GRADIENT_BASED = ("maml", "fomaml", "reptile")
Sampler = Callable[[jax.Array, Any], Task]  # (key, pool) -> task


class Problem(NamedTuple):
    """Where tasks come from. Pools are arguments of compiled programs, never constants."""

    train: Any  # a Pool, or () for a family of functions
    val: Any  # None where the set has no validation part
    test: Any
    sample_train: Sampler
    sample_eval: Sampler
    report: Report
    metric: str  # the entry of the report that says how good a learner is
    score: Callable[[Any, Any], jax.Array]  # the same for one task, (outputs, targets) -> scalar
    higher_is_better: bool
    info: dict[str, Any]


class Model(NamedTuple):
    """A network as two pure functions."""

    apply: Apply
    init: Callable[[jax.Array], Params]  # key -> parameters
    module: Any  # the Flax module itself


def problem(config: Config, root: str | None = None) -> Problem:
    """Load the data a config names.

    Args:
        config: `dataset`, `split`, `size`, `seed` and the numbers of an episode are read.
        root: where sets are looked for; None for `$JMETA_DATA`.

    Raises:
        ValueError: an unknown or missing set, or episodes that its classes cannot fill.
    """
    if config.dataset == "sinusoid":
        return _sinusoid(config)
    found = data.load(
        config.dataset, root=root, split=config.split, size=config.size, seed=config.seed
    )
    ways, shots, queries = config.training()
    episode = partial(data.sample_episode, within_group=config.within_group)
    sample_train = partial(
        episode, ways=ways, shots=shots, queries=queries, rotations=config.rotations
    )
    sample_eval = partial(
        episode,
        ways=config.ways,
        shots=config.shots,
        queries=config.queries,
        rotations=config.eval_rotations,
    )
    built = Problem(
        *(found.train, found.val, found.test, sample_train, sample_eval),
        report=core.classification_report,
        metric="accuracy",
        score=core.accuracy,
        higher_is_better=True,
        info=found.info,
    )
    _check_pools(built)
    return built


def _check_pools(built: Problem) -> None:
    """Draw one episode of each part abstractly: every impossible demand is refused here."""
    key = jax.random.key(0)
    parts = {"train": built.train, "val": built.val, "test": built.test}
    for part, pool in parts.items():
        sample = built.sample_train if part == "train" else built.sample_eval
        if pool is None:
            continue
        try:
            jax.eval_shape(sample, key, pool)
        except ValueError as error:
            raise ValueError(f"{part} classes: {error}") from error


def _sinusoid(config: Config) -> Problem:
    if config.algorithm not in GRADIENT_BASED:
        raise ValueError(
            f"sinusoid is a regression family, but {config.algorithm} classifies; "
            f"choose one of {', '.join(GRADIENT_BASED)}."
        )
    _, shots, queries = config.training()

    def sampler(shots: int, queries: int) -> Sampler:
        return lambda key, _: data.sample_sinusoid(key, shots=shots, queries=queries)

    return Problem(
        *((), (), (), sampler(shots, queries), sampler(config.shots, config.queries)),
        report=core.regression_report,
        metric="mse",
        score=core.mean_squared_error,
        higher_is_better=False,
        info={"source": "y = A sin(x - phase), A in 0.1..5, phase in 0..pi, x in -5..5"},
    )


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
    if config.dataset == "sinusoid":
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
    objective = core.mean_squared_error if config.dataset == "sinusoid" else core.cross_entropy
    return learners.maml(apply, objective, core.unrolled(tx, inner_steps, remat=config.remat))


def eval_learner(config: Config, apply: Apply) -> Learner:
    """The learner as it is validated and tested."""
    steps = config.inner_steps if config.eval_inner_steps is None else config.eval_inner_steps
    return learner(config, apply, ways=config.ways, inner_steps=steps)


def train_loss(config: Config, apply: Apply) -> Loss:
    """What meta-training descends on one task."""
    trained = learner(config, apply, ways=config.training()[0], inner_steps=config.inner_steps)
    objective = core.mean_squared_error if config.dataset == "sinusoid" else core.cross_entropy
    make = core.reptile if config.algorithm == "reptile" else core.episodic
    return make(trained, objective)


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

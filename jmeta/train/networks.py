"""From a config to a network: the pure functions a learner is made of, and their parameters."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jmeta import learners, nn
from jmeta.core import Apply, Params, Task
from jmeta.train.config import CONDITIONAL, EMBEDDING, Config
from jmeta.train.problems import Problem, regresses

Fix = Callable[[Params, Task], Params] | None  # batch moments of some tasks [T, ...]; None: none


class Model(NamedTuple):
    """A network as pure functions."""

    functions: tuple[Any, ...]  # what a learner takes: (apply,), (embed, compare), ...
    init: Callable[[jax.Array], Params]  # key -> parameters
    fix: Fix
    width: int = 0  # of what `apply` makes of an input, where a learner asks

    @property
    def apply(self) -> Apply:
        """The network that reads inputs: (params, x [N, ...]) -> [N, ...]."""
        return self.functions[0]


def model(config: Config, built: Problem) -> Model:
    """The network of a config, with its input shape read off a training task.

    Raises:
        ValueError: a network that does not fit the inputs or the algorithm.
    """
    task = jax.eval_shape(built.sample_train, jax.random.key(0), built.train)
    _check(config)
    task = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), task)
    make = {
        "relation": _relation,
        "matching-fce": _contextual,
        "snail": _reader,
        "mann": _reader,
        "meta-network": _meta_network,
        **dict.fromkeys(CONDITIONAL, _neural_process),
    }.get(config.algorithm, _plain)
    return make(config, task)


def _check(config: Config) -> None:
    ways = config.training()[0]
    if not (config.algorithm in EMBEDDING or regresses(config) or ways == config.ways):
        raise ValueError(
            f"{config.algorithm} has one output a class, so train_ways must equal ways, but got "
            f"{ways} and {config.ways}; protonet can train with more."
        )
    if config.network == "none" and config.algorithm not in ("snail", "mann"):
        raise ValueError("network none is for snail and mann, which read inputs as they are.")


def _plain(config: Config, task: Task) -> Model:
    """A classifier, a regressor, or an embedding."""
    outputs = task.support.y.shape[-1] if regresses(config) else config.ways
    embeds = config.algorithm in (*EMBEDDING, "meta-network")
    module = _backbone(config, None if embeds else outputs)
    example = task.support.x[:1]

    def fix(params: Params, tasks: Task) -> Params:
        return nn.population_statistics(module, params, _images(tasks))

    def init(key: jax.Array) -> Params:
        return module.init(key, example)

    width = jax.eval_shape(lambda key: module.apply(init(key), example), jax.random.key(0)).shape
    return Model((module.apply,), init, fix if config.norm == "batch" else None, width[-1])


def _relation(config: Config, task: Task) -> Model:
    """An embedding and a comparison; of feature maps where the network has them."""
    maps = config.network == "conv4"
    embed = _backbone(config, None, maps=maps)
    compare = nn.RelationConv(config.filters, norm=_norm(config)) if maps else nn.RelationMLP()

    def compared(params: Params, one: Task) -> tuple[jax.Array, jax.Array]:
        features = embed.apply(params, one.support.x)
        sums = learners.class_sums(features, one.support.y, ways=config.training()[0])
        return sums, embed.apply(params, one.query.x)

    def init(key: jax.Array) -> Params:
        first, second = jax.random.split(key)
        params = embed.init(first, task.support.x[:1])
        return {"embed": params, "relation": compare.init(second, *compared(params, task))}

    def fix(params: Params, tasks: Task) -> Params:
        """The comparison's moments are those of a task, averaged over tasks."""
        fixed = nn.population_statistics(embed, params["embed"], _images(tasks))

        def one(task: Task) -> Params:
            return nn.population_statistics(compare, params["relation"], *compared(fixed, task))

        averaged = jax.tree.map(lambda leaf: leaf.mean(0), jax.lax.map(one, tasks))
        return {"embed": fixed, "relation": averaged}

    return Model((embed.apply, compare.apply), init, fix if config.norm == "batch" else None)


def _contextual(config: Config, task: Task) -> Model:
    """An embedding, and full-context embeddings of support and queries."""
    plain = _plain(config, task)
    x, valid = task.support.x, task.support.y >= 0
    context = nn.FullContext(plain.width)

    def init(key: jax.Array) -> Params:
        first, second = jax.random.split(key)
        z = jnp.zeros((len(x), plain.width))
        return {"embed": plain.init(first), "context": context.init(second, z, valid, z)}

    contexts = [partial(context.apply, method=name) for name in ("support", "query")]
    return Model((plain.apply, *contexts), init, _of_embedding(plain.fix))


def _reader(config: Config, task: Task) -> Model:
    """A network that reads the support set as a sequence, each image through a backbone."""
    embed = None if config.network == "none" else _backbone(config, None)
    if config.algorithm == "mann":
        module: Any = nn.MANN(config.ways, embed=embed)
    else:
        longest = 1 + config.ways * max(config.shots, config.training()[1])
        module = nn.SNAIL(config.ways, length=longest, embed=embed)
    labels = jnp.zeros((len(task.support.y), config.ways))
    support = task.support.x, labels, task.support.y >= 0

    def fix(params: Params, tasks: Task) -> Params:
        """The moments that the last call sees, the queries': all images."""
        return nn.population_statistics(module, params, support, _images(tasks))

    normal = config.norm == "batch" and embed is not None
    return Model(
        nn.encode_decode(module),
        lambda key: module.init(key, support, task.query.x),
        fix if normal else None,
    )


def _meta_network(config: Config, task: Task) -> Model:
    """An embedding; on it a representation, a base learner, and what makes their fast weights."""
    plain = _plain(config, task)
    width = (config.hidden[-1] if config.network == "mlp" else config.filters,)
    represent, base = (nn.SlowFast(config.ways, features=width) for _ in range(2))
    makers = nn.GradientLSTM(), nn.GradientMLP()

    def init(key: jax.Array) -> Params:
        keys, gradients = jax.random.split(key, 5), jnp.zeros((1, 1))
        fast = learners.MetaNetworkParams(
            represent.init(keys[1], jnp.zeros((1, plain.width))),
            base.init(keys[2], jnp.zeros((1, *width))),
            makers[0].init(keys[3], (gradients, jnp.ones(1, bool))),
            makers[1].init(keys[4], gradients),
        )
        return {"embed": plain.init(keys[0]), "learner": fast}

    both = nn.slow_and_fast(represent), nn.slow_and_fast(base)
    functions = plain.apply, *both, makers[0].apply, makers[1].apply
    return Model(functions, init, _of_embedding(plain.fix))


def _neural_process(config: Config, task: Task) -> Model:
    """CNP, NP with both paths, or ANP."""
    module = nn.NeuralProcess(
        *(task.support.y.shape[-1], config.hidden[-1], len(config.hidden)),
        latent=config.algorithm in ("np", "anp"),
        heads=8 if config.algorithm == "anp" else 0,
        least=0.05,
    )
    inputs, y = task.support.x, task.support.y
    points = inputs.x, y, inputs.mask
    return Model(nn.encode_decode(module), lambda key: module.init(key, points, task.query.x), None)


def _of_embedding(fix: Fix) -> Fix:
    """The same on the embedding among other parameters, which stay as they are."""
    if fix is None:
        return None
    return lambda params, tasks: {**params, "embed": fix(params["embed"], tasks)}


def _images(tasks: Task, most: int = 4096) -> jax.Array:
    """All inputs of some tasks [T, ...], as one batch."""
    x = jnp.concatenate([tasks.support.x, tasks.query.x], axis=1)
    return x.reshape(-1, *x.shape[2:])[:most]


def _norm(config: Config) -> Any:
    return None if config.norm == "none" else config.norm


def _backbone(config: Config, outputs: int | None, *, maps: bool = False) -> Any:
    """The Flax module; without outputs an embedding, or its feature maps."""
    norm = _norm(config)
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
    return nn.Conv4(
        outputs, filters=config.filters, norm=norm, form=form, context=context, maps=maps
    )

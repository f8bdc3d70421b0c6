"""Every learner, a small factory each: what the contract and gradient tests run over."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

import jmeta
from jmeta import Batch, Learner, Task
from jmeta import nn as networks

WAYS, SHOTS, QUERIES, INPUTS = 3, 2, 2, 4


class Case(NamedTuple):
    """A learner, how it is meta-trained, and what must hold for it."""

    name: str
    learner: Callable[[], Learner]
    loss: Callable[[Learner, jmeta.Objective], jmeta.Loss] = jmeta.episodic
    equivariant: bool = False  # permuting labels permutes logits
    order: int = 2  # of the derivative that its meta-gradient takes; 0: no reference is known
    error: float = 1e-6  # of the meta-gradient, relative, in float64
    variant: bool = False  # of another case: its contract, not its gradient, is left to -m slow
    ordered: bool = False  # the support is a sequence: its order matters
    params: Callable[[jax.Array], jmeta.Params] | None = None  # where they are not `init`'s

    def init(self, key: jax.Array) -> jmeta.Params:
        return (self.params or init)(key)


@functools.cache
def predictor(learner: Learner) -> Callable[[Any, Batch, Any], Any]:
    """Adapt and predict, compiled once a learner: (params, support, query inputs) -> outputs."""
    return jax.jit(lambda params, support, x: learner.predict(learner.adapt(params, support), x))


def apply(params: dict, x: jax.Array) -> jax.Array:
    """A smooth two-layer network as a plain function of a plain dict."""
    return embed(params, x) @ params["w2"] + params["dead"] * 0


def embed(params: dict, x: jax.Array) -> jax.Array:
    """Its hidden layer, shifted by a context."""
    return jnp.tanh(x @ params["w1"] + (params["b1"] + params["context"] @ params["film"])[None])


def init(key: jax.Array, outputs: int = WAYS) -> dict:
    """Its parameters, one of which nothing depends on."""
    one, two, three = jax.random.split(key, 3)
    return {
        "w1": jax.random.normal(one, (INPUTS, 5)),
        "b1": jnp.linspace(-1.0, 1.0, 5),
        "film": jax.random.normal(three, (2, 5)),
        "context": jnp.array([0.5, -0.5]),
        "w2": jax.random.normal(two, (5, outputs)),
        "dead": jnp.zeros(()),
    }


def task(key: jax.Array) -> Task:
    """A random classification task."""

    def batch(key: jax.Array, each: int) -> Batch:
        y = jnp.repeat(jnp.arange(WAYS), each)
        return Batch(jax.random.normal(key, (WAYS * each, INPUTS)), y)

    support, query = (jax.random.fold_in(key, part) for part in (0, 1))
    return Task(batch(support, SHOTS), batch(query, QUERIES))


def _maml(
    tx: optax.GradientTransformation,
    steps: int = 3,
    adapts: jmeta.Selection = jmeta.everything,
) -> Learner:
    return jmeta.maml(apply, jmeta.cross_entropy, jmeta.unrolled(tx, steps), adapts=adapts)


def _imaml(adapts: jmeta.Selection = jmeta.everything, strength: Any = 2.0, **how: Any) -> Learner:
    solver = jmeta.implicit(SGD, 150, strength=strength, **how)
    return jmeta.maml(apply, jmeta.cross_entropy, solver, adapts=adapts)


def _several(learner: Learner, objective: jmeta.Objective) -> jmeta.Loss:
    return jmeta.multi_step(learner, objective, jmeta.multi_step_weights(20, 3, until=100))


def _learned(make: Callable[[jax.Array], jmeta.Head]) -> Learner:
    """A head whose parameters are learned: made of θ inside the trace."""

    def rule(params: dict) -> Learner:
        return jmeta.metric(apply, make(jnp.exp(params["b1"])))

    return Learner(
        lambda params, support: rule(params).adapt(params, support),
        lambda adapted, x: rule(adapted[0]).predict(adapted, x),
    )


def _relation() -> Learner:
    """A relation network; its embedding and its comparison share the parameters."""

    def compare(params: dict, classes: jax.Array, queries: jax.Array) -> jax.Array:
        left = classes * params["b1"][None, :WAYS]
        return jnp.tanh(left[None] + queries[:, None]).sum(-1)

    inner = jmeta.relation(apply, compare, ways=WAYS)
    return inner._replace(
        adapt=lambda params, support: inner.adapt({"embed": params, "relation": params}, support)
    )


SNAIL = networks.SNAIL(WAYS, length=3, filters=2, attention=((3, 2), (3, 2)))
MANN = networks.MANN(WAYS, slots=4, width=3, heads=2, controller=3)
UNITS = networks.SlowFast(WAYS, features=(4,))  # of a Meta Network, both of its networks
FAST = networks.GradientLSTM(3), networks.GradientMLP(6)


def _reader(model: networks.SNAIL | networks.MANN) -> Learner:
    return jmeta.amortised(*networks.encode_decode(model), ways=WAYS)


def _reader_init(model: networks.SNAIL | networks.MANN) -> Callable[[jax.Array], jmeta.Params]:
    """Of a network that reads a support set and answers queries."""
    support = jnp.ones((6, INPUTS)), jnp.ones((6, WAYS)), jnp.ones(6, bool)
    return jax.jit(lambda key: model.init(key, support, jnp.ones((2, INPUTS))))


def _meta_network() -> Learner:
    both = networks.slow_and_fast(UNITS)
    return jmeta.meta_network(both, both, FAST[0].apply, FAST[1].apply, second_order=True)


@jax.jit
def _meta_network_init(key: jax.Array) -> jmeta.MetaNetworkParams:
    keys, gradients = jax.random.split(key, 4), jnp.ones((6, 5))
    return jmeta.MetaNetworkParams(
        UNITS.init(keys[0], jnp.ones((6, INPUTS))),
        UNITS.init(keys[1], jnp.ones((6, 4))),
        FAST[0].init(keys[2], (gradients, jnp.ones(6, bool))),
        FAST[1].init(keys[3], gradients),
    )


SGD = optax.sgd(0.3)
ADAM = optax.adam(0.1, eps_root=1e-8)
HEAD, BODY, CONTEXT = jmeta.part("w2"), jmeta.all_but("w2"), jmeta.context()
ARGUMENTS = (apply, jmeta.cross_entropy, 3)
CLIPPED = optax.chain(jmeta.clip_by_global_norm(0.1), optax.add_decayed_weights(0.1), SGD)
SCHEDULED = optax.sgd(optax.cosine_decay_schedule(0.3, 5), momentum=0.9)
CG = jmeta.conjugate_gradient(40, tolerance=1e-10)
CASES = [
    Case("maml", lambda: _maml(optax.sgd(0.3))),
    Case("maml, momentum", lambda: _maml(optax.sgd(0.3, momentum=0.9)), variant=True),
    Case("maml, inner adam", lambda: _maml(ADAM)),
    Case("fomaml", lambda: _maml(optax.chain(jmeta.first_order(), optax.sgd(0.3))), order=1),
    Case("reptile", lambda: _maml(optax.sgd(0.3)), jmeta.reptile, order=1),
    Case("protonet", lambda: jmeta.metric(apply, jmeta.prototypical(WAYS)), equivariant=True),
    Case("maml, schedule and momentum", lambda: _maml(SCHEDULED), variant=True),
    Case("maml, clipping and weight decay", lambda: _maml(CLIPPED), variant=True),
    Case("anil", lambda: _maml(SGD, adapts=HEAD)),
    Case("boil", lambda: _maml(SGD, adapts=BODY), variant=True),
    Case("cavia", lambda: _maml(SGD, adapts=CONTEXT)),
    Case("meta-sgd", lambda: jmeta.meta_sgd(*ARGUMENTS, rate=0.3)),
    Case("maml++", lambda: jmeta.maml_plus_plus(*ARGUMENTS, rate=0.3, own="b1"), variant=True),
    Case(
        "maml++, all steps",
        lambda: jmeta.maml_plus_plus(*ARGUMENTS, rate=0.3, own="b1", path=True),
        _several,
    ),
    Case("imaml", lambda: _imaml(linear_solve=CG), error=1e-5),
    Case(
        "imaml, neumann",
        lambda: _imaml(linear_solve=jmeta.neumann(150, rate=0.2)),
        error=1e-5,
        variant=True,
    ),
    Case(
        "proto-maml",
        lambda: jmeta.proto_maml(
            embed, jmeta.cross_entropy, jmeta.unrolled(optax.sgd(0.1), 3), ways=WAYS
        ),
        equivariant=True,
    ),
    # Combinations, without new code.
    Case(
        "anil + imaml + learned strength",
        lambda: jmeta.learned(
            lambda log: _imaml(HEAD, jnp.exp(log), linear_solve=CG), jnp.log(2.0)
        ),
        error=1e-5,
    ),
    Case(
        "boil + meta-sgd", lambda: jmeta.meta_sgd(*ARGUMENTS, rate=0.3, adapts=BODY), variant=True
    ),
    Case(
        "cavia + learned inner adam",
        lambda: jmeta.learned(
            lambda rate: _maml(optax.adam(rate, eps_root=1e-8), adapts=CONTEXT), 0.1
        ),
    ),
    Case(
        "proto-maml + first order",
        lambda: jmeta.proto_maml(
            embed,
            jmeta.cross_entropy,
            jmeta.unrolled(optax.chain(jmeta.first_order(), optax.sgd(0.1)), 3),
            ways=WAYS,
        ),
        equivariant=True,
        order=0,
        variant=True,
    ),
    Case(
        "protonet, cosine, learned scale",
        lambda: _learned(lambda v: jmeta.prototypical(WAYS, distance="cosine", scale=v[0])),
        equivariant=True,
        variant=True,
    ),
    Case(
        "simpleshot",
        lambda: _learned(lambda v: jmeta.nearest_centroid(WAYS, base_mean=v[:WAYS])),
        equivariant=True,
        variant=True,
    ),
    Case(
        "matching",
        lambda: _learned(lambda v: jmeta.matching(WAYS, scale=v[0])),
        equivariant=True,
        variant=True,
    ),
    Case(
        "siamese",
        lambda: _learned(lambda v: jmeta.weighted_l1(WAYS, -v[:WAYS], v[0], match="mean")),
        equivariant=True,
        variant=True,
    ),
    Case(
        "ridge",
        lambda: _learned(lambda v: jmeta.ridge(WAYS, strength=v[0], scale=v[1], bias=v[2])),
        equivariant=True,
    ),
    Case(
        "logistic",
        lambda: _learned(lambda v: jmeta.logistic(WAYS, strength=v[0], scale=v[1])),
        equivariant=True,
        variant=True,
    ),
    Case(
        "svm",
        lambda: _learned(lambda v: jmeta.svm(WAYS, capacity=v[0], scale=v[1])),
        equivariant=True,
    ),
    Case("relation", _relation, equivariant=True),
    Case("snail", lambda: _reader(SNAIL), ordered=True, params=_reader_init(SNAIL)),
    Case("mann", lambda: _reader(MANN), ordered=True, params=_reader_init(MANN)),
    Case("meta network", _meta_network, ordered=True, params=_meta_network_init),
]


def over_cases(
    chosen: Callable[[Case], bool] = lambda case: True,
    slow: Callable[[Case], bool] = lambda case: False,
) -> pytest.MarkDecorator:
    """Parametrize a test over cases; variants of another, and those said to be, are slow."""
    marks = {True: [pytest.mark.slow], False: []}
    values = [
        pytest.param(c, marks=marks[c.variant or slow(c)], id=c.name) for c in CASES if chosen(c)
    ]
    return pytest.mark.parametrize("case", values)

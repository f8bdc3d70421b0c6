"""Every learner, a small factory each: what the contract and gradient tests run over."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

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
    order: int = 2  # of the derivative that its meta-gradient takes
    ordered: bool = False  # the support is a sequence: its order matters
    params: Callable[[jax.Array], jmeta.Params] | None = None  # where they are not `init`'s

    def init(self, key: jax.Array) -> jmeta.Params:
        return (self.params or init)(key)


def apply(params: dict, x: jax.Array) -> jax.Array:
    """A smooth two-layer network as a plain function of a plain dict."""
    return jnp.tanh(x @ params["w1"] + params["b1"][None]) @ params["w2"] + params["dead"] * 0


def init(key: jax.Array, outputs: int = WAYS) -> dict:
    """Its parameters, one of which nothing depends on."""
    one, two = jax.random.split(key)
    return {
        "w1": jax.random.normal(one, (INPUTS, 5)),
        "b1": jnp.linspace(-1.0, 1.0, 5),
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


def _maml(tx: optax.GradientTransformation, steps: int = 3) -> Learner:
    return jmeta.maml(apply, jmeta.cross_entropy, jmeta.unrolled(tx, steps))


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
    return jmeta.meta_network(both, both, FAST[0].apply, FAST[1].apply)


@jax.jit
def _meta_network_init(key: jax.Array) -> jmeta.MetaNetworkParams:
    keys, gradients = jax.random.split(key, 4), jnp.ones((6, 5))
    return jmeta.MetaNetworkParams(
        UNITS.init(keys[0], jnp.ones((6, INPUTS))),
        UNITS.init(keys[1], jnp.ones((6, 4))),
        FAST[0].init(keys[2], (gradients, jnp.ones(6, bool))),
        FAST[1].init(keys[3], gradients),
    )


ADAM = optax.adam(0.1, eps_root=1e-8)
CASES = [
    Case("maml", lambda: _maml(optax.sgd(0.3))),
    Case("maml, momentum", lambda: _maml(optax.sgd(0.3, momentum=0.9))),
    Case("maml, inner adam", lambda: _maml(ADAM)),
    Case("fomaml", lambda: _maml(optax.chain(jmeta.first_order(), optax.sgd(0.3))), order=1),
    Case("reptile", lambda: _maml(optax.sgd(0.3)), jmeta.reptile, order=1),
    Case("protonet", lambda: jmeta.metric(apply, jmeta.prototypical(WAYS)), equivariant=True),
    Case("snail", lambda: _reader(SNAIL), ordered=True, params=_reader_init(SNAIL)),
    Case("mann", lambda: _reader(MANN), ordered=True, params=_reader_init(MANN)),
    Case("meta network", _meta_network, ordered=True, params=_meta_network_init),
]

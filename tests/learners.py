"""Every learner, a small factory each: what the contract and gradient tests run over."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import jmeta
from jmeta import Batch, Learner, Task, nn
from jmeta.core import (
    Objective,
    Params,
    PyTree,
    clip_by_global_norm,
    low_rank,
    multi_step_weights,
)
from jmeta.distances import cosine
from jmeta.learners import (
    bd_cspn,
    feat,
    fine_tuning,
    full_context,
    laplacian_shot,
    logistic,
    nearest_centroid,
    neural_process_loss,
    pt_map,
    random_size,
    siamese_loss,
    svm,
    tim,
    transductive_finetuning,
    weighted_l1,
)
from jmeta.losses import cross_entropy, gaussian_nll

WAYS, SHOTS, QUERIES, INPUTS, POINTS = 3, 2, 2, 4, 6


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
    """A random classification task, with keys as the samplers of jmeta.data give them."""

    def batch(key: jax.Array, each: int) -> Batch:
        y = jnp.repeat(jnp.arange(WAYS), each)
        return Batch(jax.random.normal(key, (WAYS * each, INPUTS)), y, key)

    support, query = (jax.random.fold_in(key, part) for part in (0, 1))
    return Task(batch(support, SHOTS), batch(query, QUERIES))


def curve(key: jax.Array) -> Task:
    """A random regression task, some points of whose support set are there."""

    def batch(key: jax.Array, count: int) -> Batch:
        x = jax.random.normal(key, (count, 1))
        return Batch(x, jnp.sin(3 * x), key)

    support, query = (jax.random.fold_in(key, part) for part in (0, 1))
    one = Task(batch(support, POINTS), batch(query, WAYS * QUERIES))
    return random_size(key, one, smallest=3)


class Dropped(linen.Module):
    """A small network with dropout."""

    @linen.compact
    def __call__(self, x: jax.Array, deterministic: bool = True) -> jax.Array:
        h = linen.Dropout(0.4, deterministic=deterministic)(linen.tanh(linen.Dense(5)(x)))
        return linen.Dense(WAYS, name="head")(h)


NET = nn.from_functions(lambda key, x: init(key), apply)
EMBED = nn.from_functions(lambda key, x: init(key), embed)
DROPPED = nn.with_dropout(Dropped())


class Case(NamedTuple):
    """A learner, how it is meta-trained, and what must hold for it."""

    name: str
    learner: Callable[[], Learner]
    loss: Callable[[Learner, Objective], jmeta.Loss] = jmeta.episodic
    equivariant: bool = False  # permuting labels permutes logits
    order: int = 2  # of the derivative that its meta-gradient takes; 0: no reference is known
    error: float = 1e-6  # of the meta-gradient, relative, in float64
    variant: bool = False  # of another case: its contract, not its gradient, is left to -m slow
    ordered: bool = False  # the order of the support set matters
    net: nn.Network | None = NET  # whose parameters its own hold; None: not with the same key
    task: Callable[[jax.Array], Task] = task
    objective: Objective = cross_entropy
    outputs: tuple[int, ...] = (WAYS * QUERIES, WAYS)  # shape of each leaf of the query outputs

    def init(self, key: jax.Array) -> Params:
        """Its parameters, as its users make them."""
        return _initialiser(self)(key)

    def judge(self) -> jmeta.Loss:
        """What its meta-training descends."""
        return self.loss(made(self), self.objective)


@functools.cache
def made(case: Case) -> Learner:
    """The learner of a case, the same object at every call."""
    return case.learner()


@functools.cache
def _initialiser(case: Case) -> Callable[[jax.Array], Params]:
    initialise = lambda key: made(case).init(key, case.task(key))  # noqa: E731
    return initialise if case.net is NET else jax.jit(initialise)


@functools.cache
def predictor(learner: Learner) -> Callable[[Any, Batch, Any], Any]:
    """Adapt and predict, compiled once a learner: (params, support, query inputs) -> outputs."""
    return jax.jit(lambda params, support, x: learner.predict(learner.adapt(params, support), x))


def reordered(batch: Batch, order: jax.Array | slice) -> Batch:
    """Some examples of a batch in another order; its key stays whole."""
    x, y = jax.tree.map(lambda leaf: leaf[order], (batch.x, batch.y))
    return batch._replace(x=x, y=y)


def double(tree: PyTree) -> PyTree:
    """The same tree in float64."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.inexact) else x, tree
    )


def close(left: PyTree, right: PyTree, rtol: float = 2e-5, atol: float = 2e-5) -> None:
    """Assert that two trees of numbers are nearly equal."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), left, right)


def _maml(
    tx: optax.GradientTransformation, steps: int = 3, net: jmeta.Net = NET, **options: Any
) -> Learner:
    return jmeta.maml(net, cross_entropy, jmeta.unrolled(tx, steps), **options)


def _imaml(
    adapts: jmeta.core.Selection = jmeta.everything, strength: Any = 2.0, **how: Any
) -> Learner:
    solver = jmeta.implicit(SGD, 150, strength=strength, **how)
    return jmeta.maml(NET, cross_entropy, solver, adapts=adapts)


def _noisy(key: jax.Array, support: Batch) -> Batch:
    """The support set with noise upon its inputs."""
    return support._replace(x=support.x + 0.3 * jax.random.normal(key, support.x.shape))


def _several(learner: Learner, objective: Objective) -> jmeta.Loss:
    return jmeta.multi_step(learner, objective, multi_step_weights(20, 3, until=100))


def _learned(make: Callable[[jax.Array], jmeta.learners.Head]) -> Learner:
    """A metric learner whose head has learned parameters, made inside the trace."""
    return jmeta.learned(
        lambda log: jmeta.metric(NET, make(jnp.exp(log))), jnp.linspace(-1.0, 1.0, 5)
    )


def _relation() -> Learner:
    def compare(params: dict, classes: jax.Array, queries: jax.Array) -> jax.Array:
        left = classes * params["b1"][None, :WAYS]
        return jnp.tanh(left[None] + queries[:, None]).sum(-1)

    net = nn.from_functions(lambda key, classes, queries: init(key), compare)
    return jmeta.relation(NET, net, ways=WAYS)


def _process(**options: Any) -> dict[str, Any]:
    """A neural process: its learner, its loss and its tasks."""
    net = nn.NeuralProcess(width=4, depth=1, **options)
    return {
        "learner": lambda: jmeta.neural_process(net),
        "loss": lambda learner, objective: neural_process_loss(net),
        "net": None,
        "task": curve,
        "objective": gaussian_nll,
        "outputs": (WAYS * QUERIES, 1),
    }


SNAIL = nn.SNAIL(WAYS, length=3, filters=2, attention=((3, 2), (3, 2)))
MANN = nn.MANN(WAYS, slots=4, width=3, heads=2, controller=3)
UNITS = nn.SlowFast(WAYS, features=(4,))  # of a Meta Network, both of its networks
FAST = nn.GradientLSTM(3), nn.GradientMLP(6)


def _meta_network() -> Learner:
    both = nn.slow_and_fast(UNITS)
    return jmeta.meta_network(both, both, *FAST, sharpness=1.0, second_order=True)


SGD = optax.sgd(0.3)
ADAM = optax.adam(0.1, eps_root=1e-8)
HEAD, BODY, CONTEXT = jmeta.part("w2"), jmeta.all_but("w2"), jmeta.context()
ARGUMENTS = (NET, cross_entropy, 3)
CLIPPED = optax.chain(clip_by_global_norm(0.1), optax.add_decayed_weights(0.1), SGD)
SCHEDULED = optax.sgd(optax.cosine_decay_schedule(0.3, 5), momentum=0.9)
CG = jmeta.core.conjugate_gradient(40, tolerance=1e-10)
CASES = [
    Case("maml", lambda: _maml(optax.sgd(0.3))),
    Case("maml, momentum", lambda: _maml(optax.sgd(0.3, momentum=0.9)), variant=True),
    Case("maml, inner adam", lambda: _maml(ADAM)),
    Case("fomaml", lambda: _maml(optax.chain(jmeta.first_order(), optax.sgd(0.3))), order=1),
    Case("reptile", lambda: _maml(optax.sgd(0.3)), jmeta.reptile, order=1),
    Case("protonet", lambda: jmeta.metric(NET, jmeta.prototypical(WAYS)), equivariant=True),
    Case("maml, schedule and momentum", lambda: _maml(SCHEDULED), variant=True),
    Case("maml, clipping and weight decay", lambda: _maml(CLIPPED), variant=True),
    Case("anil", lambda: _maml(SGD, adapts=HEAD)),
    Case("boil", lambda: _maml(SGD, adapts=BODY), variant=True),
    Case("cavia", lambda: _maml(SGD, adapts=CONTEXT)),
    Case(
        "maml, low rank",
        lambda: _maml(SGD, adapts=low_rank(("w1", "w2"), rank=2)),
        net=None,
        variant=True,
    ),
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
        lambda: _imaml(linear_solve=jmeta.core.neumann(150, rate=0.2)),
        error=1e-5,
        variant=True,
    ),
    Case(
        "proto-maml",
        lambda: jmeta.proto_maml(
            EMBED, cross_entropy, jmeta.unrolled(optax.sgd(0.1), 3), ways=WAYS
        ),
        equivariant=True,
    ),
    Case(
        "fine-tuning",
        lambda: fine_tuning(EMBED, jmeta.unrolled(SGD, 3), ways=WAYS, decay=0.1),
        equivariant=True,
        variant=True,
    ),
    Case(
        "fine-tuning, all, cosine",
        lambda: fine_tuning(
            EMBED,
            jmeta.unrolled(SGD, 3),
            ways=WAYS,
            adapts=jmeta.everything,
            head="cosine",
            near=0.5,
        ),
        equivariant=True,
    ),
    # What depends on the number of the step: minibatches, dropout, augmentation.
    Case("maml, minibatches", lambda: _maml(SGD, batches=2), ordered=True, variant=True),
    Case("maml, augmentation", lambda: _maml(SGD, augment=_noisy), ordered=True, variant=True),
    Case("maml, dropout", lambda: _maml(SGD, net=DROPPED), ordered=True, net=DROPPED),
    Case(
        "protonet, dropout",
        lambda: jmeta.metric(DROPPED, jmeta.prototypical(WAYS)),
        ordered=True,
        net=DROPPED,
        variant=True,
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
            EMBED,
            cross_entropy,
            jmeta.unrolled(optax.chain(jmeta.first_order(), optax.sgd(0.1)), 3),
            ways=WAYS,
        ),
        equivariant=True,
        order=0,
        variant=True,
    ),
    # Heads, with learned parameters of their own.
    Case(
        "protonet, cosine, learned scale",
        lambda: _learned(lambda v: jmeta.prototypical(WAYS, distance=cosine, scale=v[0])),
        equivariant=True,
        variant=True,
    ),
    Case(
        "simpleshot",
        lambda: _learned(lambda v: nearest_centroid(WAYS, base_mean=v[:WAYS])),
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
        "weighted l1",
        lambda: _learned(lambda v: weighted_l1(WAYS, -v[:WAYS], v[0], match="mean")),
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
        lambda: _learned(lambda v: logistic(WAYS, strength=v[0], scale=v[1])),
        equivariant=True,
        variant=True,
    ),
    Case(
        "svm",
        lambda: _learned(lambda v: svm(WAYS, capacity=v[0], scale=v[1])),
        equivariant=True,
    ),
    # Heads that look at all queries.
    Case(
        "tim",
        lambda: _learned(
            lambda v: tim(WAYS, solver=jmeta.unrolled(SGD, 3), scale=v[0], marginal=v[1])
        ),
        equivariant=True,
        variant=True,
    ),
    Case(
        "transductive fine-tuning",
        lambda: jmeta.metric(NET, transductive_finetuning(WAYS, solver=jmeta.unrolled(SGD, 3))),
        equivariant=True,
        variant=True,
    ),
    Case(
        "bd-cspn",
        lambda: _learned(lambda v: bd_cspn(WAYS, confidence=v[0], scale=v[1])),
        equivariant=True,
        variant=True,
    ),
    Case(
        "laplacianshot",
        lambda: _learned(lambda v: laplacian_shot(WAYS, smoothness=v[0], steps=3)),
        equivariant=True,
        variant=True,
    ),
    Case(
        "pt-map",
        lambda: _learned(lambda v: pt_map(WAYS, sharpness=v[0], rate=v[1] / 10, steps=2)),
        equivariant=True,
        variant=True,
    ),
    # Learned comparisons.
    Case(
        "feat",
        lambda: feat(NET, nn.SetAttention(), ways=WAYS, scale=0.1),
        equivariant=True,
        net=None,
        variant=True,
    ),
    Case("relation", _relation, equivariant=True, net=None),
    Case(
        "siamese",
        lambda: jmeta.siamese(NET, ways=WAYS),
        lambda learner, objective: siamese_loss(NET, ways=WAYS),
        equivariant=True,
        variant=True,
    ),
    Case(
        "matching, full context",
        lambda: full_context(NET, nn.FullContext(WAYS, steps=2), jmeta.matching(WAYS)),
        ordered=True,
        equivariant=True,
        net=None,
    ),
    # Learners that read the support set.
    Case("snail", lambda: jmeta.amortised(SNAIL, ways=WAYS), ordered=True, net=None),
    Case("mann", lambda: jmeta.amortised(MANN, ways=WAYS), ordered=True, net=None),
    Case("meta network", _meta_network, ordered=True, net=None),
    Case("cnp", **_process(), variant=True),
    Case("np", **_process(latent=True, deterministic=False), variant=True),
    Case("anp", **_process(latent=True, heads=2)),
]
READERS = [case for case in CASES if case.name in ("snail", "mann", "meta network")]


def case_named(name: str) -> Case:
    """The case of this name."""
    return next(case for case in CASES if case.name == name)


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

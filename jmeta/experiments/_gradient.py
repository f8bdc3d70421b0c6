"""The gradient-based family."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import optax

from jmeta import core, learners
from jmeta.core import Learner, Loss, Net, Outputs, PyTree, Selection, Solver
from jmeta.experiments._algorithm import Algorithm, Method
from jmeta.experiments._domain import Domain
from jmeta.experiments._networks import Network
from jmeta.experiments._options import option
from jmeta.experiments._parts import OPTIMIZERS, Episode, Points


class Loop(NamedTuple):
    """An inner loop."""

    steps: int
    ways: int  # classes of an episode; 1 for numbers
    batches: int = 1  # parts of the support set
    path: bool = False  # keep every iterate
    first: bool = False  # hold the inner gradients constant


@dataclass(frozen=True)
class Descending(Algorithm):
    """What all members share: an inner loop that descends the support loss."""

    one_output_a_class: ClassVar[bool] = True
    adapts: ClassVar[Selection] = core.everything
    first_order: ClassVar[bool] = False  # the inner gradients are constants
    steps: int = option(1, "Steps of adaptation in training.", flag="inner_steps", least=0)
    eval_steps: int | None = option(
        None,
        "Steps of adaptation in validation and testing. None: as in training.",
        flag="eval_inner_steps",
        least=0,
    )
    rate: float | None = option(
        None,
        "Learning rate of the inner loop. None: 0.4 for classes, 0.01 for numbers.",
        flag="inner_rate",
        least=0,
    )

    def completed(self, kind: str, steps: int) -> Self:
        """With the inner rate that suits the data."""
        default = 0.4 if kind == "classes" else 0.01
        return self if self.rate is not None else replace(self, rate=default)

    def net(self, network: Network, domain: Domain) -> Net:
        """The network that adapts."""
        return network.module(domain.outputs)

    def transformation(self) -> optax.GradientTransformation:
        """The inner optimizer."""
        assert self.rate is not None, "the experiment has been completed"
        return optax.sgd(self.rate)

    def solver(self, loop: Loop) -> Solver:
        """How the support loss is descended."""
        tx = self.transformation()
        chain = optax.chain(core.first_order(), tx) if loop.first or self.first_order else tx
        remat = getattr(self, "remat", False)
        return core.unrolled(chain, loop.steps, path=loop.path, remat=remat)

    def learner(self, net: Net, domain: Domain, loop: Loop) -> Learner:
        """The learner with a given inner loop."""
        batches = loop.batches
        return learners.maml(
            net, domain.objective, self.solver(loop), adapts=self.adapts, batches=batches
        )

    def trained(self, ways: int) -> Loop:
        """The inner loop of training."""
        return Loop(self.steps, ways)

    def make_loss(self, learner: Learner, domain: Domain, step: int | jax.Array) -> Loss:
        """What meta-training descends, after `step` outer updates."""
        del step
        return core.episodic(learner, domain.objective)

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner, its loss, and its adaptation curve."""
        net, ways = self.net(network, domain), episode.testing().ways
        trained = self.trained(episode.training().ways)
        tested = self.steps if self.eval_steps is None else self.eval_steps

        def of_order(step: int | jax.Array, *, first: bool) -> Loss:
            learner = self.learner(net, domain, trained._replace(first=first))
            return self.make_loss(learner, domain, step)

        def loss(step: int | jax.Array) -> Loss:
            late, until = of_order(step, first=False), getattr(self, "first_order_until", 0)
            if until == 0:
                return late
            return core.switch(jnp.asarray(step) < until, of_order(step, first=True), late)

        def curve(steps: int) -> Learner:
            return _along_path(self.learner(net, domain, Loop(steps, ways, path=True)))

        learner = self.learner(net, domain, Loop(tested, ways))
        return Method(learner, loss, steps=tested, curve=curve)


def _along_path(learner: Learner) -> Learner:
    """The learner, predicting after every inner step: outputs [K + 1, Q, ...]."""

    def predict(adapted: PyTree, x: PyTree) -> Outputs:
        return core.predict_path(learner, adapted, x)

    return learner._replace(predict=predict)


@dataclass(frozen=True)
class _WithOptimizer(Descending):
    """Members whose inner loop may use another optimizer than SGD."""

    optimizer: str = option(
        "sgd", "The inner optimizer.", flag="inner_optimizer", choices=OPTIMIZERS
    )
    beta1: float = option(
        0.9,
        "Momentum of an inner adam or adamw; Reptile's paper has 0.",
        flag="inner_beta1",
        least=0,
        below=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.optimizer == "sgd" and self.beta1 != 0.9:
            raise ValueError("inner_beta1 is for an inner_optimizer of adam or adamw, not sgd.")

    def transformation(self) -> optax.GradientTransformation:
        """The inner optimizer; Adam with its ε inside the root, so that it is differentiable."""
        if self.optimizer == "sgd":
            return super().transformation()
        makers: dict[str, Callable] = {"adam": optax.adam, "adamw": optax.adamw}
        return makers[self.optimizer](self.rate, b1=self.beta1, eps_root=1e-8)


@dataclass(frozen=True)
class _WithRemat(Descending):
    """Members that are differentiated through their inner steps."""

    remat: bool = option(
        False, "Recompute inner steps in the backward pass: less memory, more time."
    )


@dataclass(frozen=True)
class _WithAnnealing(_WithRemat):
    """Members that may begin with first-order gradients."""

    first_order_until: int = option(
        0, "Outer updates made with first-order gradients, before those of second order.", least=0
    )


@dataclass(frozen=True)
class _WithBatches(_WithOptimizer):
    """Members that may descend minibatches of the support set."""

    batches: int = option(
        1,
        "Parts of a training support set, which the inner steps descend in turn; inner_steps is "
        "the number of steps on each.",
        flag="train_batches",
        least=1,
    )

    def trained(self, ways: int) -> Loop:
        """The inner loop of training: inner_steps on each part."""
        return Loop(self.steps * self.batches, ways, self.batches)


@dataclass(frozen=True)
class Maml(_WithAnnealing, _WithBatches):
    """Model-agnostic meta-learning: second-order gradients through SGD on the support set."""

    name: ClassVar[str] = "maml"
    title: ClassVar[str] = "an initialisation that a few gradient steps adapt"
    paper: ClassVar[str] = "Finn, Abbeel, Levine, 2017, arXiv:1703.03400"


@dataclass(frozen=True)
class Fomaml(_WithRemat, _WithBatches):
    """MAML with the inner gradients held constant."""

    name: ClassVar[str] = "fomaml"
    title: ClassVar[str] = "MAML to first order"
    paper: ClassVar[str] = "Finn, Abbeel, Levine, 2017, arXiv:1703.03400, section 5.2"
    first_order: ClassVar[bool] = True


@dataclass(frozen=True)
class Reptile(_WithRemat, _WithBatches):
    """Moves the initialisation towards the adapted parameters."""

    name: ClassVar[str] = "reptile"
    title: ClassVar[str] = "moves towards the adapted parameters"
    paper: ClassVar[str] = "Nichol, Achiam, Schulman, 2018, arXiv:1803.02999"
    first_order: ClassVar[bool] = True

    def make_loss(self, learner: Learner, domain: Domain, step: int | jax.Array) -> Loss:
        """Half the squared distance to the adapted parameters."""
        del step
        return core.reptile(learner, domain.objective)


@dataclass(frozen=True)
class Anil(_WithAnnealing, _WithBatches):
    """MAML whose inner loop adapts the output layer alone."""

    name: ClassVar[str] = "anil"
    title: ClassVar[str] = "adapts the head"
    paper: ClassVar[str] = "Raghu, Raghu, Bengio, Vinyals, 2020, arXiv:1909.09157"
    adapts: ClassVar[Selection] = core.part("head")


@dataclass(frozen=True)
class Boil(_WithAnnealing, _WithBatches):
    """MAML whose inner loop adapts everything but the output layer."""

    name: ClassVar[str] = "boil"
    title: ClassVar[str] = "adapts all but the head"
    paper: ClassVar[str] = "Oh, Yoo, Kim, Yun, 2021, arXiv:2008.08882"
    adapts: ClassVar[Selection] = core.all_but("head")


@dataclass(frozen=True)
class Cavia(_WithAnnealing, _WithBatches):
    """MAML whose inner loop adapts context parameters, from zero."""

    name: ClassVar[str] = "cavia"
    title: ClassVar[str] = "adapts context parameters"
    paper: ClassVar[str] = "Zintgraf et al., 2019, arXiv:1810.03642"
    adapts: ClassVar[Selection] = core.context()
    context: int = option(
        5, "Context parameters: joined to the inputs of mlp, FiLM in conv4.", least=1
    )

    def net(self, network: Network, domain: Domain) -> Net:
        """The network with its context."""
        return network.module(domain.outputs, context=self.context)


@dataclass(frozen=True)
class MetaSgd(_WithAnnealing):
    """MAML with a learned rate for every entry of every parameter."""

    name: ClassVar[str] = "meta-sgd"
    title: ClassVar[str] = "learns a rate for every parameter"
    paper: ClassVar[str] = "Li, Zhou, Chen, Li, 2017, arXiv:1707.09835"

    def learner(self, net: Net, domain: Domain, loop: Loop) -> Learner:
        """The learner with a given inner loop."""
        assert self.rate is not None
        return learners.meta_sgd(
            *(net, domain.objective, loop.steps),
            rate=self.rate,
            first=loop.first,
            path=loop.path,
            remat=self.remat,
        )


@dataclass(frozen=True)
class MamlPlusPlus(_WithAnnealing):
    """Rates and normalisation weights of each inner step, and a loss over all steps."""

    name: ClassVar[str] = "maml++"
    title: ClassVar[str] = "learns the rates and the normalisation of each step"
    paper: ClassVar[str] = "Antoniou, Edwards, Storkey, 2019, arXiv:1810.09502"
    multi_step_until: int | None = option(
        None,
        "Outer updates over which the loss moves to the last inner step. None: a tenth of them.",
        least=1,
    )

    def completed(self, kind: str, steps: int) -> Self:
        """With the updates over which the loss moves to the last inner step."""
        until = self.multi_step_until or max(1, steps // 10)
        return replace(super().completed(kind, steps), multi_step_until=until)

    def learner(self, net: Net, domain: Domain, loop: Loop) -> Learner:
        """The learner with a given inner loop, of which `self.steps` steps have own values."""
        assert self.rate is not None
        has_norm = getattr(net, "norm", "none") != "none"
        return learners.maml_plus_plus(
            *(net, domain.objective, self.steps),
            rate=self.rate,
            own=_is_norm if has_norm else None,
            run=loop.steps,
            path=loop.path,
            first=loop.first,
            remat=self.remat,
        )

    def trained(self, ways: int) -> Loop:
        """The inner loop of training, with every step kept."""
        return Loop(self.steps, ways, path=True)

    def make_loss(self, learner: Learner, domain: Domain, step: int | jax.Array) -> Loss:
        """A weighted sum over the inner steps, which moves to the last one."""
        assert self.multi_step_until is not None, "the experiment has been completed"
        weights = core.multi_step_weights(step, self.steps, until=self.multi_step_until)
        return core.multi_step(learner, domain.objective, weights)


def _is_norm(path: str) -> bool:
    """Whether a parameter belongs to a normalisation layer."""
    return "Norm_" in path


@dataclass(frozen=True)
class Imaml(_WithOptimizer):
    """Implicit gradients: memory that does not grow with the inner steps."""

    name: ClassVar[str] = "imaml"
    title: ClassVar[str] = "differentiates the minimum, not the way there"
    paper: ClassVar[str] = "Rajeswaran, Finn, Kakade, Levine, 2019, arXiv:1909.04630"
    strength: float = option(
        2.0, "How strongly the adapted parameters are held near the start (the paper's λ).", least=0
    )
    linear_solve: str = option(
        "cg",
        "How the linear system is solved: cg (conjugate gradients, with a curvature of at least "
        "λ/2), or neumann (a series with the inner rate).",
        choices=("cg", "neumann"),
    )
    solve_steps: int = option(
        5, "Steps of the linear solve, each a Hessian-vector product.", least=1
    )

    def solver(self, loop: Loop) -> Solver:
        """The implicit solver; a path is that of the same steps, unrolled."""
        tx = self.transformation()
        if loop.path:
            held = optax.chain(core.pull_to_start(self.strength), tx)
            return core.unrolled(held, loop.steps, path=True)
        assert self.rate is not None
        solve = (
            core.conjugate_gradient(self.solve_steps, least_curvature=self.strength / 2)
            if self.linear_solve == "cg"
            else core.neumann(self.solve_steps, rate=self.rate)
        )
        return core.implicit(tx, loop.steps, strength=self.strength, linear_solve=solve)


@dataclass(frozen=True)
class ProtoMaml(_WithAnnealing, _WithOptimizer):
    """MAML whose output layer starts as the nearest-prototype classifier of the task."""

    name: ClassVar[str] = "proto-maml"
    title: ClassVar[str] = "MAML from a prototypical output layer"
    paper: ClassVar[str] = "Triantafillou et al., 2020, arXiv:1903.03096"
    kinds: ClassVar[tuple[str, ...]] = ("classes",)
    one_output_a_class: ClassVar[bool] = False

    def net(self, network: Network, domain: Domain) -> Net:
        """An embedding."""
        return network.module(None)

    def learner(self, net: Net, domain: Domain, loop: Loop) -> Learner:
        """The learner with a given inner loop; training may have more ways than testing."""
        return learners.proto_maml(net, domain.objective, self.solver(loop), ways=loop.ways)


TABLE: tuple[type[Algorithm], ...] = (
    *(Maml, Fomaml, Reptile, Anil, Boil, MetaSgd, MamlPlusPlus, Cavia, Imaml, ProtoMaml),
)

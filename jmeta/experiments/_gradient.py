"""The gradient-based family."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import jax
import optax

from jmeta import core, learners
from jmeta.core import Learner, Loss, Net, Selection, Solver
from jmeta.experiments._algorithm import Algorithm
from jmeta.experiments._descending import (
    Loop,
    WithAdapters,
    WithAnnealing,
    WithBatches,
    WithOptimizer,
    WithRemat,
)
from jmeta.experiments._domain import Domain
from jmeta.experiments._networks import Network
from jmeta.experiments._options import option


@dataclass(frozen=True)
class Maml(WithAnnealing, WithAdapters):
    """Model-agnostic meta-learning: second-order gradients through SGD on the support set."""

    name: ClassVar[str] = "maml"
    title: ClassVar[str] = "an initialisation that a few gradient steps adapt"
    paper: ClassVar[str] = "Finn, Abbeel, Levine, 2017, arXiv:1703.03400"


@dataclass(frozen=True)
class Fomaml(WithRemat, WithAdapters):
    """MAML with the inner gradients held constant."""

    name: ClassVar[str] = "fomaml"
    title: ClassVar[str] = "MAML to first order"
    paper: ClassVar[str] = "Finn, Abbeel, Levine, 2017, arXiv:1703.03400, section 5.2"
    first_order: ClassVar[bool] = True


@dataclass(frozen=True)
class Reptile(WithRemat, WithBatches):
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
class Anil(WithAnnealing, WithAdapters):
    """MAML whose inner loop adapts the output layer alone."""

    name: ClassVar[str] = "anil"
    title: ClassVar[str] = "adapts the head"
    paper: ClassVar[str] = "Raghu, Raghu, Bengio, Vinyals, 2020, arXiv:1909.09157"
    adapts: ClassVar[Selection] = core.part("head")
    among: ClassVar[str | None] = "head"


@dataclass(frozen=True)
class Boil(WithAnnealing, WithBatches):
    """MAML whose inner loop adapts everything but the output layer."""

    name: ClassVar[str] = "boil"
    title: ClassVar[str] = "adapts all but the head"
    paper: ClassVar[str] = "Oh, Yoo, Kim, Yun, 2021, arXiv:2008.08882"
    adapts: ClassVar[Selection] = core.all_but("head")


@dataclass(frozen=True)
class Cavia(WithAnnealing, WithBatches):
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
class MetaSgd(WithAnnealing):
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
class MamlPlusPlus(WithAnnealing):
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
class Imaml(WithOptimizer):
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
class ProtoMaml(WithAnnealing, WithOptimizer):
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

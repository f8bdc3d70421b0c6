"""What gradient-based algorithms share: the inner loop and its options."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import optax

from jmeta import core, learners, nn
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

    def selection(self) -> Selection:
        """What the inner loop adapts."""
        return self.adapts

    def learner(self, net: Net, domain: Domain, loop: Loop) -> Learner:
        """The learner with a given inner loop."""
        options: dict[str, Any] = {"adapts": self.selection(), "batches": loop.batches}
        return learners.maml(net, domain.objective, self.solver(loop), **options)

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
            return along_path(self.learner(net, domain, Loop(steps, ways, path=True)))

        learner = self.learner(net, domain, Loop(tested, ways))
        return Method(learner, loss, steps=tested, curve=curve)


def along_path(learner: Learner) -> Learner:
    """The learner, predicting after every inner step: outputs [K + 1, Q, ...].

    Args:
        learner: one whose solver keeps its path.
    """

    def predict(adapted: PyTree, x: PyTree) -> Outputs:
        return core.predict_path(learner, adapted, x)

    return learner._replace(predict=predict)


@dataclass(frozen=True)
class WithOptimizer(Descending):
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
        """The inner optimizer."""
        assert self.rate is not None, "the experiment has been completed"
        return smooth(self.optimizer, self.rate, beta1=self.beta1)


def smooth(optimizer: str, rate: float, *, beta1: float = 0.9) -> optax.GradientTransformation:
    """An inner optimizer by its name; Adam with its ε inside the root, for its derivative.

    >>> type(smooth("adam", 0.1)).__name__
    'GradientTransformationExtraArgs'
    """
    if optimizer == "sgd":
        return optax.sgd(rate)
    makers: dict[str, Callable] = {"adam": optax.adam, "adamw": optax.adamw}
    found: optax.GradientTransformation = makers[optimizer](rate, b1=beta1, eps_root=1e-8)
    return found


@dataclass(frozen=True)
class WithRemat(Descending):
    """Members that are differentiated through their inner steps."""

    remat: bool = option(
        False, "Recompute inner steps in the backward pass: less memory, more time."
    )


@dataclass(frozen=True)
class WithAnnealing(WithRemat):
    """Members that may begin with first-order gradients."""

    first_order_until: int = option(
        0, "Outer updates made with first-order gradients, before those of second order.", least=0
    )


@dataclass(frozen=True)
class WithBatches(WithOptimizer):
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
class WithAdapters(WithBatches):
    """Members that may adapt small matrices beside the network in the place of its own."""

    among: ClassVar[str | None] = None  # the layers that have adapters; None for all
    lora: int | None = option(
        None,
        "Rank of low-rank adapters, which then adapt in the place of the kernels they are beside. "
        "None: there are none.",
        least=1,
    )
    lora_scale: float = option(
        1.0, "How much the product of a low-rank adapter is multiplied by.", least=0
    )
    bottleneck: int | None = option(
        None,
        "Width of bottleneck adapters, which then adapt in the place of the layers that they are "
        "behind. None: there are none.",
        least=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lora is not None and self.bottleneck is not None:
            raise ValueError("lora and bottleneck are two kinds of adapters; choose one of them.")
        if self.lora_scale == 0:
            raise ValueError("lora_scale must be above 0, or nothing would adapt.")

    def selection(self) -> Selection:
        """The adapters, where there are any."""
        if self.bottleneck is not None:
            return core.part("bottlenecks")
        if self.lora is None:
            return self.adapts
        return core.low_rank(self.among, rank=self.lora, scale=self.lora_scale)

    def net(self, network: Network, domain: Domain) -> Net:
        """The network, with bottlenecks behind its layers where that was asked for."""
        net: Any = super().net(network, domain)
        width = self.bottleneck
        return net if width is None else nn.with_bottlenecks(net, width, after=self.among)

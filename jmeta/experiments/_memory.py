"""Learners that read the support set: sequences, fast weights, neural processes."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
from flax import linen

from jmeta import core, learners, losses, metrics, nn
from jmeta.core import Key, Params, Task
from jmeta.experiments._algorithm import (
    SCALE_HELP,
    Algorithm,
    Method,
    constant,
    fix_embedding,
    fix_of,
    inputs_of,
)
from jmeta.experiments._domain import Domain, example_task
from jmeta.experiments._networks import Network, NoNetwork
from jmeta.experiments._options import option
from jmeta.experiments._parts import Episode, Points

LATENTS = 16  # draws of a latent in validation and testing


@dataclass(frozen=True)
class _Reader(Algorithm):
    """A network that reads the support set as a sequence, each image through a backbone."""

    kinds: ClassVar[tuple[str, ...]] = ("classes",)
    one_output_a_class: ClassVar[bool] = True
    reads_inputs: ClassVar[bool] = True

    def reader(self, embed: Any, episode: Episode | Points) -> Any:
        """The Flax module over a backbone, or over the inputs as they are (None)."""
        raise NotImplementedError

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner and its loss."""
        embed = None if isinstance(network, NoNetwork) else network.module(None)
        if embed is not None and not isinstance(embed, linen.Module):
            raise ValueError(
                f"{self.name} learns to read images from the beginning, by a Flax Linen module; "
                f"choose another network than {network.name}, such as conv4."
            )
        module, ways = self.reader(embed, episode), episode.testing().ways
        learner = learners.amortised(module, ways=ways)
        loss = constant(core.episodic(learner, domain.objective))
        if embed is None or not network.transductive:
            return Method(learner, loss)
        support = example_task(domain).support
        read = support.x, jax.nn.one_hot(support.y, ways) * 0, support.y >= 0

        def fix(params: Params, tasks: Task) -> Params:
            """The moments of the last call, which sees all the images."""
            return nn.population_statistics(module, params, read, inputs_of(tasks))

        return Method(learner, loss, fix)


@dataclass(frozen=True)
class Snail(_Reader):
    """Temporal convolutions and attention over the support set."""

    name: ClassVar[str] = "snail"
    title: ClassVar[str] = "temporal convolutions and attention"
    paper: ClassVar[str] = "Mishra et al., 2018, arXiv:1707.03141"

    def reader(self, embed: Any, episode: Episode | Points) -> Any:
        """SNAIL, for the longest support set it will read."""
        tested = episode.testing()
        longest = 1 + tested.ways * max(tested.shots, episode.training().shots)
        return nn.SNAIL(tested.ways, length=longest, embed=embed)


@dataclass(frozen=True)
class Mann(_Reader):
    """A memory that is written example by example."""

    name: ClassVar[str] = "mann"
    title: ClassVar[str] = "a memory with least-recently-used access"
    paper: ClassVar[str] = "Santoro et al., 2016, arXiv:1605.06065"

    def reader(self, embed: Any, episode: Episode | Points) -> Any:
        """MANN."""
        return nn.MANN(episode.testing().ways, embed=embed)


@dataclass(frozen=True)
class MetaNetwork(Algorithm):
    """Gradients turned into fast weights, behind an embedding."""

    name: ClassVar[str] = "meta-network"
    title: ClassVar[str] = "gradients turned into fast weights"
    paper: ClassVar[str] = "Munkhdalai, Yu, 2017, arXiv:1703.00837"
    kinds: ClassVar[tuple[str, ...]] = ("classes",)
    one_output_a_class: ClassVar[bool] = True
    scale: float = option(30.0, SCALE_HELP, least=0)

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner and its loss."""
        embed, ways = network.module(None), episode.testing().ways
        represent, classify = (
            nn.slow_and_fast(nn.SlowFast(ways, features=(network.width,))) for _ in range(2)
        )
        inner = learners.meta_network(
            *(represent, classify, nn.GradientLSTM(), nn.GradientMLP()), sharpness=self.scale
        )
        learner = learners.on_features(embed, inner)
        loss = constant(core.episodic(learner, domain.objective))
        return Method(learner, loss, fix_embedding(fix_of(network, embed)))


@dataclass(frozen=True)
class Cnp(Algorithm):
    """Conditional neural processes: a function predicted from the mean of its points."""

    name: ClassVar[str] = "cnp"
    title: ClassVar[str] = "a function from the mean of its points"
    paper: ClassVar[str] = "Garnelo et al., 2018, arXiv:1807.01613"
    kinds: ClassVar[tuple[str, ...]] = ("numbers",)
    latent: ClassVar[bool] = False
    heads: ClassVar[int] = 0

    def domain(self, domain: Domain) -> Domain:
        """Support sets of every size in training, and judged by the likelihood."""

        def sample_train(key: Key, pool: Any) -> Task:
            task_key, size_key = jax.random.split(key)
            return learners.random_size(size_key, domain.sample_train(task_key, pool))

        def sample_eval(key: Key, pool: Any) -> Task:
            task, latent_key = domain.sample_eval(key, pool), jax.random.fold_in(key, 1)
            return learners.random_size(latent_key, task, smallest=len(task.support.y))

        return domain._replace(
            sample_train=sample_train,
            sample_eval=sample_eval,
            report=metrics.gaussian_report,
            metric="nll",
            score=losses.gaussian_nll,
            each=metrics.gaussian_each,
        )

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner, and the bound on the likelihood."""
        hidden = getattr(network, "hidden", None)
        if hidden is None or getattr(network, "norm", "none") not in (None, "none"):
            raise ValueError(
                f"{self.name} needs a network of fully connected layers without normalisation: "
                "choose --network mlp --norm none."
            )
        net = nn.NeuralProcess(
            *(domain.outputs, hidden[-1], len(hidden)),
            latent=self.latent,
            heads=self.heads,
            least=0.05,
        )
        learner = learners.neural_process(net, samples=LATENTS if self.latent else 0)
        return Method(learner, constant(learners.neural_process_loss(net)))


@dataclass(frozen=True)
class Np(Cnp):
    """Neural processes: a latent function, drawn anew for each sample."""

    name: ClassVar[str] = "np"
    title: ClassVar[str] = "a function with a latent, from the mean of its points"
    paper: ClassVar[str] = "Garnelo et al., 2018, arXiv:1807.01622"
    latent: ClassVar[bool] = True


@dataclass(frozen=True)
class Anp(Np):
    """Attentive neural processes."""

    name: ClassVar[str] = "anp"
    title: ClassVar[str] = "a function with a latent, from attention to its points"
    paper: ClassVar[str] = "Kim et al., 2019, arXiv:1901.05761"
    heads: ClassVar[int] = 8


TABLE: tuple[type[Algorithm], ...] = (Snail, Mann, MetaNetwork, Cnp, Np, Anp)

"""Metric learners, and heads that are solved in closed form."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

import jax
import jax.numpy as jnp

from jmeta import core, distances, learners, losses, nn
from jmeta.core import Learner, Net, Params, Task
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
from jmeta.experiments._networks import Network
from jmeta.experiments._options import option
from jmeta.experiments._parts import Episode, Points
from jmeta.learners import Head


@dataclass(frozen=True)
class _OverEmbedding(Algorithm):
    """A head over an embedding, trained by the cross-entropy of the queries."""

    kinds: ClassVar[tuple[str, ...]] = ("classes",)

    def learner(self, embed: Net, ways: int) -> Learner:
        """The learner for episodes of so many classes."""
        raise NotImplementedError

    def shareable(self, episode: Episode | Points) -> tuple[int, ...]:
        """The support set and the query set."""
        ways, shots, queries = episode.training()
        return ways * shots, ways * queries

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner and its loss."""
        embed = network.module(None)
        trained = self.learner(embed, episode.training().ways)
        tested = self.learner(embed, episode.testing().ways)
        return Method(
            tested, constant(core.episodic(trained, domain.objective)), fix_of(network, embed)
        )


@dataclass(frozen=True)
class ProtoNet(_OverEmbedding):
    """Prototypical networks: the nearest class mean."""

    name: ClassVar[str] = "protonet"
    title: ClassVar[str] = "the nearest class mean"
    paper: ClassVar[str] = "Snell, Swersky, Zemel, 2017, arXiv:1703.05175"

    def learner(self, embed: Net, ways: int) -> Learner:
        """Prototypes by squared Euclidean distances."""
        return learners.metric(embed, learners.prototypical(ways))


@dataclass(frozen=True)
class Matching(_OverEmbedding):
    """Matching networks: attention over the support set."""

    name: ClassVar[str] = "matching"
    title: ClassVar[str] = "attention over the support set"
    paper: ClassVar[str] = "Vinyals et al., 2016, arXiv:1606.04080"
    scale: float = option(30.0, SCALE_HELP, least=0)

    def learner(self, embed: Net, ways: int) -> Learner:
        """Attention by cosines."""
        return learners.metric(embed, learners.matching(ways, scale=self.scale))


@dataclass(frozen=True)
class MatchingFullContext(Matching):
    """Matching networks whose embeddings depend on the support set."""

    name: ClassVar[str] = "matching-fce"
    title: ClassVar[str] = "attention over the support set, with full-context embeddings"
    paper: ClassVar[str] = "Vinyals et al., 2016, arXiv:1606.04080, section 2.1.2"

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner and its loss."""
        embed = network.module(None)
        x = example_task(domain).support.x[:1]
        made = jax.eval_shape(lambda key: embed.apply(embed.init(key, x), x), jax.random.key(0))
        context = nn.FullContext(made.shape[-1])

        def learner(ways: int) -> Learner:
            head = learners.matching(ways, scale=self.scale)
            return learners.full_context(embed, context, head)

        loss = core.episodic(learner(episode.training().ways), domain.objective)
        fix = fix_embedding(fix_of(network, embed))
        return Method(learner(episode.testing().ways), constant(loss), fix)


@dataclass(frozen=True)
class Feat(_OverEmbedding):
    """FEAT: class means that attend to each other, best begun by `--init-from`."""

    name: ClassVar[str] = "feat"
    title: ClassVar[str] = "class means that attend to each other"
    paper: ClassVar[str] = "Ye, Hu, Zhan, Sha, 2020, arXiv:1812.03664"
    heads: int = option(1, "Heads of the attention among the class means.", least=1)
    scale: float = option(
        1.0, "What squared distances are multiplied by (an inverse temperature).", least=0
    )

    def learner(self, embed: Net, ways: int) -> Learner:
        """The nearest of the adapted class means."""
        return learners.feat(embed, nn.SetAttention(self.heads), ways=ways, scale=self.scale)

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner and its loss; fixed moments are those of the embedding."""
        method = super().build(network, domain, episode)
        return method._replace(fix=fix_embedding(method.fix))


@dataclass(frozen=True)
class Siamese(Algorithm):
    """Siamese networks: pairs that are of one class or not, by a learned distance."""

    name: ClassVar[str] = "siamese"
    title: ClassVar[str] = "a learned distance of pairs"
    paper: ClassVar[str] = "Koch, Zemel, Salakhutdinov, 2015"
    kinds: ClassVar[tuple[str, ...]] = ("classes",)
    match: str = option(
        "mean",
        "How a query is compared with the examples of a class: their mean, or the best of them.",
        choices=("mean", "best"),
    )

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner, and the cross-entropy of all pairs."""
        embed, match = network.module(None), cast(Any, self.match)
        loss = learners.siamese_loss(embed, ways=episode.training().ways, match=match)
        learner = learners.siamese(embed, ways=episode.testing().ways, match=match)
        return Method(learner, constant(loss), fix_embedding(fix_of(network, embed)))


@dataclass(frozen=True)
class Relation(Algorithm):
    """Relation networks: a learned comparison of a query with each class."""

    name: ClassVar[str] = "relation"
    title: ClassVar[str] = "a learned comparison"
    paper: ClassVar[str] = "Sung et al., 2018, arXiv:1711.06025"
    kinds: ClassVar[tuple[str, ...]] = ("classes",)

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner, and the squared error of its scores."""
        maps, norm = network.has_maps, cast(Any, getattr(network, "norm", "none"))
        embed: Any = network.module(None, maps=maps)
        compare: Any = nn.RelationConv(network.width, norm=norm) if maps else nn.RelationMLP()
        ways = episode.training().ways
        trained = learners.relation(embed, compare, ways=ways)
        tested = learners.relation(embed, compare, ways=episode.testing().ways)
        loss = constant(core.episodic(trained, losses.relation_error))
        if not network.transductive:
            return Method(tested, loss)

        def fix(params: Params, tasks: Task) -> Params:
            return _fixed_relation(embed, compare, params, tasks, ways=ways)

        return Method(tested, loss, fix)


def _fixed_relation(embed: Any, compare: Any, params: Params, tasks: Task, *, ways: int) -> Params:
    """Both networks with fixed moments; the comparison's are those of a task, averaged."""
    fixed = nn.population_statistics(embed, params["embed"], inputs_of(tasks))

    def one(task: Task) -> Params:
        features = embed.apply(fixed, task.support.x)
        sums = learners.class_sums(features, task.support.y, ways=ways)
        queries = embed.apply(fixed, task.query.x)
        return nn.population_statistics(compare, params["relation"], sums, queries)

    averaged = jax.tree.map(lambda leaf: leaf.mean(0), jax.lax.map(one, tasks))
    return {"embed": fixed, "relation": averaged}


@dataclass(frozen=True)
class _LearnedHead(_OverEmbedding):
    """A head whose positive hyperparameters are learned as their logarithms."""

    initial: ClassVar[tuple[float, ...]]

    def head(self, values: jax.Array, ways: int) -> Head:
        """The head with these hyperparameters."""
        raise NotImplementedError

    def learner(self, embed: Net, ways: int) -> Learner:
        """The head over the embedding."""

        def make(logarithms: jax.Array | None) -> Learner:
            values = jnp.exp(jnp.zeros(len(self.initial)) if logarithms is None else logarithms)
            return learners.metric(embed, self.head(values, ways))

        return learners.learned(make, jnp.log(jnp.array(self.initial)))

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner and its loss; fixed moments are those of the network inside."""
        method = super().build(network, domain, episode)
        fix = method.fix
        if fix is None:
            return method
        return method._replace(
            fix=lambda meta, tasks: meta._replace(params=fix(meta.params, tasks))
        )


@dataclass(frozen=True)
class MetaBaseline(_LearnedHead):
    """Meta-Baseline: cosines with class means, whose scale is learned; begun by `--init-from`."""

    name: ClassVar[str] = "meta-baseline"
    title: ClassVar[str] = "cosines with class means, after supervised training"
    paper: ClassVar[str] = "Chen, Liu, Xu, Darrell, Wang, 2021, arXiv:2003.04390"
    initial: ClassVar[tuple[float, ...]] = (10.0,)

    def head(self, values: jax.Array, ways: int) -> Head:
        """The nearest class mean by cosines."""
        return learners.prototypical(ways, distance=distances.cosine, scale=values[0])


@dataclass(frozen=True)
class R2D2(_LearnedHead):
    """Ridge regression to the labels, solved in each episode."""

    name: ClassVar[str] = "r2d2"
    title: ClassVar[str] = "ridge regression in closed form"
    paper: ClassVar[str] = "Bertinetto, Henriques, Torr, Vedaldi, 2019, arXiv:1805.08136"
    initial: ClassVar[tuple[float, ...]] = (1.0, 10.0)

    def head(self, values: jax.Array, ways: int) -> Head:
        """Ridge regression."""
        return learners.ridge(ways, strength=values[0], scale=values[1])


@dataclass(frozen=True)
class LRD2(_LearnedHead):
    """Logistic regression, solved in each episode."""

    name: ClassVar[str] = "lrd2"
    title: ClassVar[str] = "logistic regression, solved to its optimum"
    paper: ClassVar[str] = "Bertinetto, Henriques, Torr, Vedaldi, 2019, arXiv:1805.08136"
    initial: ClassVar[tuple[float, ...]] = (1.0, 1.0)

    def head(self, values: jax.Array, ways: int) -> Head:
        """Logistic regression."""
        return learners.logistic(ways, strength=values[0], scale=values[1])


@dataclass(frozen=True)
class MetaOptNet(_LearnedHead):
    """A support vector machine, solved in each episode."""

    name: ClassVar[str] = "metaopt-net"
    title: ClassVar[str] = "a support vector machine"
    paper: ClassVar[str] = "Lee, Maji, Ravichandran, Soatto, 2019, arXiv:1904.03758"
    initial: ClassVar[tuple[float, ...]] = (1.0,)

    def head(self, values: jax.Array, ways: int) -> Head:
        """Crammer and Singer's machine."""
        return learners.svm(ways, capacity=0.1, scale=values[0])


TABLE: tuple[type[Algorithm], ...] = (
    *(ProtoNet, Matching, MatchingFullContext, Feat, Siamese, Relation),
    *(MetaBaseline, R2D2, LRD2, MetaOptNet),
)

"""Supervised training on pooled classes: the start of transfer learning."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jmeta import augment, distances, learners
from jmeta.core import Batch, Key, Learner, Net, Params, Scalar, Task
from jmeta.core._networks import bound, first_example, init_net
from jmeta.core._padding import again_marked, blanked, real_examples
from jmeta.data import Pool, sample_batch
from jmeta.experiments._algorithm import Algorithm, Method, constant, fix_embedding, fix_of
from jmeta.experiments._domain import Domain
from jmeta.experiments._networks import Network
from jmeta.experiments._options import option
from jmeta.experiments._parts import Episode, Points

_TURNS = 4  # quarter turns that an image may be told apart by


@dataclass(frozen=True)
class Supervised(Algorithm):
    """Supervised training on all training classes; a subclass says how episodes are tested.

    A batch is drawn from the images of all training classes, and a classifier of these classes is
    trained on the embedding. Validation and test drop the classifier.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classes",)
    pools_classes: ClassVar[bool] = True
    batch: int = option(64, "Images of a batch; an update has as many batches as tasks.", least=1)
    classifier: str = option(
        "linear", "The classifier of the training classes.", choices=("linear", "cosine")
    )
    sharpness: float = option(10.0, "How much the cosine classifier multiplies by.", least=0)
    label_smoothing: float = option(
        0.0, "Share of a label that is spread over all classes.", least=0, below=1
    )
    mixup: float = option(
        0.0, "Mixup: each image is mixed with another one by Beta(α, α); 0: none.", least=0
    )
    turns: float = option(
        0.0, "Weight of telling by which quarter turn an image was turned; 0: none.", least=0
    )

    def tested(self, embed: Net, episode: Episode, *, path: bool = False) -> Learner:
        """The learner over the embedding that validation and test take."""
        raise NotImplementedError

    def shareable(self, episode: Episode | Points) -> tuple[int, ...]:
        """The batch."""
        del episode
        return (self.batch,)

    def domain(self, domain: Domain) -> Domain:
        """The same domain, trained on batches: the query of a task is a batch of all classes."""

        def sample(key: Key, pool: Any) -> Task:
            if not isinstance(pool, Pool):  # a run is built again where its data are not
                drawn = domain.sample_train(key, pool)
                y = jnp.zeros(drawn.query.x.shape[:1], jnp.int32)
                return drawn._replace(query=drawn.query._replace(y=y))
            return pooled_batch(key, pool, size=self.batch)

        return domain._replace(sample_train=sample)

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner, and the cross-entropy of the training classes."""
        assert isinstance(episode, Episode)
        embed = network.module(None)
        tested, classes = self.tested(embed, episode), trained_classes(domain)

        def init(key: Key, task: Task) -> Params:
            embed_key, own, turn = jax.random.split(key, 3)
            x = first_example(task.support.x)
            params = init_net(embed, embed_key, x)
            width = jax.eval_shape(embed.apply, params, x).shape[-1]
            made = {"embed": params, "classifier": _linear(own, width, classes)}
            return {**made, "turns": _linear(turn, width, _TURNS)} if self.turns else made

        def adapt(params: Params, support: Batch) -> Any:
            return tested.adapt(params["embed"], support)

        learner = Learner(init, adapt, tested.predict, tested.masked)
        change = None if episode.augment is None else augment.named(episode.augment)

        def loss(params: Params, task: Task) -> tuple[Scalar, jax.Array]:
            return self._loss(embed, change, params, task.query)

        return Method(learner, constant(loss), fix_embedding(fix_of(network, embed)))

    def _loss(
        self, embed: Net, change: augment.Augment | None, params: Params, batch: Batch
    ) -> tuple[Scalar, jax.Array]:
        """The loss of a batch, and the logits of its images."""
        assert batch.key is not None
        change_key, mix_key, turn_key = jax.random.split(batch.key, 3)
        real = real_examples(batch.y)
        x = batch.x if real is None else blanked(batch.x, real)
        x = x if change is None else change(change_key, x)
        classes = params["classifier"]["kernel"].shape[1]
        y = jax.nn.one_hot(batch.y, classes, dtype=jnp.float32)
        y = (1 - self.label_smoothing) * y + self.label_smoothing / classes
        if self.mixup:
            x, y = augment.mixup(mix_key, x, y, alpha=self.mixup)

        def features(x: jax.Array) -> jax.Array:
            found: jax.Array = bound(embed, None)(params["embed"], again_marked(embed, x, real))
            return found

        logits = self._logits(params["classifier"], features(x))
        value = -_mean(jnp.sum(y * jax.nn.log_softmax(logits), -1), real)
        if not self.turns:
            return value, logits
        which = jax.random.randint(turn_key, x.shape[:1], 0, _TURNS)
        found = _affine(params["turns"], features(augment.turned(x, which)))
        told = jnp.take_along_axis(jax.nn.log_softmax(found), which[:, None], -1)
        return value - self.turns * _mean(told[:, 0], real), logits

    def _logits(self, layer: Params, z: jax.Array) -> jax.Array:
        if self.classifier == "linear":
            return _affine(layer, z)
        return self.sharpness * distances.cosine_similarity(z, layer["kernel"].T)


@dataclass(frozen=True)
class Pretrain(Supervised):
    """Supervised training on all training classes, tested by the nearest class mean in episodes.

    With `classifier` "linear" this is Baseline before its fine-tuning, with "cosine" Baseline++.
    """

    name: ClassVar[str] = "pretrain"
    title: ClassVar[str] = "supervised training on all classes, then the nearest class mean"
    paper: ClassVar[str] = "Chen et al., 2019, arXiv:1904.04232"
    nearest: str = option(
        "cosine", "Distance to class means in episodes.", choices=("cosine", "euclidean")
    )

    def tested(self, embed: Net, episode: Episode, *, path: bool = False) -> Learner:
        """The nearest class mean."""
        del path
        near = distances.cosine if self.nearest == "cosine" else distances.squared_euclidean
        return learners.metric(embed, learners.prototypical(episode.testing().ways, distance=near))


def pooled_batch(key: Key, pool: Pool, *, size: int) -> Task:
    """A task whose query is a batch of all classes; with its first example as the support set."""
    batch = sample_batch(key, pool, size=size)
    return Task(Batch(batch.x[:1], batch.y[:1], batch.key), batch)


def trained_classes(domain: Domain) -> int:
    """The number of training classes.

    Raises:
        ValueError: the domain has none.
    """
    if isinstance(domain.train, Pool):
        return len(domain.train.counts)
    known = domain.info.get("train_classes")
    if not isinstance(known, int):
        raise ValueError("supervised training needs a set of classes with examples.")
    return known


def _linear(key: Key, width: int, classes: int) -> Params:
    kernel = jax.nn.initializers.lecun_normal()(key, (width, classes), jnp.float32)
    return {"kernel": kernel, "bias": jnp.zeros(classes)}


def _mean(values: jax.Array, real: jax.Array | None) -> jax.Array:
    """The mean over the examples [N] that are not padding."""
    if real is None:
        return jnp.mean(values)
    return jnp.sum(jnp.where(real, values, 0)) / jnp.maximum(jnp.sum(real), 1)


def _affine(layer: Params, z: jax.Array) -> jax.Array:
    return z @ layer["kernel"] + layer["bias"][None]


TABLE: tuple[type[Algorithm], ...] = (Pretrain,)

"""Supervised training whose episodes are tested by fine-tuning on the support set."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import jax

from jmeta import core, learners
from jmeta.core import Batch, Learner, Net, Params, Selection
from jmeta.core._networks import init_net
from jmeta.experiments._algorithm import Algorithm, Method
from jmeta.experiments._descending import along_path, smooth
from jmeta.experiments._domain import Domain, example_task
from jmeta.experiments._networks import Network
from jmeta.experiments._options import option
from jmeta.experiments._parts import OPTIMIZERS, Episode, Points, names_in
from jmeta.experiments._supervised import Supervised


@dataclass(frozen=True)
class FineTuning(Supervised):
    """Supervised training on all training classes, then fine-tuning on each support set.

    The classifier of the training classes is dropped, and a new head of the same kind is trained on
    the support set: Baseline, and with `classifier` "cosine" Baseline++. `--init-from RUN --steps
    0` tests what another run has learned.
    """

    name: ClassVar[str] = "fine-tuning"
    title: ClassVar[str] = "supervised training on all classes, then a new head for each episode"
    paper: ClassVar[str] = "Chen et al., 2019, arXiv:1904.04232"
    tunes: str = option(
        "head",
        "What is trained on a support set: head, all, or names of layers of the network, separated "
        "by commas, which are trained with the head.",
    )
    lora: int | None = option(
        None,
        "Rank of low-rank adapters beside the layers that tunes names, which must be more than "
        "head. The adapters and the head are then trained, and the layers are not. None: there are "
        "none.",
        least=1,
    )
    inner_steps: int = option(100, "Steps of fine-tuning, each on the whole support set.", least=0)
    inner_rate: float = option(0.01, "Learning rate of fine-tuning.", least=0)
    inner_optimizer: str = option("adam", "The optimizer of fine-tuning.", choices=OPTIMIZERS)
    head_start: str = option(
        "means",
        "Where a new head starts: at the means of the classes, or at zero (linear alone).",
        choices=("means", "zero"),
    )
    l2_sp: float = option(
        0.0, "How strongly what is trained of the network is held near its start.", least=0
    )
    head_decay: float = option(0.0, "How strongly the new head is held near zero.", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classifier == "cosine" and self.head_start == "zero":
            raise ValueError("a cosine head cannot start at zero: head_start must be means.")
        if set(self._names()) == {"head"} and self.lora is not None:
            raise ValueError("lora is for layers below the head: tunes must be all, or name them.")

    def _names(self) -> tuple[str, ...]:
        """The names that are trained.

        Raises:
            ValueError: there is none.
        """
        return names_in(self.tunes, "tunes")

    def _selection(self) -> Selection:
        """What is trained on a support set, of {"body": ..., "head": ...}."""
        names = set(self._names())

        def is_head(path: str) -> bool:
            return path.startswith("head/")

        def is_tuned(path: str) -> bool:
            return "all" in names or bool((names - {"head"}) & set(path.split("/")[1:]))

        if self.lora is not None:
            return core.low_rank(is_tuned, rank=self.lora, also=is_head)
        return core.part(lambda path: is_head(path) or is_tuned(path))

    def tested(self, embed: Net, episode: Episode, *, path: bool = False) -> Learner:
        """Fine-tuning."""
        tx = smooth(self.inner_optimizer, self.inner_rate)
        return learners.fine_tuning(
            embed,
            core.unrolled(tx, self.inner_steps, path=path),
            ways=episode.testing().ways,
            adapts=self._selection(),
            head=cast(Any, self.classifier),
            start=cast(Any, self.head_start),
            scale=self.sharpness,
            near=self.l2_sp,
            decay=self.head_decay,
        )

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner, the cross-entropy of the training classes, and the curve of its steps."""
        assert isinstance(episode, Episode)
        episodes, embed = episode, network.module(None)
        self._check_names(embed, domain)
        method = super().build(network, domain, episode)

        def curve(steps: int) -> Learner:
            longer = replace(self, inner_steps=steps).tested(embed, episodes, path=True)

            def adapt(params: Params, support: Batch) -> Any:
                return longer.adapt(params["embed"], support)

            return along_path(method.learner._replace(adapt=adapt, predict=longer.predict))

        return method._replace(steps=self.inner_steps, curve=curve)

    def _check_names(self, embed: Net, domain: Domain) -> None:
        """Refuse a name that no layer of the network has, and adapters that have no layer.

        Raises:
            ValueError: it lists what there is.
        """
        x = example_task(domain).support.x[:1]
        params = jax.eval_shape(lambda key: init_net(embed, key, x), jax.random.key(0))
        for name in self._names():
            if name not in ("all", "head"):
                try:
                    core.part(name).take(params)
                except ValueError as error:
                    raise ValueError(f"tunes: {error}") from error
        if self.lora is not None:
            try:
                jax.eval_shape(self._selection().init, {"body": params, "head": {}})
            except ValueError as error:
                raise ValueError(f"lora: {error}") from error


TABLE: tuple[type[Algorithm], ...] = (FineTuning,)

"""Sources of regression tasks: tables, and families of functions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax

from jmeta import data, losses, metrics
from jmeta.core import Key, Task
from jmeta.experiments import _curves
from jmeta.experiments._domain import Domain
from jmeta.experiments._options import option
from jmeta.experiments._parts import Episode, Points
from jmeta.experiments._source import SPLIT_HELP, Filed, Root, Scaling, Source


@dataclass(frozen=True)
class Numbers(Source):
    """Tasks of regression."""

    kind: ClassVar[str] = "numbers"

    def domain(
        self,
        pools: tuple[Any, Any, Any],
        sample: Callable[..., Task],
        episode: Episode | Points,
        info: dict[str, Any],
    ) -> Domain:
        """The domain of a sampler with the options `shots` and `queries`; judged by its error."""
        sizes = [episode.training(), episode.testing()]
        train, test = (partial(sample, shots=n.shots, queries=n.queries) for n in sizes)
        smallest = partial(sample, shots=1, queries=1)
        targets = jax.eval_shape(smallest, jax.random.key(0), pools[2]).query.y
        return Domain(
            "numbers",
            *pools,
            sample_train=train,
            sample_eval=test,
            outputs=targets.shape[-1],
            objective=losses.mean_squared_error,
            report=metrics.regression_report,
            metric="mse",
            score=losses.mean_squared_error,
            higher_is_better=False,
            info=info,
            draw=partial(_curves.regression, info=info),
        )


@dataclass(frozen=True)
class Table(Numbers, Filed):
    """A CSV of many regression tasks: a row an example, a column that names its task.

    The path is FILE.csv, and perhaps FILE.csv,task=COLUMN,target=COLUMN,drop=COLUMN.
    """

    name: ClassVar[str] = "table"
    split: str | None = option(None, SPLIT_HELP)
    drop_missing: bool = option(
        False, "Leave out the rows with an empty cell, and count them. Otherwise it is refused."
    )

    def open(self, episode: Episode | Points, *, seed: int, root: Root = None) -> Domain:
        """Load the table; errors are in squared deviations of the training tasks' targets."""
        return self._loaded(episode, seed=seed, root=root)

    def open_scaled(
        self, scaling: Scaling, episode: Episode | Points, *, seed: int, root: Root = None
    ) -> Domain:
        """Load the table, standardised by stored means and deviations and not by its own."""
        return self._loaded(episode, seed=seed, root=root, scaling=scaling)

    def _loaded(self, episode: Episode | Points, **options: Any) -> Domain:
        mine: dict[str, Any] = {"split": self.split, "drop_missing": self.drop_missing}
        found = data.load(self.label, **mine, **options)
        pools = found.train, found.val, found.test
        return self.domain(pools, data.sample_table_task, episode, found.info)


@dataclass(frozen=True)
class Functions(Numbers):
    """A family of functions, whose tasks are made of a key alone."""

    name: ClassVar[str] = "sinusoid"

    def open(self, episode: Episode | Points, *, seed: int, root: Root = None) -> Domain:
        """As many tasks for each part as are asked for."""
        draw = data.FAMILIES[self.name]

        def sample(key: Key, pool: Any, *, shots: int, queries: int) -> Task:
            return draw(key, shots=shots, queries=queries)

        return self.domain(((), (), ()), sample, episode, {"source": data.FORMULAS[self.name]})


def _family(name: str) -> type[Functions]:
    """The source of one family; its name is its whole state."""
    title = "".join(word.title() for word in name.split("-"))
    made = type(title, (Functions,), {"name": name, "__doc__": f"{data.FORMULAS[name]}."})
    return dataclass(frozen=True)(made)


FAMILIES: tuple[type[Functions], ...] = tuple(_family(name) for name in data.FAMILIES)
globals().update({made.__name__: made for made in FAMILIES})  # so that experiments can be pickled
TABLE: tuple[type[Source], ...] = (Table, *FAMILIES)

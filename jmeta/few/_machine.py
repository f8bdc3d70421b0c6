"""The functions of a stored model, compiled once for each number of classes."""

from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np

from jmeta.core import Batch, Learner, PyTree
from jmeta.experiments import ALGORITHMS
from jmeta.runs import _model as stored
from jmeta.runs._model import Model

SEED = 0  # of what a stochastic learner draws, so that answers repeat


class Functions(NamedTuple):
    """A learner, and its two functions as programs."""

    learner: Learner
    adapt: Any  # (params, x [S, ...], y) -> adapted
    predict: Any  # (adapted, x [Q, ...]) -> outputs [Q, ...]


class Machine:
    """A stored model as functions; its parameters are arguments."""

    def __init__(self, model: Model) -> None:
        self.model, self.facts = model, model.facts
        self.functions = cache(self._functions)

    def __reduce__(self) -> tuple[Any, ...]:
        """Programs are compiled again in another process."""
        return Machine, (self.model,)

    @property
    def ways(self) -> int | None:
        """The classes of a test episode; None for regression."""
        episode = self.model.experiment.episode
        return episode.testing().ways if self.facts["kind"] == "classes" and episode else None

    @property
    def title(self) -> str:
        """Algorithm and data, in words."""
        return f"{self.model.experiment.algorithm.name} on {self.model.record['dataset']}"

    def check_ways(self, ways: int) -> None:
        """Refuse another number of classes where the learner has one output a class.

        Raises:
            ValueError: it cannot adapt to so many; the message names learners that can.
        """
        algorithm = self.model.experiment.algorithm
        if not algorithm.one_output_a_class or ways == self.ways:
            return
        able = [
            name
            for name, each in ALGORITHMS.items()
            if "classes" in each.kinds and not each.one_output_a_class
        ]
        raise ValueError(
            f"{algorithm.name} has one output a class and was trained with {self.ways} classes, "
            f"so it cannot adapt to {ways}; give examples of {self.ways} classes, or train one of "
            f"{', '.join(able)}, which take any number."
        )

    def _functions(self, ways: int | None) -> Functions:
        learner = stored.built(self.model, ways=ways)

        def adapt(params: PyTree, x: jax.Array, y: jax.Array) -> PyTree:
            return learner.adapt(params, Batch(x, y, jax.random.key(SEED)))

        traced = self.model.experiment.device.traced
        return Functions(learner, jax.jit(traced(adapt)), jax.jit(traced(learner.predict)))

    def adapted_like(self, count: int, ways: int | None) -> PyTree:
        """The shapes and dtypes of what is adapted to so many examples."""
        example, width = self.facts["example"], self.facts["outputs"]
        x = jax.ShapeDtypeStruct((count, *example["shape"]), example["dtype"])
        numbers, labels = ((count, width), np.float32), ((count,), np.int32)
        y = jax.ShapeDtypeStruct(*(numbers if ways is None else labels))
        return jax.eval_shape(self.functions(ways).adapt, stored.like(self.model), x, y)

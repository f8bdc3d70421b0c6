"""What an algorithm is: options, and the learner and the loss that it makes of a network."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jmeta import nn
from jmeta.core import Learner, Loss, Params, Task
from jmeta.experiments._domain import Domain
from jmeta.experiments._networks import Network
from jmeta.experiments._options import Part
from jmeta.experiments._parts import Episode, Points

SCALE_HELP = "How much the attention multiplies a cosine by (an inverse temperature)."


class Method(NamedTuple):
    """What an algorithm makes of a network, a domain and an episode."""

    learner: Learner  # as it is validated and tested
    loss: Callable[[int | jax.Array], Loss]  # outer updates so far (traced) -> what is descended
    fix: Callable[[Params, Task], Params] | None = None  # batch statistics of tasks [T, ...]
    steps: int | None = None  # inner steps in testing; None for a learner that takes none
    curve: Callable[[int], Learner] | None = None  # K -> predictions after 0, 1, ..., K steps


@dataclass(frozen=True)
class Algorithm(Part):
    """A meta-learning algorithm. A subclass of your own defines `build`, and its options as fields.

    The same object makes a run, a benchmark, a contract test and a line of the documentation.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""  # what it does, in a few words
    paper: ClassVar[str] = ""  # authors, year, arXiv id
    kinds: ClassVar[tuple[str, ...]] = ("classes", "numbers")  # of targets that it can learn
    one_output_a_class: ClassVar[bool] = False  # then training has as many ways as testing
    reads_inputs: ClassVar[bool] = False  # whether it can do without a network
    pools_classes: ClassVar[bool] = False  # whether it reads the labels of all training classes

    def domain(self, domain: Domain) -> Domain:
        """The domain as this algorithm needs it; a neural process has its own likelihood."""
        return domain

    def shareable(self, episode: Episode | Points) -> tuple[int, ...]:
        """The batches that the network gets of a training task, if devices may share each of them.

        That pays where the network is the largest part of an update and there is no inner loop of
        small batches. Devices then share the examples of a task (see `jmeta.step`). An algorithm
        says () if they shall not.

        Args:
            episode: the numbers of an episode.
        """
        del episode
        return ()

    def build(self, network: Network, domain: Domain, episode: Episode | Points) -> Method:
        """The learner and its loss.

        Args:
            network: makes the modules.
            domain: the tasks, and what is descended on them.
            episode: the numbers of an episode.

        Raises:
            ValueError: a network that the algorithm cannot use.
        """
        raise ValueError(
            f"{type(self).__name__} has no build(network, domain, episode); define it so that it "
            "returns a Method of the learner and its loss."
        )


def constant(loss: Loss) -> Callable[[int | jax.Array], Loss]:
    """A loss that is the same throughout training."""
    return lambda step: loss


def fix_embedding(
    fix: Callable[[Params, Task], Params] | None,
) -> Callable[[Params, Task], Params] | None:
    """The same on the entry "embed" of a dictionary of parameters."""
    if fix is None:
        return None
    return lambda params, tasks: {**params, "embed": fix(params["embed"], tasks)}


def fix_of(network: Network, module: Any) -> Callable[[Params, Task], Params] | None:
    """How the batch statistics of a module are fixed; None where it has none."""
    if not network.transductive:
        return None
    return lambda params, tasks: nn.population_statistics(module, params, inputs_of(tasks))


def inputs_of(tasks: Task, most: int = 4096) -> jax.Array:
    """The inputs of some tasks [T, ...], as one batch of at most so many."""
    x = jnp.concatenate([tasks.support.x, tasks.query.x], axis=1)
    return x.reshape(-1, *x.shape[2:])[:most]

"""The domain of a source without its data: what a learner needs to know to be built again."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta import losses, metrics
from jmeta.core import Batch, Key, Objective, Task
from jmeta.data import Pool
from jmeta.experiments._domain import Domain, Sampler, example_task
from jmeta.experiments._parts import Episode, Points, Size
from jmeta.experiments._source import Source

_LARGEST = 10**8  # numbers of an example
OBJECTIVES: dict[str, Objective] = {  # what a stored learner may descend when it adapts
    "cross_entropy": losses.cross_entropy,
    "mean_squared_error": losses.mean_squared_error,
}
FACTS = {
    "objective": (str, None),
    "kind": str,
    "example": {"shape": [int], "dtype": str},
    "outputs": int,
    "pixels": bool,
    "inverted": bool,
    "features": (list, None),
    "target": (dict, None),
    "scaling": (dict, None),
}


def facts_of(source: Source, domain: Domain) -> dict[str, Any]:
    """What somebody else's examples must look like, for JSON.

    Args:
        source: of the domain.
        domain: opened from it.

    Returns:
        `objective`, or None for one of a person's own; `kind`; shape and dtype of one `example`, as
        networks see it; width of `outputs`; whether an example is made of `pixels`, 0 to 255, and
        `inverted`, so that paper is 0 and ink 1; of a table its `features`, `target` and
        `scaling`; and the number of `train_classes`, where there are such.
    """
    x = example_task(domain, train=False).query.x
    stored = getattr(domain.test, "examples", None)
    pixels = domain.kind == "classes" and stored is not None and stored.dtype == np.uint8
    named = (name for name, each in OBJECTIVES.items() if each is domain.objective)
    return {
        "objective": next(named, None),
        "kind": domain.kind,
        "example": {"shape": list(x.shape[1:]), "dtype": str(x.dtype)},
        "outputs": domain.outputs,
        "pixels": pixels,
        "inverted": source.inverted,
        "features": domain.info.get("features"),
        "target": domain.info.get("target"),
        "scaling": domain.info.get("scaling"),
        "train_classes": len(domain.train.counts) if isinstance(domain.train, Pool) else None,
    }


def check_facts(facts: Mapping[str, Any]) -> None:
    """Refuse facts that fit their schema and cannot be: they come from a file.

    Raises:
        ValueError: it says which.
    """
    example, dtypes = facts["example"], ("float32", "float64", "int32", "int64", "uint8", "bool")
    if facts["kind"] not in ("classes", "numbers"):
        raise ValueError(f"its kind is {facts['kind'][:40]!r}.")
    if facts["objective"] not in OBJECTIVES:
        raise ValueError("its learner descends an objective of its own, which no file can hold.")
    if example["dtype"] not in dtypes or not 0 < math.prod(example["shape"]) < _LARGEST:
        raise ValueError("its examples have no shape and dtype that a network takes.")
    if not 0 < facts["outputs"] < _LARGEST:
        raise ValueError(f"its outputs are {facts['outputs']}.")
    if not 0 < (facts.get("train_classes") or 1) < _LARGEST:
        raise ValueError(f"its training classes are {facts['train_classes']}.")
    if facts["features"] is not None and not (facts["scaling"] and facts["target"]):
        raise ValueError("its features have no scaling.")


def bare_domain(facts: Mapping[str, Any], episode: Episode | Points, outputs: int) -> Domain:
    """A domain of zeros, for building the learner of a run where its data are not.

    Args:
        facts: from `facts_of`.
        episode: the numbers of an episode.
        outputs: classes of a test episode, or the width of the targets.
    """
    classes = facts["kind"] == "classes"
    return Domain(
        facts["kind"],
        *((), None, ()),
        sample_train=_zeros(facts, episode.training(), outputs),
        sample_eval=_zeros(facts, episode.testing(), outputs),
        outputs=outputs,
        objective=OBJECTIVES[facts["objective"]],
        report=metrics.classification_report if classes else metrics.regression_report,
        metric="accuracy" if classes else "mse",
        score=metrics.accuracy if classes else losses.mean_squared_error,
        higher_is_better=classes,
        info={"train_classes": facts.get("train_classes")},
    )


def _zeros(facts: Mapping[str, Any], size: Size, outputs: int) -> Sampler:
    """A sampler of episodes of the right shapes, all zeros."""
    shape, dtype = tuple(facts["example"]["shape"]), facts["example"]["dtype"]
    ways = size.ways if facts["kind"] == "classes" else 1

    def batch(each: int, key: Key) -> Batch:
        count = ways * each
        labels = jnp.repeat(jnp.arange(ways, dtype=jnp.int32), each)
        y = labels if facts["kind"] == "classes" else jnp.zeros((count, outputs))
        return Batch(jnp.zeros((count, *shape), dtype), y, key)

    def sample(key: Key, pool: Any) -> Task:
        del pool
        return Task(batch(size.shots, key), batch(size.queries, key))

    return sample


def abstract(tree: Any) -> Any:
    """The shapes and dtypes of a tree."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)

"""What a source opens to: pools, samplers, and how a prediction is judged."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jmeta.core import Key, Objective, Outputs, Targets, Task
from jmeta.data import Pool
from jmeta.metrics import Report

Sampler = Callable[[Key, Any], Task]  # (key, pool) -> task
Each = Callable[[Outputs, Targets], dict[str, jax.Array]]  # name -> a number an episode [E]
Draw = Callable[[Task, Any, Path], None]  # (task, query outputs, file) -> a picture in the file


class Domain(NamedTuple):
    """Tasks, and what is good on them. Pools are arguments of programs, never constants."""

    kind: str  # "classes", or "numbers" for regression
    train: Any  # a pool, or () for a family of functions
    val: Any  # None where the set has no validation part
    test: Any
    sample_train: Sampler
    sample_eval: Sampler
    outputs: int  # width of a prediction: the classes of a test episode, or of the targets
    objective: Objective  # what a learner descends
    report: Report
    metric: str  # the entry of the report that says how good a learner is
    score: Callable[[Outputs, Targets], jax.Array]  # the same for one task
    higher_is_better: bool
    info: dict[str, Any]  # JSON-able facts: split, hash, classes, shape, source, licence
    draw: Draw | None = None  # None where an episode has no picture
    each: Each | None = None  # metrics of single episodes; None for `metric` alone


def example_task(domain: Domain, *, train: bool = True) -> Task:
    """A task of the right shapes, all zeros, without a key: what `learner.init` reads.

    Args:
        domain: the domain.
        train: a training task, or a test task.
    """
    sample = domain.sample_train if train else domain.sample_eval
    pool = domain.train if train else domain.test
    shapes = jax.eval_shape(sample, _key(), pool)
    bare = Task(*(batch._replace(key=None) for batch in shapes))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), bare)


def _key() -> Any:
    """The shape and dtype of a key, without the programs that make one."""
    return jax.eval_shape(jax.random.key, 0)


def check_pools(domain: Domain, parts: Iterable[str] = ("train", "val", "test")) -> None:
    """Draw one episode of each part abstractly, so that an impossible one is found at once.

    Args:
        domain: the domain.
        parts: the parts that episodes are drawn from.

    Raises:
        ValueError: the classes or tasks of some parts cannot fill their episodes; it names all.
    """
    what = "classes" if domain.kind == "classes" else "tasks"
    wrong = []
    for part in parts:
        pool = getattr(domain, part)
        sample = domain.sample_train if part == "train" else domain.sample_eval
        if pool is None:
            continue
        try:
            jax.eval_shape(sample, _key(), pool)
        except ValueError as error:
            wrong.append(f"{part} {what}: {error}{_smallest(domain, part)}")
    if wrong:
        raise ValueError(" ".join(wrong))


def _smallest(domain: Domain, part: str) -> str:
    """The name of the smallest class of a part, where its classes differ in size."""
    pool, names = getattr(domain, part), domain.info.get("classes", {}).get(part, [])
    if not isinstance(pool, Pool) or len(names) != len(pool.counts):
        return ""
    if pool.smallest == pool.largest:
        return ""
    return f" (Its smallest class is {names[int(np.argmin(np.asarray(pool.counts)))]!r}.)"

"""The devices of a run, and what they share: the tasks of an update, or the examples of a task."""

import math
from collections.abc import Iterable

import jax
from jax.sharding import Mesh

from jmeta import core
from jmeta.core._step import Share
from jmeta.experiments import Domain, Experiment, example_task

# From so many pixels of a task on, the devices of a CPU win more by sharing its examples than they
# lose by waiting for each other: some 80 images of 28x28. Accelerators and several processes wait
# longer, so they share examples only if they are asked to.
_WORTHWHILE = 2**16


def shared(experiment: Experiment, domain: Domain) -> tuple[Mesh, Share]:
    """As many devices as divide the tasks of an update, or as many as the experiment asks for.

    Devices share the examples of a task where they do not divide the tasks, if they divide its
    batches, the network and the algorithm allow it, and the task is large or they are asked for.

    Args:
        experiment: a completed experiment.
        domain: its tasks.

    Raises:
        ValueError: more devices than there are, or a number that divides neither.
    """
    tasks, batches = experiment.budget.tasks, _batches(experiment)
    asked, processes = experiment.device.devices, jax.process_count()
    if asked is not None:
        if tasks % asked and (not batches or math.gcd(*batches) % asked):
            raise ValueError(_refusal(tasks, batches, asked))
        return core.task_mesh(asked), "examples" if tasks % asked else "tasks"
    several = range(processes, processes * jax.local_device_count() + 1, processes)
    by_tasks = _most(several, tasks)
    if by_tasks < 2 and processes == 1 and jax.default_backend() == "cpu":
        size = sum(batches) * _pixels(domain) if batches else 0
        devices = _most(several, math.gcd(*batches)) if size >= _WORTHWHILE else 0
        if devices > 1:
            return core.task_mesh(devices), "examples"
    if not by_tasks:
        raise ValueError(
            f"{tasks} tasks an update cannot be shared among {processes} processes; "
            "choose tasks as a multiple of them."
        )
    return core.task_mesh(by_tasks), "tasks"


def _batches(experiment: Experiment) -> tuple[int, ...]:
    """The batches of a training task whose examples devices may share."""
    network, algorithm, episode = experiment.network, experiment.algorithm, experiment.episode
    assert network is not None and algorithm is not None and episode is not None
    return algorithm.shareable(episode) if network.by_example else ()


def _pixels(domain: Domain) -> int:
    """Pixels of an image."""
    return math.prod(example_task(domain).support.x.shape[1:-1])


def _most(choices: Iterable[int], whole: int) -> int:
    """The largest choice that divides a number; 0 if none does."""
    return max((n for n in choices if whole % n == 0), default=0)


def _refusal(tasks: int, batches: tuple[int, ...], devices: int) -> str:
    """The sentence about devices that divide nothing.

    >>> _refusal(1, (), 2).partition("; ")[2]
    'choose tasks as a multiple of devices.'
    >>> _refusal(1, (5, 25), 2).partition("; ")[2]
    'choose tasks, or each of the numbers of examples, as a multiple of devices.'
    """
    said = f"{tasks} tasks an update cannot be shared among {devices} devices"
    if not batches:
        why = "and this algorithm or network does not share the examples of a task"
        return f"{said}, {why}; choose tasks as a multiple of devices."
    sizes = " and ".join(str(size) for size in dict.fromkeys(batches))
    return (
        f"{said}, nor can the {sizes} examples of a task; choose tasks, or each of the numbers of "
        "examples, as a multiple of devices."
    )

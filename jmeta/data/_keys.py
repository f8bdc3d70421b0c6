"""The keys that a drawn task carries for learners that want randomness of their own."""

import jax
from jax import Array

from jmeta.core import Task

# `jax.random.split` numbers its keys from 0, so these can never equal a key that a sampler used.
_SUPPORT = 2**31 - 1
_QUERY = 2**31 - 2


def with_keys(task: Task, key: Array) -> Task:
    """Give the support and the query set of a task a key each.

    Both keys are folded in from the key that the task was drawn with. They are independent of each
    other and of everything that was drawn, so a task's examples are the same with and without them.

    Args:
        task: the task, without keys.
        key: the key that the whole task was drawn with.

    Returns:
        The task with `support.key` and `query.key`, for dropout, latents or augmentation.

    >>> from jmeta.core import Batch
    >>> empty = Batch(None, None)
    >>> task = with_keys(Task(empty, empty), jax.random.key(0))
    >>> task.support.key.shape, bool(task.support.key == task.query.key)
    ((), False)
    """
    support = task.support._replace(key=jax.random.fold_in(key, _SUPPORT))
    return Task(support, task.query._replace(key=jax.random.fold_in(key, _QUERY)))

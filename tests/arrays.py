"""Random arrays, comparisons of arrays and tasks, and a network that is quick to compile."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jmeta import nn
from jmeta.core import Task


def arrays(seed: int, *shapes: tuple[int, ...], dtype=jnp.float64) -> list[jax.Array]:
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def close(a, b, tolerance=1e-9):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance), a, b
    )


def dense(params, x):
    """A dense layer by NumPy."""
    return x @ np.asarray(params["kernel"]) + np.asarray(params.get("bias", 0))


class Small(linen.Module):
    """One block of Conv4 in its max-pool form, quick to compile."""

    @linen.compact
    def __call__(self, x):
        return nn.mean_pool(linen.relu(nn.max_pool(nn.Norm("batch")(nn.Conv(4)(x)))))


def without_keys(task: Task) -> Task:
    """A task, or a batch of them, with neither of its keys, which NumPy cannot hold."""
    return Task(task.support._replace(key=None), task.query._replace(key=None))

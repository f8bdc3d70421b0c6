"""Padded examples: which they are, and how networks and learners are told."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta.core._types import Batch, Padded, PyTree


def real_examples(y: PyTree) -> jax.Array | None:
    """Which examples are not padding: [N] bool, or None where all are.

    Targets that are not labels [N] have no padding. Labels whose values are known, as those of
    `jmeta.data.sample_episode` are inside a trace too, are looked at, so that nothing is computed
    for a padding that is not there.

    >>> real_examples(jnp.array([2, -1])).tolist()
    [True, False]
    >>> real_examples(jnp.array([2, 1])) is None, real_examples(jnp.ones((2, 1))) is None
    (True, True)
    """
    kind = getattr(y, "dtype", None)
    if kind is None or not jnp.issubdtype(kind, jnp.integer) or y.ndim != 1:
        return None
    if not isinstance(y, jax.core.Tracer) and (np.asarray(y) != -1).all():
        return None
    return y != -1


def is_masked(owner: Any) -> bool:
    """Whether a network, a learner or a head can be told which examples are padding.

    >>> from jmeta.nn import MLP
    >>> is_masked(MLP(norm="batch")), is_masked(MLP(norm="layer"))
    (True, False)
    """
    return bool(getattr(owner, "masked", False))


def is_transductive(owner: Any) -> bool:
    """Whether a head or a learner predicts a query by what it sees of the other queries.

    >>> from jmeta.learners import prototypical, tim
    >>> is_transductive(tim(2)), is_transductive(prototypical(2))
    (True, False)
    """
    return bool(getattr(owner, "transductive", False))


def marked(owner: Any, batch: Batch) -> PyTree:
    """The inputs of a batch as a network, a learner or a head takes them.

    Padded examples become zeros, so that nothing in them, such as a NaN, can reach a result or a
    gradient. If `owner` is `masked`, the inputs are `Padded(x, real)`.

    Args:
        owner: the network, learner or head that will read the inputs.
        batch: inputs and labels, where -1 marks padding.

    >>> from jmeta.nn import MLP
    >>> batch = Batch(jnp.array([[1.0], [jnp.nan]]), jnp.array([0, -1]))
    >>> marked(MLP(norm="layer"), batch).tolist()
    [[1.0], [0.0]]
    >>> marked(MLP(norm="batch"), batch).real.tolist()
    [True, False]
    """
    real = real_examples(batch.y)
    if real is None:
        return batch.x
    return again_marked(owner, blanked(batch.x, real), real)


def again_marked(owner: Any, x: PyTree, real: jax.Array | None) -> PyTree:
    """Inputs that were computed from marked ones, marked for the next network, learner or head.

    Args:
        owner: the network, learner or head that will read the inputs.
        x: inputs [N, ...].
        real: [N] bool, or None if it is not known that any example is padding.

    >>> from jmeta.nn import MLP
    >>> again_marked(MLP(norm="layer"), jnp.ones((2, 1)), jnp.array([True, False])).shape
    (2, 1)
    """
    return Padded(x, real) if real is not None and is_masked(owner) else x


def unmarked(x: PyTree) -> tuple[PyTree, jax.Array | None]:
    """Inputs, and which of them are real; None if that is not known.

    >>> unmarked(Padded(3.0, jnp.array([True])))[0], unmarked(4.0)
    (3.0, (4.0, None))
    """
    return (x.x, x.real) if isinstance(x, Padded) else (x, None)


def blanked(x: PyTree, real: jax.Array) -> PyTree:
    """The same inputs with zeros in the padded examples; PRNG keys are left as they are.

    >>> blanked(jnp.array([[1.0], [2.0]]), jnp.array([True, False])).tolist()
    [[1.0], [0.0]]
    """

    def leaf(values: jax.Array) -> jax.Array:
        if jnp.issubdtype(values.dtype, jax.dtypes.prng_key):
            return values
        return jnp.where(real.reshape(-1, *(1,) * (values.ndim - 1)), values, 0)

    return jax.tree.map(leaf, x)

"""An outer optimizer that leaves some parameters as they are."""

import jax
import optax

from jmeta.core._selection import Which, chosen_paths
from jmeta.core._solvers import require_transformation
from jmeta.core._tree import paths_of
from jmeta.core._types import Params, PyTree


def frozen(tx: optax.GradientTransformation, which: Which) -> optax.GradientTransformation:
    """Optimize all parameters but some, which stay as they are, bit for bit.

    Frozen leaves have no optimizer state, and neither weight decay nor clipping by a norm sees
    them.

    Args:
        tx: the outer optimizer.
        which: the leaves that are frozen (see `part`). Each of several names must select one.

    Returns:
        A transformation for `train_state` and `step`.

    Raises:
        ValueError: `tx` is not an Optax transformation. From its `init`, a name selects nothing.

    >>> import jax.numpy as jnp
    >>> tx = frozen(optax.sgd(1.0), "body")
    >>> params = {"body": jnp.ones(1), "head": jnp.ones(1)}
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> {name: float(leaf[0]) for name, leaf in updates.items()}
    {'body': 0.0, 'head': -1.0}
    """
    require_transformation(tx, of="frozen")
    names = which if isinstance(which, tuple) else (which,)

    def labels(params: Params) -> PyTree:
        chosen = set[str]()
        for name in names:
            found = chosen_paths(name, params)
            if not found:
                raise ValueError(
                    f"{name!r} selects none of the parameters that are trained; they are "
                    f"{', '.join(paths_of(params))}."
                )
            chosen |= found
        told = ["frozen" if path in chosen else "trained" for path in paths_of(params)]
        return jax.tree.unflatten(jax.tree.structure(params), told)

    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, labels)

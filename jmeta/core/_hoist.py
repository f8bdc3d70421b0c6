"""Split a traced function: constant parts from changing ones, closed-over arrays from arguments."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from jmeta.core._types import PyTree


def hoist(f: Callable[[PyTree], Any], x: PyTree) -> Callable[[PyTree], Any]:
    """Compute now every part of a function that does not depend on its argument.

        f(x) = after(x, before),   before computed once

    An inner loop that adapts only a head then runs the body of the network once instead of at
    every step, and nobody has to cut the network in two by hand. The split is made in the traced
    program. A call of a function that is itself jitted is not split: it is computed now if none of
    its inputs depends on the argument, and later otherwise.

    Args:
        f: a traceable function, which may close over arrays and tracers.
        x: an example argument with the structure, shapes and dtypes of later arguments.

    Returns:
        A function equal to `f` for such arguments.

    >>> import jax.numpy as jnp
    >>> w = jnp.ones((3, 3))
    >>> g = hoist(lambda x: (x * (w @ w)).sum(), w)
    >>> print([str(eqn.primitive) for eqn in jax.make_jaxpr(g)(w).eqns])  # no product is left
    ['mul', 'reduce_sum']
    """
    closed, shape = jax.make_jaxpr(f, return_shape=True)(x)
    jaxpr = closed.jaxpr
    moving = set(jaxpr.invars)
    later: list[Any] = []
    now: list[Any] = []
    for eqn in jaxpr.eqns:
        depends = any(not isinstance(v, Literal) and v in moving for v in eqn.invars)
        (later if depends or eqn.effects else now).append(eqn)
        moving.update(eqn.outvars if depends or eqn.effects else ())
    used = [v for eqn in later for v in eqn.invars] + list(jaxpr.outvars)
    kept = list(dict.fromkeys(v for v in used if _is_fixed(v, moving)))
    debug = jaxpr.debug_info.with_unknown_names()
    first = jaxpr.replace(invars=[], outvars=kept, eqns=now, debug_info=debug)
    before = jaxpr_as_fun(ClosedJaxpr(first, closed.consts))()
    second = jaxpr.replace(constvars=kept, eqns=later, debug_info=debug)
    after = jaxpr_as_fun(ClosedJaxpr(second, before))
    structure = jax.tree.structure(shape)
    return lambda x: jax.tree.unflatten(structure, after(*jax.tree.leaves(x)))


def close_over(
    f: Callable[[PyTree], Any], x: PyTree
) -> tuple[Callable[[PyTree, list[Any]], Any], list[Any]]:
    """Turn the arrays that a function closes over into an argument: f(x) = pure(x, values).

    Unlike `jax.closure_convert` it converts every array, and it works inside `jax.shard_map`.

    Args:
        f: a traceable function of one pytree.
        x: an example argument with the structure, shapes and dtypes of later arguments.

    Returns:
        `pure` and the closed-over `values`.

    >>> import jax.numpy as jnp
    >>> w = jnp.full(2, 3.0)
    >>> pure, values = close_over(lambda x: (x * w).sum(), jnp.ones(2))
    >>> float(pure(jnp.ones(2), values)), len(values)
    (6.0, 1)
    """
    closed, shape = jax.make_jaxpr(f, return_shape=True)(x)
    structure = jax.tree.structure(shape)

    def pure(x: PyTree, values: list[Any]) -> Any:
        run = jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, values))
        return jax.tree.unflatten(structure, run(*jax.tree.leaves(x)))

    return pure, closed.consts


def _is_fixed(variable: Any, moving: set) -> bool:
    return not isinstance(variable, Literal) and variable not in moving

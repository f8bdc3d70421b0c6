"""Traced functions taken apart: what they close over, and what need be computed only once."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun

from jmeta.core._types import PyTree


def hoist(f: Callable[[PyTree], Any], x: PyTree) -> Callable[[PyTree], Any]:
    """The same function of one argument, with all that does not depend on it computed now.

        f(x) = after(x, before),   before computed once

    An inner loop that adapts a head runs through the body once instead of at every step, without
    the network being cut in two by hand. It works on the traced program; calls of functions that
    were jitted before are taken or left whole.

    Args:
        f: a traceable function, which may close over arrays and tracers.
        x: an argument of the structure, shapes and dtypes that it will be called with.

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
    """A function and the arrays it closes over, named: f(x) = pure(x, values).

    As `jax.closure_convert`, for every array and inside `jax.shard_map` too.

    Args:
        f: a traceable function of one pytree.
        x: an argument of the structure, shapes and dtypes that it will be called with.

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

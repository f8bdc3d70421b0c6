"""Refuse inner optimizers through which no meta-gradient can pass."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jmeta.core._tree import require_inexact
from jmeta.core._types import Params, PyTree, Scalar

# The derivative of a program without these operations is finite wherever its value is finite.
_SINGULAR = {"sqrt", "rsqrt", "cbrt", "div", "pow", "integer_pow", "log", "log1p"}
_SINGULAR |= {"acos", "acosh", "asin", "atan2", "atanh", "digamma", "lgamma"}
_SINGULAR |= {"custom_jvp_call", "custom_vjp_call", "while", "scan", "cond"}
# The derivatives of these are singular for some matrices, such as those with equal eigenvalues,
# which arrays of one element cannot show.
_FACTORISATIONS = {"cholesky", "eig", "eigh", "geqrf", "lu", "qr", "schur", "svd", "tridiagonal"}
# These only move entries. Arrays of one element need fewer of them.
_LAYOUT = {"broadcast_in_dim", "concatenate", "reshape", "slice", "squeeze", "transpose"}


def require_smooth(tx: optax.GradientTransformation, start: Params) -> None:
    """Refuse a transformation whose derivative does not exist or is not finite at a zero gradient.

    ReLU networks have exact zeros among their gradients. The derivatives of √v and |g| are not
    finite there, and every meta-gradient would be NaN. Three updates are traced with the shapes
    of `start`. Only if they contain an operation whose derivative can be singular, the derivative
    is evaluated at zero gradients: on arrays of one element where these go through the same
    operations, and on arrays of the true shapes otherwise.

    Args:
        tx: an inner optimizer. It may close over tracers, such as learned rates, whose values are
            not known: the derivative need be finite for one of two guesses only. It is not
            evaluated if these values differ among the devices of a mesh.
        start: the parameters that will be updated. Only their shapes and dtypes are read.

    Raises:
        ValueError: the derivative is not finite; the updates contain a `while` loop, which cannot
            be differentiated in reverse; or a leaf of `start` is not a floating-point array. The
            message names the fix.

    >>> require_smooth(optax.adam(0.1, eps_root=1e-8), jnp.ones(2))
    """
    require_inexact(start, what="the inner loop's start")
    moved, like = partial(_moved, tx), jax.tree.map(_like, start)
    names = _names(jax.make_jaxpr(moved)([like] * 3, like))
    if "while" in names:
        _require_reverse_mode(moved, like)
    if not (_SINGULAR | _FACTORISATIONS) & set(names):
        return
    one = jax.tree.map(lambda leaf: _like(leaf, (1,) * leaf.ndim), like)
    if not _FACTORISATIONS & set(names) and _has_same_names(moved, one, names):
        like = one
    derivative = jax.make_jaxpr(jax.grad(moved))([like] * 3, like)
    if any(map(_varies, _equations(derivative.jaxpr))) or _is_finite(derivative, like):
        return
    raise ValueError(
        "the inner optimizer has no finite derivative at a zero gradient, so that every "
        "meta-gradient would be NaN. Give it an epsilon inside the root, such as "
        "optax.adam(rate, eps_root=1e-8); replace optax.clip_by_global_norm by "
        "jmeta.core.clip_by_global_norm; or put jmeta.first_order() at the head of the chain, "
        "so that nothing is differentiated through the optimizer."
    )


def _like(leaf: Any, shape: tuple[int, ...] | None = None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(leaf) if shape is None else shape, leaf.dtype)


def _moved(tx: optax.GradientTransformation, grads: list[Params], params: Params) -> Scalar:
    """The sum of the parameters to which several updates lead."""
    update = optax.with_extra_args_support(tx).update
    state, place = tx.init(params), params
    for each in grads:
        extra = {"value": jnp.zeros(()), "grad": each, "value_fn": _square}
        updates, state = update(each, state, place, **extra)
        place = optax.apply_updates(place, updates)
    return _total(place)


def _square(params: Params) -> Scalar:
    return _total(jax.tree.map(lambda leaf: leaf * leaf.conj(), params))


def _total(tree: PyTree) -> Scalar:
    sums = jax.tree.map(lambda leaf: jnp.sum(leaf.real), tree)
    return jax.tree.reduce(jnp.add, sums, jnp.zeros(()))


def _require_reverse_mode(moved: Any, like: PyTree) -> None:
    """Refuse a loop of unknown length unless no derivative passes through it."""
    try:
        for updates in (1, 3):  # most are found in the first, in a third of the time
            jax.make_jaxpr(jax.grad(moved, argnums=(0, 1)))([like] * updates, like)
    except ValueError as error:
        raise ValueError(
            "the inner optimizer contains a while loop, such as the line search of L-BFGS, and "
            "cannot be differentiated in reverse; use jmeta.implicit(tx, steps, strength=...) "
            "instead of jmeta.unrolled, as it differentiates nothing through the optimizer."
        ) from error


def _has_same_names(moved: Any, like: PyTree, names: list[str]) -> bool:
    """Whether arrays of these shapes go through operations of these names."""
    try:
        return _names(jax.make_jaxpr(moved)([like] * 3, like)) == names
    except Exception:  # the transformation was not made for these shapes: it may raise anything
        return False


def _is_finite(derivative: ClosedJaxpr, like: PyTree) -> bool:
    """Whether a derivative is finite at zero gradients, for parameters of zeros and of ones.

    Tracers among the constants have no values yet. 1 and ½ are tried in their place, and it is
    enough that one of the two makes the derivative finite.
    """
    zeros, ones = (
        [np.full(leaf.shape, value, leaf.dtype) for leaf in jax.tree.leaves(like)]
        for value in (0, 1)
    )
    # On one element, run the operations one by one: JAX compiles each of them once a process.
    single = all(zero.size == 1 for zero in zeros)
    unknown = any(isinstance(value, jax.core.Tracer) for value in derivative.consts)
    with jax.ensure_compile_time_eval():
        for guess in (1.0, 0.5) if unknown else (1.0,):
            constants = [_known(value, guess) for value in derivative.consts]
            evaluate = jaxpr_as_fun(ClosedJaxpr(derivative.jaxpr, constants))
            run = evaluate if single else jax.jit(evaluate)
            found = [*run(*zeros * 3, *zeros), *run(*zeros * 3, *ones)]
            if all(np.isfinite(value).all() for value in found):
                return True
    return False


def _known(value: Any, guess: float) -> Any:
    """An array of the guess in the place of a tracer; square matrices are made invertible."""
    if not isinstance(value, jax.core.Tracer):
        return value
    filled = np.full(value.shape, guess, value.dtype)
    square = value.ndim > 1 and value.shape[-1] == value.shape[-2]
    return filled + np.eye(value.shape[-1], dtype=value.dtype) if square else filled


def _names(traced: ClosedJaxpr) -> list[str]:
    """The names of all operations that do more than move entries, in order."""
    names = [eqn.primitive.name for eqn in _equations(traced.jaxpr)]
    return [name for name in names if name not in _LAYOUT]


def _equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a program and of the programs inside it."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jax.tree.leaves(list(eqn.params.values())):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from _equations(getattr(inner, "jaxpr", inner))


def _varies(eqn: Any) -> bool:
    """Whether an equation reads or makes values that differ among the devices of a mesh."""
    kinds = [getattr(v.aval, "manual_axis_type", None) for v in [*eqn.invars, *eqn.outvars]]
    return any(getattr(kind, "varying", None) for kind in kinds)

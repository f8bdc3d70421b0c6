"""Refuse inner optimizers through which no meta-gradient can pass."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jmeta.core._types import Params, PyTree, Scalar

# A program without any of these primitives has a finite derivative wherever its value is finite.
_SINGULAR = {"sqrt", "rsqrt", "cbrt", "div", "pow", "integer_pow", "log", "log1p"}
_SINGULAR |= {"acos", "acosh", "asin", "atan2", "atanh", "lgamma", "digamma"}
_SINGULAR |= {"custom_jvp_call", "custom_vjp_call", "while", "scan", "cond"}
# The derivatives of these depend on more than one entry, such as on two equal eigenvalues.
_FACTORISATIONS = {"cholesky", "eig", "eigh", "geqrf", "lu", "qr", "schur", "svd", "tridiagonal"}
# These only move entries; arrays of one element need fewer of them.
_LAYOUT = {"broadcast_in_dim", "concatenate", "reshape", "slice", "squeeze", "transpose"}


def require_smooth(tx: optax.GradientTransformation, start: Params) -> None:
    """Refuse a transformation whose derivative does not exist or is not finite at a zero gradient.

    ReLU networks have exact zeros among their gradients. The derivatives of √v and |g| are not
    finite there, and every meta-gradient would be NaN. Three updates by zero gradients are traced
    with the shapes of `start`. Only if the traced program contains a root, a quotient or another
    operation whose derivative may be singular, its derivative is evaluated: on arrays of one
    element where these give the same operations, and on arrays of the true shapes otherwise.

    Args:
        tx: an inner optimizer. It may close over tracers, such as learned rates; their values are
            not known, and the derivative is accepted if it is finite for one of two guesses. A
            transformation that reads values which differ among the devices of a mesh is traced
            but not evaluated.
        start: the parameters that will be updated. Only their shapes and dtypes are read.

    Raises:
        ValueError: the derivative is not finite, or the update contains a `while` loop, which
            cannot be differentiated in reverse. The message says what to do instead.

    >>> require_smooth(optax.adam(0.1, eps_root=1e-8), jnp.ones(2))
    """
    traced = _trace(tx, jax.tree.map(lambda leaf: _like(leaf, jnp.shape(leaf)), start))
    names = _names(traced)
    if not (_SINGULAR | _FACTORISATIONS) & set(names):
        return
    if any(map(_varies, _equations(traced.jaxpr))):
        return
    if not _FACTORISATIONS & set(names):
        traced = _trace_one_element(tx, start, names) or traced
    if not _is_finite(traced, outputs=3 * len(jax.tree.leaves(start))):
        raise ValueError(
            "the inner optimizer has no finite derivative at a zero gradient, so that every "
            "meta-gradient would be NaN. Give it an epsilon inside the root, such as "
            "optax.adam(rate, eps_root=1e-8); replace optax.clip_by_global_norm by "
            "jmeta.core.clip_by_global_norm; or put jmeta.first_order() at the head of the chain, "
            "which differentiates nothing through the optimizer."
        )


def _like(leaf: jax.Array, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, leaf.dtype)


def _trace(tx: optax.GradientTransformation, like: PyTree) -> ClosedJaxpr:
    """The program of the derivative by three gradients and by the start, in this order."""
    moved = partial(_moved, tx)
    try:
        return jax.make_jaxpr(jax.grad(moved, argnums=(0, 1)))([like] * 3, like)
    except ValueError as error:
        if "while" not in _names(jax.make_jaxpr(moved)([like] * 3, like)):
            raise
        raise ValueError(
            "the inner optimizer contains a while loop, such as the line search of L-BFGS, and "
            "cannot be differentiated in reverse; use jmeta.implicit(tx, steps, strength=...) in "
            "the place of jmeta.unrolled, since it differentiates nothing through the optimizer."
        ) from error


def _trace_one_element(
    tx: optax.GradientTransformation, start: Params, names: list[str]
) -> ClosedJaxpr | None:
    """The same program on arrays of one element each; None if its operations are others."""
    try:
        traced = _trace(tx, jax.tree.map(lambda leaf: _like(leaf, (1,) * jnp.ndim(leaf)), start))
    except Exception:  # a transformation may raise anything for shapes that it was not made for
        return None
    return traced if _names(traced) == names else None


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


def _is_finite(traced: ClosedJaxpr, *, outputs: int) -> bool:
    """Whether the first outputs are finite at zero gradients, wherever the start is 0 or 1.

    Tracers among the constants have no values yet: 1 and ½ are tried for them, and it is enough
    that one of the two gives finite numbers.
    """

    @jax.jit
    def run(constants: list[Any], inputs: list[Any]) -> Any:
        return jaxpr_as_fun(ClosedJaxpr(traced.jaxpr, constants))(*inputs)[:outputs]

    zeros = [np.zeros(v.aval.shape, v.aval.dtype) for v in traced.jaxpr.invars]
    ones = zeros[:outputs] + [np.ones_like(zero) for zero in zeros[outputs:]]
    unknown = any(isinstance(value, jax.core.Tracer) for value in traced.consts)
    with jax.ensure_compile_time_eval():
        for guess in (1.0, 0.5) if unknown else (1.0,):
            constants = [_known(value, guess) for value in traced.consts]
            found = [*run(constants, zeros), *run(constants, ones)]
            if all(np.isfinite(value).all() for value in found):
                return True
    return False


def _known(value: Any, guess: float) -> Any:
    """An array of the guess in the place of a tracer; a square matrix is made invertible."""
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

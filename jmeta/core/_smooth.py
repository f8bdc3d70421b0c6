"""Refuse inner optimizers through which no meta-gradient can pass."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jmeta.core._types import Params

# Without these, a derivative is finite wherever the function is.
_SINGULAR = {
    "sqrt",
    "rsqrt",
    "cbrt",
    "div",
    "pow",
    "integer_pow",
    "log",
    "log1p",
    "custom_jvp_call",
}
_SINGULAR |= {"custom_vjp_call", "acos", "asin", "atan2", "while", "scan", "cond"}


def require_smooth(tx: optax.GradientTransformation, start: Params) -> None:
    """Refuse a transformation whose derivative at a zero gradient is not finite.

    ReLU networks have exact zeros among their gradients; there √v and |g| have no derivative, and
    every meta-gradient would be NaN. Three updates by zero are differentiated once, on arrays of
    one element each; a transformation without roots, quotients or powers is not even run.

    Args:
        tx: an inner optimizer; values that it closes over may be tracers (one stands for them).
            Those that differ among devices leave it unchecked.
        start: parameters of the structure it will be given.

    Raises:
        ValueError: the derivative is not finite, with what to do.

    >>> require_smooth(optax.adam(0.1, eps_root=1e-8), jnp.ones(2))
    """
    ones = jax.tree.map(lambda leaf: np.ones((1,) * jnp.ndim(leaf), leaf.dtype), start)
    zero = jax.tree.map(np.zeros_like, ones)
    traced = jax.make_jaxpr(lambda g: [_derivative(tx, g, at) for at in (ones, zero)])([zero] * 3)
    eqns = list(_equations(traced.jaxpr))
    if not _SINGULAR & {eqn.primitive.name for eqn in eqns} or any(map(_is_shared, eqns)):
        return
    closed = ClosedJaxpr(traced.jaxpr, [_known(value) for value in traced.consts])
    zeros = [np.zeros(v.aval.shape, v.aval.dtype) for v in traced.jaxpr.invars]
    with jax.ensure_compile_time_eval():
        found = jax.jit(jaxpr_as_fun(closed))(*zeros)
    if not all(np.isfinite(value).all() for value in found):
        raise ValueError(
            "the inner optimizer has no finite derivative at a zero gradient, so that every "
            "meta-gradient would be NaN. Give it an epsilon inside the root, such as "
            "optax.adam(rate, eps_root=1e-8); take jmeta.clip_by_global_norm for optax's; or put "
            "jmeta.first_order() at the head of the chain, where nothing is differentiated."
        )


def _derivative(tx: optax.GradientTransformation, grads: list[Params], params: Params) -> Any:
    """Gradient, by each of several gradients, of the sum of what so many updates lead to."""

    params = jax.tree.map(jnp.asarray, params)
    update = optax.with_extra_args_support(tx).update

    def moved(grads: list[Params]) -> jax.Array:
        state, place = tx.init(params), params
        for each in grads:
            extra = {"value": jnp.zeros(()), "grad": each, "value_fn": lambda _: jnp.zeros(())}
            updates, state = update(each, state, place, **extra)
            place = optax.apply_updates(place, updates)
        return jax.tree.reduce(jnp.add, jax.tree.map(jnp.sum, place))

    return jax.grad(moved)(grads)


def _equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation, those of inner programs too."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jax.tree.leaves(list(eqn.params.values())):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from _equations(getattr(inner, "jaxpr", inner))


def _is_shared(eqn: Any) -> bool:
    """Whether it reads values that differ among the devices of a mesh, and runs nowhere else."""
    kinds = [getattr(v.aval, "manual_axis_type", None) for v in [*eqn.invars, *eqn.outvars]]
    return any(getattr(kind, "varying", None) for kind in kinds)


def _known(value: Any) -> Any:
    """Ones in the place of a tracer: a learned hyperparameter has no value yet."""
    return np.ones(value.shape, value.dtype) if isinstance(value, jax.core.Tracer) else value

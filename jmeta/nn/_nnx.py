"""Flax NNX modules as the pure functions that jmeta composes."""

from collections.abc import Callable
from typing import Any


def from_nnx(module: Any) -> tuple[Callable[[Any, Any], Any], Any]:
    """Take an NNX module apart into `apply(params, x) -> outputs` and its parameters.

    `apply` is pure and goes through `jit`, `vmap` and `grad`, so that (apply, params) is used as a
    Linen `model.apply` and its variables. Only `nnx.Param`s become parameters. Other state, such
    as the running statistics of a batch normalisation after `module.eval()`, is held fixed at its
    value of now; a call that would change it is refused, since a learner adapts by its parameters
    alone.

    Args:
        module: an `nnx.Module` that is called with one argument.

    Returns:
        (apply, params), the parameters as a nested dict of arrays.

    Raises:
        ValueError: something that is no NNX module or has no `nnx.Param`; from `apply`, a call
            that changes other state (running statistics in training mode, dropout's key).

    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> apply, params = from_nnx(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    >>> apply(params, jnp.ones((4, 3))).shape, sorted(params)
    ((4, 2), ['bias', 'kernel'])
    """
    from flax import nnx

    if not isinstance(module, nnx.Module):
        raise ValueError(
            f"from_nnx expects a flax.nnx.Module, but got {type(module).__name__}; a Linen module "
            "is used as it is, through model.apply."
        )
    split: Any = nnx.split(nnx.clone(module), nnx.Param, ...)
    graph, params, rest = split
    if not nnx.to_flat_state(params):
        raise ValueError("from_nnx got a module without any nnx.Param; there is nothing to learn.")

    def apply(values: Any, x: Any) -> Any:
        state = nnx.clone(params)
        nnx.replace_by_pure_dict(state, values)
        merged = nnx.merge(graph, state, rest, copy=True)
        before = nnx.to_flat_state(nnx.state(merged, nnx.Not(nnx.Param)))
        held = [(path, variable.get_value()) for path, variable in before]
        outputs = merged(x)
        after = dict(nnx.to_flat_state(nnx.state(merged, nnx.Not(nnx.Param))))
        _refuse_changes(held, after)
        return outputs

    return apply, nnx.to_pure_dict(params)


def _refuse_changes(held: list[Any], after: dict[Any, Any]) -> None:
    """Raise if a variable other than a parameter was assigned during the call."""
    known = {path for path, _ in held}
    changed = [path for path, value in held if after[path].get_value() is not value]
    changed += [path for path in after if path not in known]
    if changed:
        names = ", ".join(".".join(map(str, path)) for path in changed)
        raise ValueError(
            f"The call changed state that is no nnx.Param ({names}), which a pure apply cannot "
            "carry; call module.eval() first, or use batch statistics and keys that come with x."
        )

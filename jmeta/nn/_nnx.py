"""The adapter for Flax NNX: a module with state inside becomes a network of pure functions."""

from typing import Any

import flax.linen as nn
import jax

from jmeta.nn._adapters import Apply, Network


def from_nnx(module_or_make: Any) -> Network:
    """Make a network of a Flax NNX module.

    The parameters are the module's `nnx.Param`s, as a nested dict of arrays. `apply` is pure: it
    goes through `jit`, `vmap` and `grad` and changes no module. Other state, such as the running
    statistics of a batch normalisation after `module.eval()`, stays as it is now. A call that
    would change it is refused, because a learner adapts by its parameters alone.

    Args:
        module_or_make: either an `nnx.Module`, whose present parameters `init` returns whatever
            its key is; or a function `rngs -> module`, such as the module's class, with which
            `init(key, *inputs)` makes fresh parameters from `nnx.Rngs(key)`. State that is not a
            parameter comes from one call of the function with `nnx.Rngs(0)`.

    Returns:
        A network. `apply(params, *inputs, method="name")` calls the method of that name.

    Raises:
        ValueError: the argument is neither an NNX module nor a function that makes one, or the
            module has no `nnx.Param`; from `apply`, the call changes other state (running
            statistics in training mode, the key of a dropout).

    >>> import jax, jax.numpy as jnp
    >>> from flax import nnx
    >>> net = from_nnx(lambda rngs: nnx.Linear(3, 2, rngs=rngs))
    >>> params = net.init(jax.random.key(0), jnp.ones((4, 3)))
    >>> net.apply(params, jnp.ones((4, 3))).shape, sorted(params)
    ((4, 2), ['bias', 'kernel'])
    """
    from flax import nnx

    def make(key: Any) -> Any:
        return made_by(module_or_make, nnx.Rngs(key), of="from_nnx")

    given = isinstance(module_or_make, nnx.Module)
    split: Any = nnx.split(make(0), nnx.Param, ...)
    graph, params, rest = split
    if not nnx.to_flat_state(params):
        raise ValueError("from_nnx got a module without any nnx.Param: it has no parameters.")

    def init(key: jax.Array, *inputs: Any) -> Any:
        return nnx.to_pure_dict(params if given else nnx.state(make(key), nnx.Param))

    def choose(method: str | None) -> Apply:
        def apply(values: Any, *inputs: Any) -> Any:
            state = nnx.clone(params)
            nnx.replace_by_pure_dict(state, values)
            merged = nnx.merge(graph, state, rest, copy=True)
            return _call_unchanged(merged, method or "__call__", inputs)

        return apply

    return Network(init, choose)


def made_by(module_or_make: Any, rngs: Any, *, of: str) -> Any:
    """A module of one's own: a copy of the one that is given, or what a function makes.

    Args:
        module_or_make: see `from_nnx`.
        rngs: what the function gets.
        of: the name of the public function, for a message.

    Raises:
        ValueError: it is neither, or the function makes something else.
    """
    from flax import nnx

    given = isinstance(module_or_make, nnx.Module)
    makes = callable(module_or_make) and not given and not isinstance(module_or_make, nn.Module)
    module = module_or_make(rngs) if makes else module_or_make
    if not isinstance(module, nnx.Module):
        raise ValueError(
            f"{of} expects a flax.nnx.Module or a function rngs -> module, but got "
            f"{type(module).__name__}; a Linen module is a network as it stands."
        )
    return nnx.clone(module) if given else module


def _call_unchanged(module: Any, method: str, inputs: tuple[Any, ...]) -> Any:
    """Call a method and refuse a change of any variable that is not a parameter."""
    from flax import nnx

    def others() -> list[Any]:
        flat = nnx.to_flat_state(nnx.state(module, nnx.Not(nnx.Param)))
        return [(path, variable.get_value()) for path, variable in flat]

    before = others()
    outputs = getattr(module, method)(*inputs)
    after = dict(others())
    known = {path for path, _ in before}
    changed = [path for path, value in before if after[path] is not value]
    changed += [path for path in after if path not in known]
    if changed:
        names = ", ".join(".".join(map(str, path)) for path in changed)
        raise ValueError(
            f"The call changed state that is not an nnx.Param ({names}). Call module.eval() "
            "first, in the function that makes the module if you gave one, or use layers whose "
            "statistics and keys come with the inputs."
        )
    return outputs

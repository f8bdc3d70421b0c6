"""Bottleneck adapters: small residual networks behind the layers of a Linen or NNX module."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from jmeta.nn._adapters import Apply, Network
from jmeta.nn._nnx import from_nnx, made_by

NAME = "bottlenecks"
After = str | Callable[[str], bool] | None


def with_bottlenecks(module: Any, width: int, *, after: After = None) -> Network:
    """Put a small residual network behind layers of a module, whose code stays as it is.

        h' = h + relu(h D) U,   D [out, w] Gaussian with variance 1 / out,   U [w, out] zero

    The network begins as the module is. The adapters of a Linen module are one more collection
    beside its own variables, {"params": ..., "bottlenecks": {layer: {"down": D, "up": U}}}. A
    layer of an NNX module has its adapter beside its kernel, {layer: {"kernel": ..., "bottlenecks":
    {"down": D, "up": U}}}. In both, `jmeta.part("bottlenecks")` lets the adapters alone adapt, in
    `maml` and wherever a selection is taken. The adapter belongs to the call of a layer: code that
    reads a kernel by itself does not meet it. A layer that an NNX module holds under two names goes
    by the first of them, and its type is a subclass of what it was.

    Args:
        module: a Flax Linen module, or what `from_nnx` takes: an NNX module, or a function that
            makes one. Its layers have a parameter "kernel" [..., out].
        width: w, of all adapters.
        after: the layers, by a name on their path ("head") or the path ("encoder/Dense_0"), or a
            predicate on the path; None for all layers with a kernel.

    Returns:
        A network, as stochastic and masked as the module is.

    Raises:
        ValueError: `module` is of another kind, `width` is less than 1, no layer is chosen, or a
            chosen NNX layer has an attribute "bottlenecks" already; for a Linen module `init` says
            that no layer is chosen. From `apply`: the outputs of a chosen layer are no array
            [..., out].

    Parameter-Efficient Transfer Learning for NLP (Houlsby et al., 2019, arXiv:1902.00751).

    >>> from jmeta.nn import MLP
    >>> net, x = with_bottlenecks(MLP((8,), 3), 2, after="head"), jnp.ones((4, 5))
    >>> params = net.init(jax.random.key(0), x)
    >>> params["bottlenecks"]["head"]["down"].shape, net.apply(params, x).shape
    ((3, 2), (4, 3))
    """
    if width < 1:
        raise ValueError(f"with_bottlenecks expects width >= 1, but got {width}.")
    if isinstance(module, nn.Module):
        return _in_linen(module, width, after)
    if isinstance(module, Network):
        raise ValueError(
            "with_bottlenecks expects a Flax module, but got a network that an adapter made; give "
            "it the module itself, or use jmeta.core.low_rank, which adapts any network."
        )
    return _in_nnx(module, width, after)


def _in_linen(module: nn.Module, width: int, after: After) -> Network:
    """The network of a Linen module."""

    def init(key: jax.Array, *inputs: Any) -> Any:
        variables = module.init(key, *inputs)
        flat = flatten_dict(variables["params"])
        layers = {
            "/".join(path[:-1]): leaf.shape[-1]
            for path, leaf in flat.items()
            if path[-1] == "kernel"
        }
        return {**variables, NAME: _adapters(key, layers, width, after)}

    def choose(method: str | None) -> Apply:
        def apply(params: Any, *inputs: Any, **options: Any) -> Any:
            adapters = params[NAME]
            own = {name: leaves for name, leaves in params.items() if name != NAME}

            def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
                h = call(*args, **kwargs)
                adapter = adapters.get("/".join(context.module.path))
                if adapter is None or context.method_name != "__call__":
                    return h
                return _behind(h, **adapter)

            with nn.intercept_methods(intercept):
                return module.apply(own, *inputs, method=method, **options)

        return apply

    stochastic = bool(getattr(module, "stochastic", False))
    return Network(init, choose, stochastic, bool(getattr(module, "masked", False)))


def _in_nnx(module_or_make: Any, width: int, after: After) -> Network:
    """The network of an NNX module; each chosen layer gets its adapter as an attribute."""
    from flax import nnx

    def adapted(rngs: Any) -> Any:
        module: Any = made_by(module_or_make, rngs, of="with_bottlenecks")
        nodes = (node for node in nnx.iter_graph(module) if isinstance(node[1], nnx.Module))
        layers = {"/".join(map(str, path)): layer for path, layer in nodes if _has_kernel(layer)}
        widths = {path: layer.kernel.shape[-1] for path, layer in layers.items()}
        for path, adapter in _adapters(rngs.params(), widths, width, after).items():
            layer, pair = layers[path], nnx.Module()
            if hasattr(layer, NAME):
                raise ValueError(f"The layer {path} has an attribute {NAME!r} of its own.")
            for name, leaf in adapter.items():
                setattr(pair, name, nnx.Param(leaf))
            layer.__class__ = _with_adapter(layer.__class__)
            setattr(layer, NAME, pair)
        return module

    return from_nnx(adapted)


def _has_kernel(layer: Any) -> bool:
    """Whether an NNX module is a layer that an adapter can stand behind."""
    from flax import nnx

    return isinstance(getattr(layer, "kernel", None), nnx.Param)


@cache
def _with_adapter(kind: type) -> type:
    """The class of NNX layers that are like `kind`, but whose outputs go through an adapter.

    A layer joins it by the assignment of `__class__`. That is safe because the class adds no
    slots and overrides only the call. Flax registers every class of modules for good, so one is
    made for each kind and kept.
    """

    class Adapted(kind):
        def __call__(self, *args: Any, **kwargs: Any) -> jax.Array:
            pair = getattr(self, NAME)
            return _behind(super().__call__(*args, **kwargs), pair.down[...], pair.up[...])

    Adapted.__name__ = Adapted.__qualname__ = kind.__name__
    return Adapted


def _behind(h: Any, down: jax.Array, up: jax.Array) -> jax.Array:
    """What stands behind a layer with the outputs h, in their type.

    Raises:
        ValueError: h is no array [..., out], where the layer's kernel is [..., out].
    """
    if getattr(h, "shape", ())[-1:] != down.shape[:1]:
        raise ValueError(
            f"with_bottlenecks expects a layer with outputs [..., {len(down)}], as its kernel has, "
            f"but got {getattr(h, 'shape', type(h).__name__)}; leave such layers out by after=."
        )
    return h + (nn.relu(h @ down) @ up).astype(h.dtype)


def _adapters(
    key: jax.Array, layers: dict[str, int], width: int, after: After
) -> dict[str, dict[str, jax.Array]]:
    """The adapters of the chosen layers, whose outputs have these widths, by the layers' paths.

    Raises:
        ValueError: no layer is chosen.
    """
    chosen = [path for path in layers if _is_chosen(path, after)]
    if not chosen:
        raise ValueError(
            f"with_bottlenecks found no layer {after!r}; those with a kernel are "
            f"{', '.join(layers) or 'none'}."
        )
    return {
        path: _adapter(jax.random.fold_in(key, i), layers[path], width)
        for i, path in enumerate(chosen)
    }


def _is_chosen(path: str, after: After) -> bool:
    if after is None:
        return True
    return after in (path, *path.split("/")) if isinstance(after, str) else after(path)


def _adapter(key: jax.Array, out: int, width: int) -> dict[str, jax.Array]:
    down = jax.random.normal(key, (out, width)) / math.sqrt(out)
    return {"down": down, "up": jnp.zeros((width, out))}

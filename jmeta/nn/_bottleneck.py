"""Bottleneck adapters: small residual networks behind the layers of a Linen module."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from jmeta.nn._adapters import Apply, Network

COLLECTION = "bottlenecks"


def with_bottlenecks(
    module: nn.Module, width: int, *, after: str | Callable[[str], bool] | None = None
) -> Network:
    """Put a small residual network behind layers of a Linen module, whose code stays as it is.

        h' = h + relu(h D) U,   D [out, w] Gaussian with variance 1 / out,   U [w, out] zero

    The network begins as the module is. The adapters are one more collection beside the module's
    own variables, {"params": ..., "bottlenecks": {layer: {"down": D, "up": U}}}, so
    `jmeta.part("bottlenecks")` lets them alone adapt, in `maml` and wherever a selection is taken.

    Args:
        module: a Flax Linen module, whose layers have a parameter "kernel" [..., out].
        width: w, of all adapters.
        after: the layers, by a name on their path ("head"), or a predicate on the path
            ("encoder/Dense_0"); None for all layers with a kernel.

    Returns:
        A network, as stochastic and masked as the module is.

    Raises:
        ValueError: `module` is not a Linen module, or `width` is less than 1; from `init`, no layer
            is chosen.

    Parameter-Efficient Transfer Learning for NLP (Houlsby et al., 2019, arXiv:1902.00751).

    >>> from jmeta.nn import MLP
    >>> net, x = with_bottlenecks(MLP((8,), 3), 2, after="head"), jnp.ones((4, 5))
    >>> params = net.init(jax.random.key(0), x)
    >>> params["bottlenecks"]["head"]["down"].shape, net.apply(params, x).shape
    ((3, 2), (4, 3))
    """
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"with_bottlenecks expects a Flax Linen module, but got {type(module).__name__}; "
            "jmeta.core.low_rank adapts any network."
        )
    if width < 1:
        raise ValueError(f"with_bottlenecks expects width >= 1, but got {width}.")

    def init(key: jax.Array, *inputs: Any) -> Any:
        variables = module.init(key, *inputs)
        layers = _layers(variables["params"])
        chosen = [path for path in layers if _is_chosen(path, after)]
        if not chosen:
            raise ValueError(
                f"with_bottlenecks found no layer {after!r}; those with a kernel are "
                f"{', '.join(layers)}."
            )
        made = {
            path: _adapter(jax.random.fold_in(key, i), layers[path], width)
            for i, path in enumerate(chosen)
        }
        return {**variables, COLLECTION: made}

    def choose(method: str | None) -> Apply:
        def apply(params: Any, *inputs: Any, **options: Any) -> Any:
            adapters = params[COLLECTION]
            own = {name: leaves for name, leaves in params.items() if name != COLLECTION}

            def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
                h = call(*args, **kwargs)
                adapter = adapters.get("/".join(context.module.path))
                if adapter is None or context.method_name != "__call__":
                    return h
                return h + nn.relu(h @ adapter["down"]) @ adapter["up"]

            with nn.intercept_methods(intercept):
                return module.apply(own, *inputs, method=method, **options)

        return apply

    stochastic = bool(getattr(module, "stochastic", False))
    return Network(init, choose, stochastic, bool(getattr(module, "masked", False)))


def _layers(params: Any) -> dict[str, int]:
    """The paths of the layers with a kernel, and the widths of their outputs."""
    flat = flatten_dict(params)
    return {
        "/".join(path[:-1]): leaf.shape[-1] for path, leaf in flat.items() if path[-1] == "kernel"
    }


def _is_chosen(path: str, after: str | Callable[[str], bool] | None) -> bool:
    if after is None:
        return True
    return after in path.split("/") if isinstance(after, str) else after(path)


def _adapter(key: jax.Array, out: int, width: int) -> dict[str, jax.Array]:
    down = jax.random.normal(key, (out, width)) / math.sqrt(out)
    return {"down": down, "up": jnp.zeros((width, out))}

"""Adapters: how plain functions, Equinox modules and Linen modules with dropout become networks.

A network has `init(key, *inputs) -> params` and `apply(params, *inputs) -> outputs`. A network
whose attribute `stochastic` is true takes a PRNG key as its last input, in both functions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

Init = Callable[..., Any]  # (key, *inputs) -> params
Apply = Callable[..., Any]  # (params, *inputs) -> outputs


@dataclass(frozen=True)
class Network:
    """A network made of functions. Make one with `from_functions`, `from_nnx` or `from_equinox`.

    >>> net = Network(lambda key, x: jnp.ones(()), lambda w, x: w * x)
    >>> net.apply(2.0, 3.0)
    6.0
    """

    init: Init
    function: Apply
    methods: tuple[tuple[str, Apply], ...] = ()
    stochastic: bool = False

    def apply(self, params: Any, *inputs: Any, method: str | None = None) -> Any:
        """Outputs of the network, or of one of its methods.

        Raises:
            ValueError: the network has no method of this name.
        """
        if method is None:
            return self.function(params, *inputs)
        known = dict(self.methods)
        if method not in known:
            raise ValueError(
                f"The network has no method {method!r}; it has {sorted(known) or 'none at all'}. "
                f"Pass it to from_functions as {method}=function."
            )
        return known[method](params, *inputs)


def from_functions(init: Init, apply: Apply, *, stochastic: bool = False, **methods: Apply) -> Any:
    """Make a network of pure functions.

        net.init(key, *inputs)                          = init(key, *inputs)
        net.apply(params, *inputs)                      = apply(params, *inputs)
        net.apply(params, *inputs, method="encode")     = methods["encode"](params, *inputs)

    Args:
        init: `(key, *inputs) -> params`, for inputs [N, ...].
        apply: `(params, *inputs) -> outputs`, leading axis [N].
        stochastic: whether both functions take a PRNG key as their last input.
        methods: further functions of the parameters, by name, which `apply` calls with `method=`
            as `flax.linen.Module.apply` does.

    Returns:
        A frozen, hashable `Network`.

    Raises:
        ValueError: one of the functions is not callable.

    >>> import jax, jax.numpy as jnp
    >>> def init(key, x):
    ...     return {"w": jax.random.normal(key, x.shape[1:])}
    >>> net = from_functions(init, lambda p, x: x @ p["w"], double=lambda p, x: 2 * x @ p["w"])
    >>> params = net.init(jax.random.key(0), jnp.ones((4, 3)))
    >>> net.apply(params, jnp.ones((4, 3)), method="double").shape
    (4,)
    """
    for name, function in {"init": init, "apply": apply, **methods}.items():
        if not callable(function):
            raise ValueError(
                f"from_functions expects functions, but {name} is {type(function).__name__}; give "
                "init(key, *inputs) and apply(params, *inputs)."
            )
    return Network(init, apply, tuple(sorted(methods.items())), stochastic)


def from_equinox(module_or_make: Any) -> Any:
    """Make a network of an Equinox module.

    The parameters are the module's inexact arrays, as a module whose other leaves are `None`.
    Everything else, such as activation functions and integers, stays in the network. Equinox
    modules are written for one example, so `apply` maps the module over the leading axis [N] of
    all its inputs. Layers with state, such as `equinox.nn.BatchNorm`, are not supported.

    Args:
        module_or_make: an `equinox.Module`, whose present parameters `init` returns whatever its
            key; or a function `key -> module`, which `init(key, *inputs)` calls to make fresh
            parameters. The function is also called once here, with `jax.random.key(0)`, for what
            is not a parameter.

    Returns:
        A `Network`; `apply(params, *inputs, method="name")` maps the method of that name.

    Raises:
        ValueError: Equinox is not installed, the argument is neither a module nor a function, or
            the module has no inexact arrays.

    Equinox: neural networks in JAX via callable PyTrees and filtered transformations (Kidger,
    Garcia, 2021, arXiv:2111.00254).

    >>> import jax, jax.numpy as jnp, pytest
    >>> eqx = pytest.importorskip("equinox")
    >>> net = from_equinox(lambda key: eqx.nn.MLP(3, 2, 8, depth=1, key=key))
    >>> params = net.init(jax.random.key(0), jnp.ones((5, 3)))
    >>> net.apply(params, jnp.ones((5, 3))).shape
    (5, 2)
    """
    try:
        import equinox
    except ModuleNotFoundError as error:
        raise ValueError(
            "from_equinox needs the package equinox, which is not installed; run "
            "pip install equinox."
        ) from error
    given = isinstance(module_or_make, equinox.Module)
    if not given and not callable(module_or_make):
        raise ValueError(
            "from_equinox expects an equinox.Module or a function key -> module, but got "
            f"{type(module_or_make).__name__}."
        )
    module = module_or_make if given else module_or_make(jax.random.key(0))
    return _EquinoxNetwork.of(module, None if given else module_or_make, equinox)

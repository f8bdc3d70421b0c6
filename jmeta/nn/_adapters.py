"""Adapters: how plain functions, Equinox modules and Linen modules with dropout become networks.

A network has `init(key, *inputs) -> params` and `apply(params, *inputs) -> outputs`. A network
whose attribute `stochastic` is true takes a PRNG key as its last input, in both functions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Init = Callable[..., Any]  # (key, *inputs) -> params
Apply = Callable[..., Any]  # (params, *inputs) -> outputs


@dataclass(frozen=True)
class Network:
    """A network made by an adapter: `from_functions`, `from_nnx`, `from_equinox`, `with_dropout`.

    Args:
        init: `(key, *inputs) -> params`.
        choose: takes the name of a method, or None for the network itself, and returns the
            function `(params, *inputs) -> outputs` that it stands for.
        stochastic: whether the last input of `init` and `apply` is a PRNG key.
        masked: whether `apply` takes the keyword `real`, [N] bool, which is false for padding.

    >>> net = Network(lambda key, x: jnp.ones(()), lambda method: jnp.multiply)
    >>> float(net.apply(2.0, 3.0))
    6.0
    """

    init: Init
    choose: Callable[[str | None], Apply]
    stochastic: bool = False
    masked: bool = False

    def apply(self, params: Any, *inputs: Any, method: str | None = None, **options: Any) -> Any:
        """Outputs of the network, or of its method of this name."""
        return self.choose(method)(params, *inputs, **options)


def from_functions(
    init: Init, apply: Apply, *, stochastic: bool = False, masked: bool = False, **methods: Apply
) -> Network:
    """Make a network of pure functions.

        net.init(key, *inputs) = init(key, *inputs)
        net.apply(params, *inputs) = apply(params, *inputs)
        net.apply(params, *inputs, method="encode") = methods["encode"](params, *inputs)

    Args:
        init: `(key, *inputs) -> params`, for inputs [N, ...].
        apply: `(params, *inputs) -> outputs`, for inputs and outputs with a leading axis [N].
        stochastic: whether both functions take a PRNG key as their last input.
        masked: whether `apply` takes the keyword `real`, [N] bool, which is false for padded
            examples. Batch statistics need it.
        methods: further functions of the parameters, which `apply` calls by their names, as
            `flax.linen.Module.apply` does.

    Returns:
        A frozen and hashable network.

    Raises:
        ValueError: one of the functions is not callable; from `apply`, there is no method of the
            given name.

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
                f"from_functions expects functions, but {name} is of type "
                f"{type(function).__name__}; give init(key, *inputs) and apply(params, *inputs)."
            )

    def choose(method: str | None) -> Apply:
        if method is None:
            return apply
        if method not in methods:
            raise ValueError(
                f"The network has no method {method!r}, only {sorted(methods)}; give it to "
                f"from_functions as {method}=function."
            )
        return methods[method]

    return Network(init, choose, stochastic, masked)


def with_dropout(module: nn.Module, *, rng: str = "dropout", **options: Any) -> Network:
    """Make a stochastic network of a Linen module that draws random numbers in training.

        net.init(key, *inputs, r) = module.init({"params": key, rng: r}, *inputs, **options)
        net.apply(params, *inputs, r) = module.apply(params, *inputs, rngs={rng: r}, **options)

    where r is a PRNG key. Train with this network and evaluate the same parameters with
    the plain module, which is deterministic.

    Args:
        module: a Flax Linen module.
        rng: the name under which the module asks for its keys, `self.make_rng(rng)`.
        options: keywords for the module's call that switch the randomness on. The default is
            `deterministic=False`; give `train=True` for a module that names it that way.

    Returns:
        A network whose attribute `stochastic` is true: the last input of `init` and of `apply`
        is a PRNG key.

    Raises:
        ValueError: `module` is not a Linen module; from `init` and `apply`, the last input is not
            a typed PRNG key.

    Dropout: A Simple Way to Prevent Neural Networks from Overfitting (Srivastava, Hinton,
    Krizhevsky, Sutskever, Salakhutdinov, 2014, JMLR 15).

    >>> import jax, jax.numpy as jnp
    >>> from jmeta.nn import ResNet12
    >>> module = ResNet12(5, widths=(4, 8, 8, 16), drop_rate=0.1)
    >>> net, x, key = with_dropout(module), jnp.ones((2, 16, 16, 3)), jax.random.key(0)
    >>> params = jax.eval_shape(net.init, key, x, key)
    >>> jax.eval_shape(net.apply, params, x, key).shape
    (2, 5)
    """
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"with_dropout expects a Flax Linen module, but got {type(module).__name__}; make "
            "other stochastic networks with from_functions(init, apply, stochastic=True)."
        )
    options = options or {"deterministic": False}

    def init(key: jax.Array, *inputs: Any) -> Any:
        *inputs_alone, rng_key = _with_key(inputs)
        return module.init({"params": key, rng: rng_key}, *inputs_alone, **options)

    def choose(method: str | None) -> Apply:
        def apply(params: Any, *inputs: Any, **marks: Any) -> Any:
            *inputs_alone, rng_key = _with_key(inputs)
            call = {"rngs": {rng: rng_key}, "method": method, **options, **marks}
            return module.apply(params, *inputs_alone, **call)

        return apply

    return Network(init, choose, stochastic=True, masked=getattr(module, "masked", False))


def _with_key(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs of a stochastic network, after a check that the last of them is a key."""
    kind = getattr(inputs[-1], "dtype", None) if inputs else None
    if kind is None or not jnp.issubdtype(kind, jax.dtypes.prng_key):
        raise ValueError(
            "A network with dropout expects a PRNG key as its last input, such as "
            f"jax.random.key(0), but got {'no input' if not inputs else type(inputs[-1]).__name__};"
            " to evaluate without dropout, call the plain module with the same parameters."
        )
    return inputs


def from_equinox(module_or_make: Any) -> Network:
    """Make a network of an Equinox module.

    The parameters are the module's inexact arrays: the module itself with `None` in place of all
    other leaves. The other leaves, such as activation functions and integers, stay in the network.
    Equinox modules are written for one example, so `apply` maps the module over the leading axis
    [N] of all its inputs. Layers with state, such as `equinox.nn.BatchNorm`, are not supported.

    Args:
        module_or_make: either an `equinox.Module`, whose present parameters `init` returns
            whatever its key is; or a function `key -> module`, with which `init(key, *inputs)`
            makes fresh parameters. The leaves that are not parameters come from one call of the
            function with `jax.random.key(0)`.

    Returns:
        A network. `apply(params, *inputs, method="name")` maps the method of that name.

    Raises:
        ValueError: Equinox is not installed, the argument is neither a module nor a function, or
            the module has no parameters.

    Equinox: neural networks in JAX via callable PyTrees and filtered transformations (Kidger,
    Garcia, 2021, arXiv:2111.00254).

    >>> import equinox as eqx
    >>> net = from_equinox(lambda key: eqx.nn.MLP(3, 2, 8, 1, key=key))
    >>> params = net.init(jax.random.key(0), jnp.ones((5, 3)))
    >>> net.apply(params, jnp.ones((5, 3))).shape
    (5, 2)
    """
    eqx = _equinox()
    given = isinstance(module_or_make, eqx.Module)
    if not given and not callable(module_or_make):
        raise ValueError(
            "from_equinox expects an equinox.Module or a function key -> module, but got "
            f"{type(module_or_make).__name__}."
        )
    make = (lambda key: module_or_make) if given else module_or_make
    present, rest = eqx.partition(make(jax.random.key(0)), eqx.is_inexact_array)
    if not jax.tree.leaves(present):
        raise ValueError("from_equinox got a module without inexact arrays: it has no parameters.")

    def init(key: jax.Array, *inputs: Any) -> Any:
        return eqx.filter(make(key), eqx.is_inexact_array)

    def choose(method: str | None) -> Apply:
        def apply(params: Any, *inputs: Any) -> Any:
            return jax.vmap(getattr(eqx.combine(params, rest), method or "__call__"))(*inputs)

        return apply

    return Network(init, choose)


def _equinox() -> Any:
    """The package, which is an optional dependency."""
    try:
        import equinox
    except ModuleNotFoundError as error:
        raise ValueError(
            "from_equinox needs the package equinox, which is not installed; "
            "run: pip install equinox."
        ) from error
    return equinox

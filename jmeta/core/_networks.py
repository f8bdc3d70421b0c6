"""How learners call a network: checks, initialisation and random keys."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jmeta.core._padding import is_masked, unmarked
from jmeta.core._sharing import call
from jmeta.core._types import Key, Net, Outputs, Params, PyTree, StepIndex

Apply = Callable[[Params, PyTree], Outputs]  # a network with its key bound


def require_net(net: Any, *, of: str, methods: tuple[str, ...] = ("init", "apply")) -> None:
    """Refuse what is not a network.

    Args:
        net: the argument to check.
        of: the name of the function that was called, for the message.
        methods: the functions that a network must have there.

    Raises:
        ValueError: `net` lacks one of them.

    >>> from jmeta.nn import MLP
    >>> require_net(MLP(), of="maml")
    """
    if any(not callable(getattr(net, name, None)) for name in methods) or isinstance(net, type):
        name = getattr(net, "__name__", type(net).__name__)
        found = f"the class {name} itself" if isinstance(net, type) else name
        if isinstance(net, type) and all(hasattr(net, method) for method in methods):
            raise ValueError(f"{of} expects a network, but got {found}; make one, as in {name}().")
        raise ValueError(
            f"{of} expects a network with the functions {' and '.join(methods)}, but got {found}; "
            "give a Flax Linen module as it is, or make one with jmeta.nn.from_functions, "
            "from_nnx or from_equinox."
        )


def first_example(x: PyTree) -> PyTree:
    """The first example of inputs [N, ...], as inputs [1, ...]; PRNG keys are not sliced.

    >>> first_example(jnp.ones((3, 2))).shape
    (1, 2)
    """
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else leaf[:1], x)


def is_key(leaf: Any) -> bool:
    """Whether a leaf holds typed PRNG keys.

    >>> is_key(jax.random.key(0)), is_key(jnp.ones(2))
    (True, False)
    """
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def init_net(net: Net, key: Key, *inputs: PyTree) -> Params:
    """Parameters of a network for inputs of these shapes; a stochastic network gets the key too.

    >>> from jmeta.nn import MLP
    >>> sorted(init_net(MLP((3,), 2), jax.random.key(0), jnp.ones((1, 4)))["params"])
    ['Dense_0', 'head']
    """
    return net.init(key, *inputs, *([key] if is_stochastic(net) else []))


def is_stochastic(net: Net) -> bool:
    """Whether a network takes a key as its last input.

    >>> from jmeta.nn import MLP
    >>> is_stochastic(MLP())
    False
    """
    return bool(getattr(net, "stochastic", False))


def key_of(net: Net, key: Key | None, *, of: str) -> Key | None:
    """The key with which to call a network: `key` if it is stochastic, None otherwise.

    Args:
        net: a network.
        key: the key of the support set, or None.
        of: the name of the learner, for the message.

    Raises:
        ValueError: the network is stochastic and there is no key.
    """
    if not is_stochastic(net):
        return None
    if key is None:
        raise ValueError(
            f"the network of {of} is stochastic, but the support set has no key; give it one, "
            "Batch(x, y, key), as the samplers of jmeta.data do."
        )
    return key


def bound(net: Net, key: Key | None, step: StepIndex = 0) -> Apply:
    """A network as `(params, x) -> outputs`, with its random key bound.

    If the inputs are `Padded(x, real)`, a masked network is told which examples are real.

    Args:
        net: a network.
        key: from `key_of`; None for a network that is not stochastic.
        step: a number to fold into the key, so that every step gets a key of its own.

    >>> from jmeta.nn import from_functions
    >>> net = from_functions(lambda key, x: jnp.ones(()), lambda w, x: w * x)
    >>> bound(net, None)(2.0, 3.0)
    6.0
    """
    # The number of the step may be negative.
    keys = () if key is None else (jax.random.fold_in(key, jnp.asarray(step, jnp.int32)),)

    def apply(params: Params, x: PyTree) -> Outputs:
        x, real = unmarked(x)
        options = {"real": real} if real is not None and is_masked(net) else {}
        return call(net, params, x, *keys, **options)

    return apply

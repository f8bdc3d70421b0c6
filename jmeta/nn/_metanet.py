"""Meta Networks: layers with slow and fast weights, and networks that map gradients to weights."""

from functools import reduce
from operator import add
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._adapters import Network, from_functions
from jmeta.nn._conv import Initializer, conv2d
from jmeta.nn._linear import align
from jmeta.nn._pool import max_pool


class SlowFast(nn.Module):
    """A network in which every layer has slow and fast weights (layer augmentation).

        h = relu(W x + b) + relu(W* x + b*)      each hidden layer
        r = W x + b + W* x + b*                  representation: the last hidden layer, no ReLU

    The slow weights W are the parameters. The fast weights W* are the variables "fast", which have
    the same names and shapes; without them the network is an ordinary one. `slow_and_fast` makes a
    network that takes both. The representation is taken before the ReLU because cosines tell
    inputs apart better with the signs kept.

    The paper uses no normalisation. Here the feature maps of each example are standardised to mean
    0 and variance 1 after each convolution, which adds no parameters and learns much faster.

    Args:
        outputs: width of the linear classifier.
        filters: channels of the 3x3 convolutions, each followed by 2x2 max-pooling.
        features: widths of the linear layers after the convolutions, at least one.

    Raises:
        ValueError: `features` is empty.

    Meta Networks (Munkhdalai, Yu, 2017, arXiv:1703.00837), section 3.3.

    >>> import jax, jax.numpy as jnp
    >>> model, x = SlowFast(5, filters=(4,), features=(8,)), jnp.ones((2, 8, 8, 1))
    >>> params = jax.jit(model.init)(jax.random.key(0), x)
    >>> [out.shape for out in jax.jit(model.apply)(params, x)]
    [(2, 8), (2, 5)]
    """

    outputs: int
    filters: tuple[int, ...] = ()
    features: tuple[int, ...] = (64,)

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Inputs [N, ...] to representations [N, D] and logits [N, outputs]."""
        if not self.features:
            raise ValueError(
                "SlowFast got features=(); give at least one width, because the last one is that "
                "of the representation."
            )
        for width in self.filters:
            x = max_pool(_relu_both(_Layer(width, window=3)(x)))
            x = jax.nn.standardize(x, axis=(1, 2, 3))
        x = x.reshape(x.shape[0], -1)
        for width in self.features:
            halves = _Layer(width)(x)
            x = _relu_both(halves)
        return reduce(add, halves), reduce(add, _Layer(self.outputs)(x))


class _Layer(nn.Module):
    """A linear layer or a convolution with slow weights and, if there are any, fast weights."""

    width: int
    window: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        shape = (self.window,) * (2 if self.window else 0) + (x.shape[-1], self.width)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,))
        halves: list[Any] = [(kernel, bias)]
        if self.has_variable("fast", "kernel"):
            halves.append([self.get_variable("fast", name) for name in ("kernel", "bias")])
        return [self._half(x, *weights) for weights in halves]

    def _half(self, x: jax.Array, kernel: Any, bias: Any) -> jax.Array:
        out = conv2d(x, kernel) if self.window else x @ kernel
        return out + bias.reshape((1,) * (out.ndim - 1) + bias.shape)


def _relu_both(halves: list[jax.Array]) -> jax.Array:
    """The sum of the ReLU of each half."""
    return reduce(add, [nn.relu(half) for half in halves])


def slow_and_fast(module: nn.Module) -> Network:
    """Make a network of a `SlowFast` module that takes slow and fast weights.

        net.init(key, x) = module.init(key, x)
        net.apply(slow, fast, x) = (representation [N, D], logits [N, outputs])

    Both weights have the structure of the parameters, {'params': ...}; `fast` may be None.

    Args:
        module: a `SlowFast`, or another Linen module that reads the variables "fast".

    Meta Networks (Munkhdalai, Yu, 2017, arXiv:1703.00837), section 3.3.

    >>> import jax, jax.numpy as jnp
    >>> net, x = slow_and_fast(SlowFast(5)), jnp.ones((2, 3))
    >>> params = jax.jit(net.init)(jax.random.key(0), x)
    >>> once, twice = (net.apply(params, fast, x)[0] for fast in (None, params))
    >>> bool(jnp.allclose(2 * once, twice))
    True
    """

    def apply(slow: Any, fast: Any, x: Any) -> Any:
        variables = slow if fast is None else {**slow, "fast": fast["params"]}
        return module.apply(variables, x)

    return from_functions(module.init, apply)


def meta_information(gradient: jax.Array, *, p: float = 7.0) -> jax.Array:
    """Represent each entry g of a gradient by two numbers of moderate size.

        (log|g| / p, sign g)  if |g| ≥ e^-p,      (-1, e^p g)  otherwise

    Args:
        gradient: [...].
        p: the paper has 10, which is steeper near 0.

    Returns:
        Inputs for a network, [..., 2].

    Learning to learn by gradient descent by gradient descent (Andrychowicz et al., 2016,
    arXiv:1606.04474), appendix A.

    >>> import jax.numpy as jnp
    >>> meta_information(jnp.array([0.0, -1.0])).tolist()
    [[-1.0, 0.0], [0.0, -1.0]]
    """
    least = jnp.exp(jnp.asarray(-p, gradient.dtype))
    size = jnp.maximum(jnp.abs(gradient), least)  # so that the logarithm is finite
    return jnp.stack([jnp.log(size) / p, gradient / size], -1)


class GradientMLP(nn.Module):
    """The function m: maps one gradient to one set of fast weights.

    The same small network maps each entry of the gradient to the weight of the same place.

    Args:
        width: of the two hidden layers.
        head_init: initializer of the last layer. It is small, so that the fast weights are near
            zero when training begins.

    Meta Networks (Munkhdalai, Yu, 2017, arXiv:1703.00837), section 3.1.

    >>> import jax, jax.numpy as jnp
    >>> GradientMLP().init_with_output(jax.random.key(0), jnp.ones(7))[0].shape
    (7,)
    """

    width: int = 20
    head_init: Initializer = nn.initializers.normal(0.01)

    @nn.compact
    def __call__(self, gradient: jax.Array) -> jax.Array:
        """Gradients [...] to weights [...]."""
        h = meta_information(gradient)
        for _ in range(2):
            h = nn.relu(nn.Dense(self.width)(h))
        return nn.Dense(1, kernel_init=self.head_init)(h)[..., 0]


class GradientLSTM(nn.Module):
    """The function d: maps the gradients of several examples to one set of fast weights.

    For each entry, the same LSTM reads the gradients of the examples in their order, and a linear
    layer of its last output gives the weight. The entries lie along the last axis. The backward
    pass recomputes the steps to save memory.

    Args:
        width: the number of LSTM units.
        head_init: initializer of the last layer.

    Meta Networks (Munkhdalai, Yu, 2017, arXiv:1703.00837), section 3.1.

    >>> import jax, jax.numpy as jnp
    >>> inputs = jnp.ones((4, 7)), jnp.ones(4, bool)
    >>> GradientLSTM().init_with_output(jax.random.key(0), inputs)[0].shape
    (7,)
    """

    width: int = 20
    head_init: Initializer = nn.initializers.normal(0.01)

    @nn.compact
    def __call__(self, gradients_and_mask: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Gradients [S, P] and a mask [S] to weights [P]."""
        gradients, mask = gradients_and_mask
        zeros = jnp.zeros((self.width, gradients.shape[1]), gradients.dtype)
        rest, gradients = align(zeros, gradients)
        gates, straight = 4 * self.width, nn.initializers.orthogonal()
        read = self.param("input", nn.initializers.lecun_normal(-1, -2), (gates, 2))
        recur = self.param("recurrent", straight, (gates, self.width))
        bias = self.param("bias", nn.initializers.zeros_init(), (gates, 1))

        @jax.checkpoint
        def step(carry: Any, inputs: Any) -> tuple[Any, None]:
            (cell, out), (gradient, present) = carry, inputs
            seen = jnp.moveaxis(meta_information(gradient), -1, 0)  # [2, P]
            i, f, g, o = jnp.split(read @ seen + recur @ out + bias, 4)
            new = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
            after = new, nn.sigmoid(o) * jnp.tanh(new)
            return jax.tree.map(lambda new, old: jnp.where(present, new, old), after, carry), None

        (_, out), _ = jax.lax.scan(step, (rest, rest), (gradients, mask))
        return nn.Dense(1, kernel_init=self.head_init)(out.T)[..., 0]

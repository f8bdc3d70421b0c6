"""Meta Networks: layers with slow and fast weights; networks that turn gradients into weights."""

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._conv import Initializer, conv2d
from jmeta.nn._linear import align
from jmeta.nn._pool import max_pool

SlowFastApply = Callable[[Any, Any, Any], tuple[jax.Array, jax.Array]]


class SlowFast(nn.Module):
    """A network whose every layer adds up a slow and a fast half (layer augmentation).

        h = relu(W x + b) + relu(W* x + b*),      r = W x + b + W* x + b*

    W are its parameters; W* is the collection "fast", of the same names and shapes. Without it
    the network is an ordinary one. `slow_and_fast` makes both arguments of a function. r is the
    representation, what the last hidden layer computes before the relu: it keeps its signs, by
    which cosines tell inputs apart.

    The paper's convolutions go without normalisation. Here each example's maps are brought to mean
    0 and variance 1 after each of them, which has no parameters and learns much faster.

    Args:
        outputs: width of the linear classifier.
        filters: 3x3 convolutions with 2x2 max-pooling, first.
        features: widths of the linear layers after them, at least one.

    Raises:
        ValueError: no features.

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
            raise ValueError("SlowFast got features=(); the last of them is the representation.")
        for width in self.filters:
            x = max_pool(_relu_both(_Layer(width, window=3)(x)))
            x = jax.nn.standardize(x, axis=(1, 2, 3))
        x = x.reshape(len(x), -1)
        for width in self.features:
            halves = _Layer(width)(x)
            x = _relu_both(halves)
        return reduce(add, halves), reduce(add, _Layer(self.outputs)(x))


class _Layer(nn.Module):
    """An affine map, or a convolution: by slow weights and, where they are given, by fast ones."""

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
    return reduce(add, [nn.relu(half) for half in halves])


def slow_and_fast(model: nn.Module) -> SlowFastApply:
    """`SlowFast` as a function (slow, fast, x) -> (representation, logits).

    Both weights have the structure of the parameters, {'params': ...}; `fast` may be None.

    >>> import jax, jax.numpy as jnp
    >>> model, x = SlowFast(5), jnp.ones((2, 3))
    >>> params = jax.jit(model.init)(jax.random.key(0), x)
    >>> once, twice = (slow_and_fast(model)(params, fast, x)[0] for fast in (None, params))
    >>> bool(jnp.allclose(2 * once, twice))
    True
    """

    def apply(slow: Any, fast: Any, x: Any) -> tuple[jax.Array, jax.Array]:
        variables = slow if fast is None else {**slow, "fast": fast["params"]}
        both: Any = model.apply(variables, x)
        return both

    return apply


def meta_information(gradient: jax.Array, *, p: float = 7.0) -> jax.Array:
    """A gradient [...] as two numbers an entry [..., 2], both in the range of a network's inputs.

        (log|g| / p, sign g)  where |g| ≥ e^-p,   (-1, e^p g)  elsewhere

    Learning to learn by gradient descent by gradient descent (Andrychowicz et al., 2016,
    arXiv:1606.04474), appendix A; they take p = 10, which is steeper near 0.

    >>> import jax.numpy as jnp
    >>> meta_information(jnp.array([0.0, -1.0])).tolist()
    [[-1.0, 0.0], [0.0, -1.0]]
    """
    least = jnp.exp(jnp.asarray(-p, gradient.dtype))
    size = jnp.maximum(jnp.abs(gradient), least)  # the logarithm never sees 0
    return jnp.stack([jnp.log(size) / p, gradient / size], -1)


class GradientMLP(nn.Module):
    """The generator m: one gradient to one set of fast weights, each entry by the same network.

    Args:
        width: of the two hidden layers.
        head_init: initializer of the last layer; small, so that training begins with slow weights.

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
    """The generator d: the gradients of several examples to one set of fast weights.

    An LSTM reads the examples in their order, each entry of the gradient by the same cell, and
    its last output gives the weight. The entries lie along the last axis, where they are many. The
    steps are computed again in the backward pass.

    Args:
        width: LSTM units.
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

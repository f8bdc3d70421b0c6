"""SNAIL: temporal convolutions and causal attention over the support set as a sequence."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._attend import attention, embedded, masked_softmax

Support = tuple[Any, jax.Array, jax.Array]  # inputs [S, ...], one-hot labels [S, N], mask [S]


class SNAIL(nn.Module):
    """The simple neural attentive learner: a query follows the sequence of support examples.

    Attention blocks alternate with stacks of causal convolutions of dilation 1, 2, 4, …, as many
    as are needed to span `length`. Each layer appends its result to its input:

        dense block:  [x, tanh(W_f x') σ(W_g x')],   x'_t = [x_{t-dilation}, x_t]
        attention:    [x, Σ_{s≤t} softmax(k_s · q_t / √K) v_s]

    The paper's listing starts with dilation 2; with 1, every earlier element can be reached. The
    layers are causal, so `encode` runs the support set once and keeps the input of every layer,
    and `decode` appends one element for each query. The results equal those of a whole sequence
    for each query, at the cost of S + Q elements instead of S Q. The result depends on the order
    of the support set.

    Args:
        outputs: N, the number of classes and the width of labels and logits.
        length: the longest expected sequence, S + 1. In a longer one, the convolutions do not
            reach the earliest elements, but attention does.
        filters: channels that each dense block appends.
        attention: (keys, values), the widths of each attention block. Convolutions lie between
            the blocks.
        embed: network for the inputs, such as `Conv4(None)`; None flattens them. If it uses batch
            statistics, they include padded examples.

    Raises:
        ValueError: `length` is less than 2, or there is no attention block.

    A Simple Neural Attentive Meta-Learner (Mishra, Rohaninejad, Chen, Abbeel, 2018,
    arXiv:1707.03141).

    >>> import jax, jax.numpy as jnp
    >>> model = SNAIL(2, length=5, filters=4, attention=((4, 4), (4, 4)))
    >>> support = jnp.ones((4, 3)), jnp.eye(2)[jnp.array([0, 0, 1, 1])], jnp.ones(4, bool)
    >>> params = jax.jit(model.init)(jax.random.key(0), support, jnp.ones((6, 3)))
    >>> jax.jit(model.apply)(params, support, jnp.ones((6, 3))).shape
    (6, 2)
    """

    outputs: int
    length: int
    filters: int = 128
    attention: tuple[tuple[int, int], ...] = ((64, 32), (256, 128), (512, 256))
    embed: nn.Module | None = None

    def setup(self) -> None:
        """Make the layers in their order, and the classifier."""
        if self.length < 2 or not self.attention:
            raise ValueError(
                f"SNAIL got length={self.length}, attention={self.attention}; give a length of at "
                "least 2 (a support example and a query) and at least one attention block."
            )
        dilations = [2**i for i in range((self.length - 1).bit_length())]
        layers: list[nn.Module] = []
        for index, (keys, values) in enumerate(self.attention):
            if index > 0:
                layers += [DenseBlock(self.filters, dilation) for dilation in dilations]
            layers.append(AttentionBlock(keys, values))
        self.layers = layers
        self.head = nn.Dense(self.outputs)

    @property
    def masked(self) -> bool:
        """Whether the embedding network is told which queries are real."""
        return bool(getattr(self.embed, "masked", False))

    def __call__(self, support: Support, x: Any) -> jax.Array:
        """A support set and queries [Q, ...] to logits [Q, outputs]."""
        return self.decode(self.encode(support), x)

    def encode(self, support: Support) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """The input [S, C] of every layer for the support set, and the mask [S].

        Padded examples must come first; they become the zeros before the start of the sequence.
        """
        x, labels, mask = support
        x = jnp.where(mask[:, None], embedded(self.embed, x, labels, mask), 0)
        inputs = []
        for layer in self.layers:
            inputs.append(x)
            x = jnp.where(mask[:, None], layer(x, mask), 0)
        return tuple(inputs), mask

    def decode(
        self,
        state: tuple[tuple[jax.Array, ...], jax.Array],
        x: Any,
        *,
        real: jax.Array | None = None,
    ) -> jax.Array:
        """Logits [Q, outputs] of queries, each the next after the support, without a label.

        `real` [Q] is false for padded queries.
        """
        inputs, mask = state
        x = embedded(self.embed, x, jnp.zeros((x.shape[0], self.outputs)), real)
        for layer, past in zip(self.layers, inputs, strict=True):
            x = layer.following(past, mask, x)
        return self.head(x)


class DenseBlock(nn.Module):
    """A gated causal convolution with a window of 2, which appends its result to the input.

        [x, tanh(W_f x') σ(W_g x')],   x'_t = [x_{t-dilation}, x_t]

    Args:
        filters: number of appended channels.
        dilation: distance between the two elements of the window.

    A Simple Neural Attentive Meta-Learner (Mishra, Rohaninejad, Chen, Abbeel, 2018,
    arXiv:1707.03141).

    >>> import jax, jax.numpy as jnp
    >>> x, mask = jnp.ones((4, 3)), jnp.ones(4, bool)
    >>> DenseBlock(2, dilation=1).init_with_output(jax.random.key(0), x, mask)[0].shape
    (4, 5)
    """

    filters: int
    dilation: int

    def setup(self) -> None:
        """Make one layer for signal and gate."""
        self.gates = nn.Dense(2 * self.filters)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """A sequence [S, C] to [S, C + filters]."""
        del mask  # padded examples are zeros already
        before = jnp.pad(x, ((self.dilation, 0), (0, 0)))[: x.shape[0]]
        return self._append(before, x)

    def following(self, past: jax.Array, mask: jax.Array, x: jax.Array) -> jax.Array:
        """The outputs for elements [Q, C], each the next one after the sequence `past` [S, C]."""
        del mask
        before = jnp.pad(past, ((self.dilation, 0), (0, 0)))[-self.dilation]
        return self._append(jnp.broadcast_to(before, x.shape), x)

    def _append(self, before: jax.Array, x: jax.Array) -> jax.Array:
        signal, gate = jnp.split(self.gates(jnp.concatenate([before, x], -1)), 2, axis=-1)
        return jnp.concatenate([x, jnp.tanh(signal) * nn.sigmoid(gate)], -1)


class AttentionBlock(nn.Module):
    """One head of causal attention, which appends what it reads to the input.

        [x, Σ_{s≤t} softmax(k_s · q_t / √K) v_s]

    Keys and queries start with the same weights, so that at first an element attends to elements
    like itself. From independent weights it takes thousands of episodes to learn this.

    Args:
        keys: width of keys and queries.
        values: number of appended channels.

    Mimetic Initialization of Self-Attention Layers (Trockman, Kolter, 2023, arXiv:2305.09828).

    >>> import jax, jax.numpy as jnp
    >>> x, mask = jnp.ones((4, 3)), jnp.ones(4, bool)
    >>> AttentionBlock(8, 2).init_with_output(jax.random.key(0), x, mask)[0].shape
    (4, 5)
    """

    keys: int
    values: int

    def setup(self) -> None:
        """Make one layer for keys and queries, and one for values."""
        self.key_and_query = nn.Dense(2 * self.keys, kernel_init=_alike)
        self.value = nn.Dense(self.values)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """A sequence [S, C] to [S, C + values]; t sees the elements up to itself in the mask."""
        visible = jnp.tril(jnp.ones((x.shape[0], x.shape[0]), bool)) & mask[None, :]
        key, query = jnp.split(self.key_and_query(x), 2, axis=-1)
        read = attention(query, key, self.value(x), visible)
        return jnp.concatenate([x, read], -1)

    def following(self, past: jax.Array, mask: jax.Array, x: jax.Array) -> jax.Array:
        """The outputs for elements [Q, C], each the next one after the sequence `past` [S, C]."""
        past_key, _ = jnp.split(self.key_and_query(past), 2, axis=-1)
        key, query = jnp.split(self.key_and_query(x), 2, axis=-1)
        own = jnp.sum(query * key, -1, keepdims=True)
        logits = jnp.concatenate([query @ past_key.T, own], -1) / self.keys**0.5
        visible = jnp.broadcast_to(jnp.append(mask, True), logits.shape)
        weights = masked_softmax(logits, visible)
        read = weights[:, :-1] @ self.value(past) + weights[:, -1:] * self.value(x)
        return jnp.concatenate([x, read], -1)


def _alike(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """Initialise keys and queries with the same kernel: [C, K] twice, side by side.

    The kernel has twice the usual deviation, which sharpens the attention at the start.
    """
    draw = nn.initializers.variance_scaling(4.0, "fan_in", "truncated_normal")
    return jnp.tile(draw(key, (shape[0], shape[1] // 2), dtype), 2)

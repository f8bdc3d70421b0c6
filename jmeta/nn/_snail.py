"""SNAIL: temporal convolutions and causal attention over the support sequence."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._attend import attention, embedded, masked_softmax

Support = tuple[Any, jax.Array, jax.Array]  # inputs [S, ...], one-hot labels [S, N], mask [S]


class SNAIL(nn.Module):
    """The simple neural attentive learner: each query ends the sequence of support examples.

    Blocks A T A T A: attention reads from anywhere, causal convolutions of dilation 1, 2, 4, …
    (as many as span `length`) aggregate neighbours. Each block appends its result to its input:

        dense block:  [x, tanh(W_f x') σ(W_g x')],   x'_t = [x_{t-dilation}, x_t]
        attention:    [x, Σ_{s≤t} softmax(k_s · q_t / √K) v_s]

    The published listing starts at dilation 2; from 1 every element is within reach. Causality
    lets `encode` keep the layers' inputs over the support, and `decode` add one element a query
    to them: the same numbers as running the sequence again for each query, at S + Q elements
    instead of S Q. The order of the support matters.

    Args:
        outputs: classes N; the width of labels and logits.
        length: longest sequence foreseen, S + 1. A longer one is read by attention alone.
        filters: channels that each dense block appends.
        attention: (keys, values) widths of each attention block; convolutions lie between them.
        embed: network for the inputs, such as `Conv4(None)`; None flattens them. One that uses
            batch statistics sees padded examples.

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
        """Layers in their order, and the classifier."""
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

    def __call__(self, support: Support, x: Any) -> jax.Array:
        """A support set and queries [Q, ...] to logits [Q, outputs]."""
        return self.decode(self.encode(support), x)

    def encode(self, support: Support) -> tuple[tuple[jax.Array, ...], jax.Array]:
        """Each layer's input over the support, [S, C] each, and the mask [S].

        Padded examples must come first: they are the zeros before the sequence begins.
        """
        x, labels, mask = support
        x = jnp.where(mask[:, None], embedded(self.embed, x, labels), 0)
        inputs = []
        for layer in self.layers:
            inputs.append(x)
            x = jnp.where(mask[:, None], layer(x, mask), 0)
        return tuple(inputs), mask

    def decode(self, state: tuple[tuple[jax.Array, ...], jax.Array], x: Any) -> jax.Array:
        """Logits [Q, outputs] of queries that each come next, with a null label."""
        inputs, mask = state
        x = embedded(self.embed, x, jnp.zeros((len(x), self.outputs)))
        for layer, past in zip(self.layers, inputs, strict=True):
            x = layer.following(past, mask, x)
        return self.head(x)


class DenseBlock(nn.Module):
    """A gated causal convolution of window 2: appends tanh(W_f x') σ(W_g x') to x.

    Args:
        filters: channels appended.
        dilation: how far back the window's other element lies.

    >>> import jax, jax.numpy as jnp
    >>> x, mask = jnp.ones((4, 3)), jnp.ones(4, bool)
    >>> DenseBlock(2, dilation=1).init_with_output(jax.random.key(0), x, mask)[0].shape
    (4, 5)
    """

    filters: int
    dilation: int

    def setup(self) -> None:
        """Both gates as one matrix product."""
        self.gates = nn.Dense(2 * self.filters)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """A sequence [S, C] to [S, C + filters]."""
        del mask  # padding is zeros already
        before = jnp.pad(x, ((self.dilation, 0), (0, 0)))[: len(x)]
        return self._append(before, x)

    def following(self, past: jax.Array, mask: jax.Array, x: jax.Array) -> jax.Array:
        """The same for elements [Q, C], each of which comes next after `past` [S, C]."""
        del mask
        before = jnp.pad(past, ((self.dilation, 0), (0, 0)))[len(past)]
        return self._append(jnp.broadcast_to(before, x.shape), x)

    def _append(self, before: jax.Array, x: jax.Array) -> jax.Array:
        signal, gate = jnp.split(self.gates(jnp.concatenate([before, x], -1)), 2, axis=-1)
        return jnp.concatenate([x, jnp.tanh(signal) * nn.sigmoid(gate)], -1)


class AttentionBlock(nn.Module):
    """One head of causal attention: appends what it read to x.

    Keys and queries begin with the same weights, so that attention begins as a comparison: an
    element reads what resembles it. Drawn apart, thousands of episodes pass before it is one.

    Args:
        keys: width of keys and queries.
        values: channels appended.

    Mimetic Initialization of Self-Attention Layers (Trockman, Kolter, 2023, arXiv:2305.09828).

    >>> import jax, jax.numpy as jnp
    >>> x, mask = jnp.ones((4, 3)), jnp.ones(4, bool)
    >>> AttentionBlock(8, 2).init_with_output(jax.random.key(0), x, mask)[0].shape
    (4, 5)
    """

    keys: int
    values: int

    def setup(self) -> None:
        """Keys and queries as one matrix product, and values."""
        self.key_and_query = nn.Dense(2 * self.keys, kernel_init=_alike)
        self.value = nn.Dense(self.values)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """A sequence [S, C] to [S, C + values]; element t sees the present ones up to itself."""
        visible = jnp.tril(jnp.ones((len(x), len(x)), bool)) & mask[None, :]
        key, query = jnp.split(self.key_and_query(x), 2, axis=-1)
        read = attention(query, key, self.value(x), visible)
        return jnp.concatenate([x, read], -1)

    def following(self, past: jax.Array, mask: jax.Array, x: jax.Array) -> jax.Array:
        """The same for elements [Q, C], each of which comes next after `past` [S, C]."""
        past_key, _ = jnp.split(self.key_and_query(past), 2, axis=-1)
        key, query = jnp.split(self.key_and_query(x), 2, axis=-1)
        own = jnp.sum(query * key, -1, keepdims=True)
        logits = jnp.concatenate([query @ past_key.T, own], -1) / self.keys**0.5
        visible = jnp.broadcast_to(jnp.append(mask, True), logits.shape)
        weights = masked_softmax(logits, visible)
        read = weights[:, :-1] @ self.value(past) + weights[:, -1:] * self.value(x)
        return jnp.concatenate([x, read], -1)


def _alike(key: jax.Array, shape: tuple[int, int], dtype: Any) -> jax.Array:
    """The same kernel twice, side by side: [C, 2 K].

    Twice the usual deviation: what resembles an element then stands out from the rest.
    """
    draw = nn.initializers.variance_scaling(4.0, "fan_in", "truncated_normal")
    return jnp.tile(draw(key, (shape[0], shape[1] // 2), dtype), 2)

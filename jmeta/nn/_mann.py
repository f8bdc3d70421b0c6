"""MANN: an LSTM controller with an external memory that overwrites what is least used."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._attend import embedded
from jmeta.nn._linear import align

Support = tuple[Any, jax.Array, jax.Array]  # inputs [S, ...], one-hot labels [S, N], mask [S]


class Memory(NamedTuple):
    """Rows that are read by content and written by use."""

    rows: jax.Array  # [M, W]
    usage: jax.Array  # [M] decayed sum of the read and write weights
    weights: jax.Array  # [H, M] the last read weights of each head, which sum to 1


class MANNState(NamedTuple):
    """What a sequence leaves behind."""

    controller: tuple[jax.Array, jax.Array]  # LSTM cell and output, [C] each
    memory: Memory
    reads: jax.Array  # [H W] what was read last


def empty_memory(slots: int, width: int, heads: int, dtype: Any = jnp.float32) -> Memory:
    """Zero rows, unused; head h looks at row h.

    >>> empty_memory(3, 2, 1).weights.tolist()
    [[1.0, 0.0, 0.0]]
    """
    zeros = jnp.zeros((slots, width), dtype)
    return Memory(zeros, zeros[:, 0], jnp.eye(heads, slots, dtype=dtype))


def read_weights(rows: jax.Array, keys: jax.Array, strengths: jax.Array) -> jax.Array:
    """Address by content: w_h = softmax_i(β_h cos(k_h, M_i)), [H, M].

    Args:
        rows: M [M, W].
        keys: k [H, W], one a head.
        strengths: β [H]; ones give the published form.

    Neural Turing Machines (Graves, Wayne, Danihelka, 2014, arXiv:1410.5401), equations 5 and 6.

    >>> import jax.numpy as jnp
    >>> weights = read_weights(jnp.eye(2), jnp.array([[1.0, 0.0]]), jnp.array([9.0]))
    >>> round(float(weights[0, 0]), 3)
    1.0
    """
    epsilon = 1e-6  # inside the roots, for rows of zeros
    lengths = [jnp.sqrt(jnp.sum(v**2, -1) + epsilon) for v in (keys, rows)]
    cosines = keys @ rows.T / (lengths[0][:, None] * lengths[1][None, :])
    return jax.nn.softmax(strengths[:, None] * cosines, axis=-1)


def least_used(usage: jax.Array, heads: int) -> jax.Array:
    """One-hot rows [H, M]: head h gets the (h+1)-th least used slot, the first among equals.

    >>> import jax.numpy as jnp
    >>> least_used(jnp.array([0.5, 0.1, 0.1]), 2).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    slots = jnp.argsort(jax.lax.stop_gradient(usage), stable=True)[:heads]
    return jax.nn.one_hot(slots, len(usage), dtype=usage.dtype)


def write(
    memory: Memory, keys: jax.Array, weights: jax.Array, gate: jax.Array, *, decay: float
) -> Memory:
    """Write each key to the slot read last, or to the least used, which is erased first.

        write weights  w^w = σ(α) w^r_{t-1} + (1 − σ(α)) w^lu_{t-1}
        rows           M_i ← M_i (1 − w^lu_i) + Σ_h w^w_{hi} k_h
        usage          w^u ← γ w^u + Σ_h (w^r_h + w^w_h)

    Args:
        memory: before the step.
        keys: k [H, W], one a head.
        weights: w^r [H, M], the read weights of this step.
        gate: α [].
        decay: γ in [0, 1).

    One-shot Learning with Memory-Augmented Neural Networks (Santoro, Bartunov, Botvinick,
    Wierstra, Lillicrap, 2016, arXiv:1605.06065).

    >>> import jax.numpy as jnp
    >>> memory, key = empty_memory(2, 1, 1), jnp.array([[3.0]])
    >>> write(memory, key, jnp.array([[0.0, 1.0]]), jnp.zeros(()), decay=0.9).rows.tolist()
    [[3.0], [0.0]]
    """
    free = least_used(memory.usage, len(keys))
    share = nn.sigmoid(gate)
    written = share * memory.weights + (1 - share) * free
    rows = memory.rows * (1 - free.sum(0))[:, None] + written.T @ keys
    usage = decay * memory.usage + weights.sum(0) + written.sum(0)
    return Memory(rows, usage, weights)


class MANN(nn.Module):
    """A memory-augmented network: the support sequence writes the memory, queries read it.

    A step feeds [input, label, last reads] to an LSTM, whose output gives a key for each head;
    the head reads the memory by content and then writes its key. The logits are linear in
    [LSTM output, reads]. Each query is one step from the state that the support left, with a null
    label, and moves nothing. The order of the support matters.

    The published episodes give the label one step late, for every image is judged before its
    label is seen; here a support example comes with its label.

    Args:
        outputs: classes N; the width of labels and logits.
        slots: rows of the memory, M.
        width: of a row, W.
        heads: reads (and writes) a step, H.
        controller: LSTM units.
        decay: γ of the usage.
        sharpen: each head learns a strength β = 1 + softplus(·), as Neural Turing Machines have;
            False for β = 1 as published.
        embed: network for the inputs, such as `Conv4(None)`; None flattens them.

    Raises:
        ValueError: more heads than slots.

    One-shot Learning with Memory-Augmented Neural Networks (Santoro, Bartunov, Botvinick,
    Wierstra, Lillicrap, 2016, arXiv:1605.06065).

    >>> import jax, jax.numpy as jnp
    >>> model = MANN(2, slots=8, width=4, heads=1, controller=6)
    >>> support = jnp.ones((4, 3)), jnp.eye(2)[jnp.array([0, 0, 1, 1])], jnp.ones(4, bool)
    >>> params = jax.jit(model.init)(jax.random.key(0), support, jnp.ones((6, 3)))
    >>> jax.jit(model.apply)(params, support, jnp.ones((6, 3))).shape
    (6, 2)
    """

    outputs: int
    slots: int = 128
    width: int = 40
    heads: int = 4
    controller: int = 200
    decay: float = 0.95
    sharpen: bool = True
    embed: nn.Module | None = None

    def setup(self) -> None:
        """The controller, what it emits, and the write gate."""
        if not 1 <= self.heads <= self.slots:
            raise ValueError(
                f"MANN got heads={self.heads}, slots={self.slots}; give at least one head and no "
                "more heads than slots, for each writes to a slot of its own."
            )
        self.lstm = nn.LSTMCell(self.controller)
        self.key = nn.Dense(self.heads * self.width)
        self.strength = nn.Dense(self.heads) if self.sharpen else None
        self.gate = self.param("gate", nn.initializers.zeros_init(), (), jnp.float32)
        self.head = nn.Dense(self.outputs)

    def __call__(self, support: Support, x: Any) -> jax.Array:
        """A support set and queries [Q, ...] to logits [Q, outputs]."""
        return self.decode(self.encode(support), x)

    def encode(self, support: Support) -> MANNState:
        """The state after the support, one example after the other; padded ones change nothing."""
        x, labels, mask = support
        x = embedded(self.embed, x, labels)
        scan = nn.scan(MANN._step, variable_broadcast="params", split_rngs={"params": False})
        state, _ = scan(self, self._start(jnp.result_type(x, self.gate)), (x, mask))
        return state

    def decode(self, state: MANNState, x: Any) -> jax.Array:
        """Logits [Q, outputs] of queries that all read the same memory."""
        x = embedded(self.embed, x, jnp.zeros((len(x), self.outputs)))
        read = nn.vmap(
            lambda model, state, x: model._read(state, x)[0],
            variable_axes={"params": None},
            split_rngs={"params": False},
            in_axes=(None, 0),
        )
        after = read(self, state, x)
        return self.head(jnp.concatenate([after.controller[1], after.reads], -1))

    def _start(self, dtype: Any) -> MANNState:
        memory = empty_memory(self.slots, self.width, self.heads, dtype)
        rest = jnp.zeros(self.controller, dtype), jnp.zeros(self.controller, dtype)
        start = MANNState(rest, memory, jnp.zeros(self.heads * self.width, dtype))
        return jax.tree.map(lambda leaf: align(leaf, self.gate)[0], start)

    def _read(self, state: MANNState, x: jax.Array) -> tuple[MANNState, jax.Array]:
        """One step of the controller and the reads; the rows and their usage stay."""
        controller, out = self.lstm(state.controller, jnp.concatenate([x, state.reads]))
        keys = jnp.tanh(self.key(out)).reshape(self.heads, self.width)
        one = jnp.ones(self.heads, out.dtype)
        strengths = one if self.strength is None else one + nn.softplus(self.strength(out))
        weights = read_weights(state.memory.rows, keys, strengths)
        reads = (weights @ state.memory.rows).reshape(-1)
        return MANNState(controller, state.memory._replace(weights=weights), reads), keys

    def _step(
        self, state: MANNState, inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[MANNState, None]:
        """Read, then write; nothing happens where the example is padding."""
        x, present = inputs
        after, keys = self._read(state, x)
        memory = write(state.memory, keys, after.memory.weights, self.gate, decay=self.decay)
        after = after._replace(memory=memory)
        return jax.tree.map(lambda new, old: jnp.where(present, new, old), after, state), None

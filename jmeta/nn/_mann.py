"""MANN: an LSTM controller with an external memory that overwrites its least used rows."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._attend import embedded
from jmeta.nn._linear import align

Support = tuple[Any, jax.Array, jax.Array]  # inputs [S, ...], one-hot labels [S, N], mask [S]


class Memory(NamedTuple):
    """An external memory, read by content and written where it was used least or last."""

    rows: jax.Array  # [M, W]
    usage: jax.Array  # [M] decayed sum of all read and write weights so far
    weights: jax.Array  # [H, M] the last read weights of each head; each row sums to 1


class MANNState(NamedTuple):
    """The state of a MANN after a sequence."""

    controller: tuple[jax.Array, jax.Array]  # cell and output of the LSTM, [C] each
    memory: Memory
    reads: jax.Array  # [H W] the rows that were read last


def empty_memory(slots: int, width: int, heads: int, dtype: Any = jnp.float32) -> Memory:
    """A memory of zeros that was never used, with head h reading row h.

    >>> empty_memory(3, 2, 1).weights.tolist()
    [[1.0, 0.0, 0.0]]
    """
    zeros = jnp.zeros((slots, width), dtype)
    return Memory(zeros, zeros[:, 0], jnp.eye(heads, slots, dtype=dtype))


def read_weights(rows: jax.Array, keys: jax.Array, strengths: jax.Array) -> jax.Array:
    """Read weights [H, M] by content, w_h = softmax_i(β_h cos(k_h, M_i)).

    Args:
        rows: M, the rows of the memory [M, W].
        keys: k, one for each head [H, W].
        strengths: β [H]; MANN as published has ones.

    Neural Turing Machines (Graves, Wayne, Danihelka, 2014, arXiv:1410.5401), equations 5 and 6.

    >>> import jax.numpy as jnp
    >>> weights = read_weights(jnp.eye(2), jnp.array([[1.0, 0.0]]), jnp.array([9.0]))
    >>> round(float(weights[0, 0]), 3)
    1.0
    """
    epsilon = 1e-6  # inside the roots, because rows may be zero
    lengths = [jnp.sqrt(jnp.sum(v**2, -1) + epsilon) for v in (keys, rows)]
    cosines = keys @ rows.T / (lengths[0][:, None] * lengths[1][None, :])
    return jax.nn.softmax(strengths[:, None] * cosines, axis=-1)


def least_used(usage: jax.Array, heads: int) -> jax.Array:
    """One-hot rows [H, M] that select the slot with the (h + 1)-th smallest usage for head h.

    Among slots of equal usage the first comes first.

    >>> import jax.numpy as jnp
    >>> least_used(jnp.array([0.5, 0.1, 0.1]), 2).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    slots = jnp.argsort(jax.lax.stop_gradient(usage), stable=True)[:heads]
    return jax.nn.one_hot(slots, usage.shape[0], dtype=usage.dtype)


def write(
    memory: Memory, keys: jax.Array, weights: jax.Array, gate: jax.Array, *, decay: float
) -> Memory:
    """Write each key, partly to the slot read last and partly to the least used one.

    The least used slots are erased before the keys are added.

        write weights  w^w = σ(α) w^r_{t-1} + (1 − σ(α)) w^lu_{t-1}
        rows           M_i ← M_i (1 − w^lu_i) + Σ_h w^w_{hi} k_h
        usage          w^u ← γ w^u + Σ_h (w^r_h + w^w_h)

    Args:
        memory: the memory before this step.
        keys: k, one for each head [H, W].
        weights: w^r, the read weights of this step [H, M].
        gate: α, a scalar [].
        decay: γ, in [0, 1).

    Returns:
        The memory after this step.

    One-shot Learning with Memory-Augmented Neural Networks (Santoro, Bartunov, Botvinick,
    Wierstra, Lillicrap, 2016, arXiv:1605.06065).

    >>> import jax.numpy as jnp
    >>> memory, key = empty_memory(2, 1, 1), jnp.array([[3.0]])
    >>> write(memory, key, jnp.array([[0.0, 1.0]]), jnp.zeros(()), decay=0.9).rows.tolist()
    [[3.0], [0.0]]
    """
    free = least_used(memory.usage, keys.shape[0])
    share = nn.sigmoid(gate)
    written = share * memory.weights + (1 - share) * free
    rows = memory.rows * (1 - free.sum(0))[:, None] + written.T @ keys
    usage = decay * memory.usage + weights.sum(0) + written.sum(0)
    return Memory(rows, usage, weights)


class MANN(nn.Module):
    """A memory-augmented neural network: the support set writes a memory that the queries read.

    In each step an LSTM gets [input, label, last reads] and emits a key for each head; the head
    reads the memory by content and then writes its key. The logits are linear in [LSTM output,
    reads]. A query is one step from the state after the support set, with zeros for its label; it
    does not change the state. The result depends on the order of the support set.

    In the published episodes a label arrives one step after its input, because every input is
    classified before its label is seen. Here a support example comes together with its label.

    Args:
        outputs: N, the number of classes and the width of labels and logits.
        slots: M, the number of rows of the memory.
        width: W, the width of a row.
        heads: H, the number of reads and of writes in a step.
        controller: the number of LSTM units.
        decay: γ, the decay of the usage.
        sharpen: whether each head learns a strength β = 1 + softplus(·), as in Neural Turing
            Machines; False gives β = 1, as published.
        embed: network for the inputs, such as `Conv4(None)`; None flattens them.

    Raises:
        ValueError: there are more heads than slots.

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
        """Make the controller, its output layers and the write gate."""
        if not 1 <= self.heads <= self.slots:
            raise ValueError(
                f"MANN got heads={self.heads}, slots={self.slots}; give at least one head, and no "
                "more heads than slots, because each head writes to a slot of its own."
            )
        self.lstm = nn.LSTMCell(self.controller)
        self.key = nn.Dense(self.heads * self.width)
        self.strength = nn.Dense(self.heads) if self.sharpen else None
        self.gate = self.param("gate", nn.initializers.zeros_init(), (), jnp.float32)
        self.head = nn.Dense(self.outputs)

    @property
    def masked(self) -> bool:
        """Whether the embedding network is told which queries are real."""
        return bool(getattr(self.embed, "masked", False))

    def __call__(self, support: Support, x: Any) -> jax.Array:
        """A support set and queries [Q, ...] to logits [Q, outputs]."""
        return self.decode(self.encode(support), x)

    def encode(self, support: Support) -> MANNState:
        """Read the support set, one example after another; padded examples change nothing."""
        x, labels, mask = support
        x = embedded(self.embed, x, labels, mask)
        scan = nn.scan(MANN._step, variable_broadcast="params", split_rngs={"params": False})
        state, _ = scan(self, self._start(jnp.result_type(x, self.gate)), (x, mask))
        return state

    def decode(self, state: MANNState, x: Any, *, real: jax.Array | None = None) -> jax.Array:
        """Logits [Q, outputs] of queries [Q, ...], each of which reads the same memory.

        `real` [Q] is false for padded queries.
        """
        x = embedded(self.embed, x, jnp.zeros((x.shape[0], self.outputs)), real)
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
        """One step of the controller and of the reads, and the keys; no row or usage changes."""
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
        """Read, then write; a padded example leaves the state as it is."""
        x, present = inputs
        after, keys = self._read(state, x)
        memory = write(state.memory, keys, after.memory.weights, self.gate, decay=self.decay)
        after = after._replace(memory=memory)
        return jax.tree.map(lambda new, old: jnp.where(present, new, old), after, state), None

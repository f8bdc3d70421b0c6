"""Full-context embeddings: LSTMs that embed each example in the context of its support set."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._linear import align

State = tuple[jax.Array, jax.Array]  # an LSTM's cell and hidden state


class FullContext(nn.Module):
    """Embed support examples by a bidirectional LSTM, and queries by an attention LSTM.

        g(x_i) = h→_i + h←_i + z_i                                       support, method "support"
        f(x) = h_K,   h_k = LSTM([z, r_{k−1}], h_{k−1}) + z,   h_0 = z   queries, method "query"
               r_k = Σ_i softmax_i(h_k · g_i) g_i

    where z are the embeddings of a backbone, and h→, h← the LSTM's states in either direction.
    Padded examples change no state and get no attention. The result depends on the order of the
    support set.

    Args:
        features: D, the width of the embeddings and of the LSTMs.
        steps: K, the number of attention steps of f.

    Raises:
        ValueError: embeddings are not [N, features].

    Matching Networks for One Shot Learning (Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra,
    2016, arXiv:1606.04080), appendix A; Order Matters: Sequence to sequence for sets (Vinyals,
    Bengio, Kudlur, 2015, arXiv:1511.06391).

    >>> model, z, valid = FullContext(4, steps=2), jnp.ones((3, 4)), jnp.ones(3, bool)
    >>> params = jax.jit(model.init)(jax.random.key(0), z, valid, z)
    >>> g = model.apply(params, z, valid, method="support")
    >>> model.apply(params, z, g, valid, method="query").shape
    (3, 4)
    """

    features: int
    steps: int = 5

    def setup(self) -> None:
        self.forward = nn.OptimizedLSTMCell(self.features)
        self.backward = nn.OptimizedLSTMCell(self.features)
        self.attention = nn.OptimizedLSTMCell(self.features)

    def __call__(
        self, support: jax.Array, valid: jax.Array, queries: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Support embeddings [S, D], mask [S] and query embeddings [Q, D] to g [S, D], f [Q, D]."""
        context = self.support(support, valid)
        return context, self.query(queries, context, valid)

    def support(self, z: jax.Array, valid: jax.Array) -> jax.Array:
        """Support embeddings [S, D] and mask [S] to g [S, D]."""
        self._check(z)
        ahead = _read(self.forward, z, valid)
        back = _read(self.backward, z[::-1], valid[::-1])[::-1]
        return z + ahead + back

    def query(self, z: jax.Array, context: jax.Array, valid: jax.Array) -> jax.Array:
        """Query embeddings [Q, D], g [S, D] and mask [S] to f [Q, D]."""
        self._check(z)
        cell, hidden = jnp.zeros_like(z), z
        for _ in range(self.steps):
            scores = jnp.where(valid[None], hidden @ context.T, jnp.finfo(z.dtype).min)
            read = jax.nn.softmax(scores, -1) @ context
            (cell, hidden), _ = self.attention((cell, hidden), jnp.concatenate([z, read], -1))
            hidden = hidden + z
        return hidden

    def _check(self, z: jax.Array) -> None:
        if z.ndim != 2 or z.shape[1] != self.features:
            raise ValueError(
                f"FullContext({self.features}) expects embeddings [N, {self.features}], but got "
                f"{z.shape}; set features to the width of the embedding network."
            )


def _read(cell: nn.Module, z: jax.Array, valid: jax.Array) -> jax.Array:
    """Hidden states [S, D] of an LSTM that skips the examples which are not valid."""

    def advance(cell: nn.Module, state: State, step: State) -> tuple[State, jax.Array]:
        x, real = step
        new, _ = cell(state, x)
        kept = jax.tree.map(lambda a, b: jnp.where(real, a, b), new, state)
        return kept, kept[1]

    zeros, _ = align(jnp.zeros_like(z[0]), z)
    start = zeros, zeros
    scan = nn.scan(advance, variable_broadcast="params", split_rngs={"params": False})
    return scan(cell, start, (z, valid))[1]

"""Full-context embeddings: LSTMs that let a support set change how its members are embedded."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._linear import align

State = tuple[jax.Array, jax.Array]  # an LSTM's cell and hidden state


class FullContext(nn.Module):
    """g, a bidirectional LSTM over the support set, and f, an attention LSTM over it for a query.

        g(x_i) = h→_i + h←_i + z_i
        f: h_k = LSTM([z, r_{k−1}], h_{k−1}) + z,   r_k = Σ_i softmax_i(h_k · g_i) g_i,   h_0 = z

    Padded examples change no state and take no attention. The order of the support set counts.

    Args:
        features: D, the width of the embeddings and of the LSTMs.
        steps: K, processing steps of f.

    Raises:
        ValueError: embeddings that are not [N, features].

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
        """Both: embeddings [S, D], mask [S], [Q, D] to g [S, D] and f [Q, D]."""
        context = self.support(support, valid)
        return context, self.query(queries, context, valid)

    def support(self, z: jax.Array, valid: jax.Array) -> jax.Array:
        """Embeddings [S, D] and mask [S] to g [S, D]."""
        self._check(z)
        ahead = _read(self.forward, z, valid)
        back = _read(self.backward, z[::-1], valid[::-1])[::-1]
        return z + ahead + back

    def query(self, z: jax.Array, context: jax.Array, valid: jax.Array) -> jax.Array:
        """Embeddings [Q, D], g [S, D] and mask [S] to f [Q, D]."""
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
                f"{z.shape}; give it the width of the embedding network."
            )


def _read(cell: nn.Module, z: jax.Array, valid: jax.Array) -> jax.Array:
    """Hidden states [S, D] of an LSTM that skips what is not valid."""

    def advance(cell: nn.Module, state: State, step: State) -> tuple[State, jax.Array]:
        x, real = step
        new, _ = cell(state, x)
        kept = jax.tree.map(lambda a, b: jnp.where(real, a, b), new, state)
        return kept, kept[1]

    zeros, _ = align(jnp.zeros_like(z[0]), z)
    start = zeros, zeros
    scan = nn.scan(advance, variable_broadcast="params", split_rngs={"params": False})
    return scan(cell, start, (z, valid))[1]

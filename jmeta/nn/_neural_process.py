"""Neural processes: functions predicted from a set of points, with their uncertainty."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._attend import attention
from jmeta.nn._mlp import MLP

Support = tuple[jax.Array, jax.Array, jax.Array]  # x [S, D], y [S, outputs], mask [S]
Normal = tuple[jax.Array, jax.Array]  # mean, standard deviation


class NeuralProcess(nn.Module):
    """Conditional, latent and attentive neural processes: two paths, each of which may be left out.

        deterministic   r(x) = mean_i h(x_i, y_i),  or attention over the h(x_i, y_i)
        latent          z ~ N(μ(s), σ(s)²),         s = mean_i h'(x_i, y_i)
        decoder         y ~ N(μ(x, r, z), σ(x, r, z)²)

    * CNP: `NeuralProcess()`.
    * NP: `NeuralProcess(latent=True, deterministic=False)`, or with both paths.
    * ANP: `NeuralProcess(latent=True, heads=8)`: attention from x to the x_i. Attention among the
      points themselves, which the paper's regression in one dimension goes without, is not there.

    The order of the points does not matter; a point that the mask leaves out is not there.

    Args:
        outputs: width of y.
        width: of all layers, of r and of z.
        depth: hidden layers of each network.
        deterministic, latent: which paths; at least one.
        heads: of the attention that makes r depend on x; 0 for the mean. They divide the width.
        least: smallest standard deviation of y; the papers' code has 0.1.

    Raises:
        ValueError: no path, or heads that do not divide the width.

    Conditional Neural Processes (Garnelo et al., 2018, arXiv:1807.01613); Neural Processes
    (Garnelo et al., 2018, arXiv:1807.01622); Attentive Neural Processes (Kim et al., 2019,
    arXiv:1901.05761).

    >>> import jax, jax.numpy as jnp
    >>> model = NeuralProcess(width=8, latent=True, heads=2)
    >>> support = jnp.ones((4, 1)), jnp.ones((4, 1)), jnp.ones(4, bool)
    >>> params = jax.jit(model.init)(jax.random.key(0), support, jnp.ones((6, 1)))
    >>> mean, scale = jax.jit(model.apply)(params, support, jnp.ones((6, 1)))
    >>> mean.shape, bool((scale > 0.1).all())
    ((6, 1), True)
    """

    outputs: int = 1
    width: int = 128
    depth: int = 3
    deterministic: bool = True
    latent: bool = False
    heads: int = 0
    least: float = 0.1

    def setup(self) -> None:
        """The networks of the chosen paths, and the decoder."""
        if not (self.deterministic or self.latent) or (self.heads and self.width % self.heads):
            raise ValueError(
                f"NeuralProcess got deterministic={self.deterministic}, latent={self.latent}, "
                f"heads={self.heads}, width={self.width}; give at least one path and a number of "
                "heads that divides the width."
            )
        if self.deterministic:
            self.points = self._network(self.width)
            if self.heads:
                self.places = self._network(self.width)
                self.query, self.key, self.value, self.mixed = [
                    nn.Dense(self.width, use_bias=False) for _ in range(4)
                ]
        if self.latent:
            self.summary = self._network(self.width)
            self.moments = [nn.Dense(self.width), nn.Dense(2 * self.width)]
        self.decoder = self._network(2 * self.outputs)

    def _network(self, outputs: int) -> MLP:
        init = nn.initializers.lecun_normal()
        return MLP((self.width,) * self.depth, outputs, kernel_init=init)

    def __call__(self, support: Support, x: jax.Array) -> Normal:
        """Points and x [Q, D] to mean and standard deviation [Q, outputs], at the mean latent."""
        memory, latent = self.encode(support)
        return self.decode((memory, None if latent is None else latent[0]), x)

    def encode(self, support: Support) -> tuple[Any, Normal | None]:
        """What the deterministic path keeps, and the latent's mean and deviation [width]."""
        x, y, mask = support
        x, y = (jnp.where(mask[:, None], v, 0) for v in (x, y))
        pairs = jnp.concatenate([x, y], -1)
        memory: Any = None
        if self.deterministic:
            found = self.points(pairs)
            memory = (x, found, mask) if self.heads else _masked_mean(found, mask)
        return memory, self._latent(pairs, mask) if self.latent else None

    def decode(self, state: tuple[Any, jax.Array | None], x: jax.Array) -> Normal:
        """Mean and standard deviation [Q, outputs] at x [Q, D], given one latent z [width].

        σ = least + (1 − least) softplus(·)
        """
        memory, z = state
        parts = [x]
        if self.deterministic:
            attended = self._attend(memory, x) if self.heads else _each(memory, x)
            parts.append(attended)
        if self.latent:
            parts.append(_each(z, x))
        mean, raw = jnp.split(self.decoder(jnp.concatenate(parts, -1)), 2, axis=-1)
        return mean, self.least + (1 - self.least) * nn.softplus(raw)

    def _latent(self, pairs: jax.Array, mask: jax.Array) -> Normal:
        """σ = 0.1 + 0.9 sigmoid(·), as in the papers' code."""
        one, two = self.moments
        mean, raw = jnp.split(two(nn.relu(one(_masked_mean(self.summary(pairs), mask)))), 2)
        return mean, 0.1 + 0.9 * nn.sigmoid(raw)

    def _attend(self, memory: tuple[jax.Array, jax.Array, jax.Array], x: jax.Array) -> jax.Array:
        """Multi-head attention from x [Q, D] to the points: [Q, width]."""
        places, found, mask = memory
        rows = self.query(self.places(x)), self.key(self.places(places)), self.value(found)
        queries, keys, values = (v.reshape(len(v), self.heads, -1) for v in rows)
        visible = jnp.broadcast_to(mask, (len(x), len(mask)))
        each_head = jax.vmap(attention, in_axes=(1, 1, 1, None), out_axes=1)
        read = each_head(queries, keys, values, visible)
        return self.mixed(read.reshape(len(x), -1))


def _masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean [D] of the rows [S, D] that are there; zeros where none is."""
    return jnp.where(mask[:, None], values, 0).sum(0) / jnp.maximum(mask.sum(), 1)


def _each(row: Any, x: jax.Array) -> jax.Array:
    """The same row [D] for every entry of x: [Q, D]."""
    return jnp.broadcast_to(row, (len(x), len(row)))

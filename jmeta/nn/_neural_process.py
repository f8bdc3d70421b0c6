"""Neural processes: networks that predict a function, with uncertainty, from some of its points."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._attend import attention
from jmeta.nn._mlp import MLP

Support = tuple[jax.Array, jax.Array, jax.Array]  # x [S, D], y [S, outputs], mask [S]
Normal = tuple[jax.Array, jax.Array]  # mean, standard deviation


class NeuralProcess(nn.Module):
    """A conditional, latent or attentive neural process.

        deterministic   r(x) = mean_i h(x_i, y_i),  or attention over the h(x_i, y_i)
        latent          z ~ N(μ(s), σ(s)²),         s = mean_i h'(x_i, y_i)
        decoder         y ~ N(μ(x, r, z), σ(x, r, z)²)

    The options choose which of the two paths, deterministic and latent, there are:

    * CNP: `NeuralProcess()`.
    * NP: `NeuralProcess(latent=True, deterministic=False)`, or with both paths.
    * ANP: `NeuralProcess(latent=True, heads=8)`, with attention from x to the x_i. There is no
      attention among the points themselves; the paper's regression in one dimension has none
      either.

    The result does not depend on the order of the points. Points whose mask is false are ignored.

    Args:
        outputs: width of y.
        width: width of all layers, of r and of z.
        depth: number of hidden layers of each network.
        deterministic: whether there is a deterministic path.
        latent: whether there is a latent path.
        heads: number of attention heads that make r depend on x, a divisor of `width`; 0 for the
            mean over points.
        least: smallest standard deviation of y; the papers' code has 0.1.

    Raises:
        ValueError: there is no path, or the heads do not divide the width.

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
        """Make the networks of the chosen paths, and the decoder."""
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
        """Points and x [Q, D] to mean and standard deviation [Q, outputs], with z at its mean."""
        memory, latent = self.encode(support)
        return self.decode((memory, None if latent is None else latent[0]), x)

    def encode(self, support: Support) -> tuple[Any, Normal | None]:
        """The state of the deterministic path, and the latent's mean and deviation [width].

        A path that the options leave out gives None.
        """
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

        The state is a pair, that of the deterministic path and z; a path that the options leave
        out has None.
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
        """The latent's mean and deviation, σ = 0.1 + 0.9 sigmoid(·) as in the papers' code."""
        one, two = self.moments
        mean, raw = jnp.split(two(nn.relu(one(_masked_mean(self.summary(pairs), mask)))), 2)
        return mean, 0.1 + 0.9 * nn.sigmoid(raw)

    def _attend(self, memory: tuple[jax.Array, jax.Array, jax.Array], x: jax.Array) -> jax.Array:
        """Multi-head attention from x [Q, D] to the points: [Q, width]."""
        places, found, mask = memory
        rows = self.query(self.places(x)), self.key(self.places(places)), self.value(found)
        queries, keys, values = (v.reshape(v.shape[0], self.heads, -1) for v in rows)
        visible = jnp.broadcast_to(mask, (x.shape[0], mask.shape[0]))
        each_head = jax.vmap(attention, in_axes=(1, 1, 1, None), out_axes=1)
        read = each_head(queries, keys, values, visible)
        return self.mixed(read.reshape(x.shape[0], -1))


def _masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean [D] of the rows [S, D] whose mask is true; zeros if there is none."""
    return jnp.where(mask[:, None], values, 0).sum(0) / jnp.maximum(mask.sum(), 1)


def _each(row: Any, x: jax.Array) -> jax.Array:
    """Repeat a row [D] for every entry of x: [Q, D]."""
    return jnp.broadcast_to(row, (x.shape[0], row.shape[0]))

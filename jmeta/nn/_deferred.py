"""A convolution of few input channels that is never written to memory.

The first convolution of a network reads images of one or three channels. A channel of its output is
y = kᵀ p, where the patches p of all pixels are few numbers, and y, of many channels, is the largest
array of the network. What follows asks for little of it:

* Its moments follow from those of the patches, E[y] = kᵀ E[p] and Var(y) = kᵀ Cov(p) k, and so do
  their derivatives of every order.
* Its maxima over squares of 2x2 pixels are computed pixel by pixel (see `jmeta.nn._picked`).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.nn import _across as across
from jmeta.nn import _picked as picked
from jmeta.nn._precision import Precision, products
from jmeta.nn._roles import Geometry, patches, summed_by_images

_FEW = 27  # weights of a channel: 3x3 places of three colours


class Deferred(NamedTuple):
    """A convolution by its operands: images [N, H, W, C] and kernel [kh, kw, C, F]."""

    images: jax.Array
    kernel: jax.Array
    geometry: Geometry
    precision: Precision | None = None  # of matrix products, see `jmeta.nn.products`

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the output [N, H', W', F]."""
        return self.images.shape[0], *self.geometry.steps(), self.kernel.shape[-1]

    @property
    def dtype(self) -> jnp.dtype:
        """The type of the output."""
        return self.images.dtype

    def moments(self, weights: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Mean and variance [1, 1, 1, F] of each channel; images may have weights of sum 1 [N].

        Cov(p) = E[(p - s)(p - s)ᵀ] - E[p - s] E[p - s]ᵀ for any constant s. With the mean as s,
        float32 loses no digits to cancellation, and the second term is 0; but not its derivatives.
        """
        flat = self.kernel.reshape(-1, self.kernel.shape[-1])
        with jax.default_matmul_precision("highest"):
            mean = self._average(_sums, weights)
            shift = lax.stop_gradient(mean)
            square = self._average(lambda rows, *w: _squares(rows - _row(shift), *w), weights)
            variance = jnp.sum(flat * (square @ flat), 0) - jnp.square((mean - shift) @ flat)
            # Rounding can take a variance of almost 0 below it; its derivatives stay as they are.
            variance += lax.stop_gradient(jnp.maximum(-variance, 0))
            return _row(mean @ flat), _row(variance)

    def _average(self, f: Callable[..., jax.Array], weights: jax.Array | None) -> jax.Array:
        """The average over all pixels of a sum over patches [N, H', W', K] of weighted images."""
        pixels = math.prod(self.geometry.steps())
        arrays = (self.images,) if weights is None else (self.images, weights)
        total = 1 if weights is not None else jnp.maximum(self.shape[0], 1).astype(self.dtype)

        def some(x: jax.Array, *weights: jax.Array) -> jax.Array:
            return f(patches(x, self.geometry), *weights)

        if jax.default_backend() == "cpu":  # patches of all images do not stay in the cache
            built = pixels * math.prod(self.kernel.shape[:3])
            found = summed_by_images(some, arrays, built) / pixels / total
        else:
            found = some(*arrays) / pixels / total
        return across.mean(found) if weights is None else across.total(found)

    def pooled(self, sign: jax.Array) -> jax.Array:
        """The maxima [N, H' // 2, W' // 2, F] of sign times the output, for signs that end in F."""
        kernel = self.kernel * sign.reshape(1, 1, 1, -1)
        with products(self.precision):
            return picked.pooled(self.images, kernel, self.geometry)


def _sums(rows: jax.Array, *weights: jax.Array) -> jax.Array:
    """The sum of patches [N, H', W', K] over all pixels, [K]; images may have weights [N]."""
    sums = rows.sum((1, 2))
    return weights[0] @ sums if weights else sums.sum(0)


def _squares(rows: jax.Array, *weights: jax.Array) -> jax.Array:
    """The sum of p pᵀ over the patches p of all pixels, [K, K]; images may have weights [N]."""
    left = rows * weights[0].reshape(-1, 1, 1, 1) if weights else rows
    axes = (0, 1, 2)
    return lax.dot_general(left, rows, ((axes, axes), ((), ())))


def _row(x: jax.Array) -> jax.Array:
    """A vector [K] beside arrays that end in K."""
    return x.reshape(1, 1, 1, -1)


def defers(kernel: tuple[int, ...], dtype: Any, geometry: Geometry) -> bool:
    """Whether a convolution with a kernel [kh, kw, C, F] is cheaper where it is deferred.

    One in half precision is not deferred: sums of products in that type would lose digits.
    """
    few = kernel[0] * kernel[1] * kernel[2]
    whole = dtype in (jnp.float32, jnp.float64)
    pools = geometry.stride == 1 and min(geometry.steps()) >= 2
    return whole and pools and few <= _FEW and few < kernel[3]

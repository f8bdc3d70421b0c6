"""Pooling whose derivatives of every order take few passes over memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.nn._linear import transposes

_NONE = 4  # the place of a square whose maximum is cut by ReLU and has no derivative
_CACHED_ELEMENTS = 600_000  # larger inputs leave the cache before their places are read


def max_pool(x: jax.Array, *, relu: bool = False) -> jax.Array:
    """Take the maximum of each 2x2 square, without overlap.

    An odd last row or column is left out (padding "VALID"). Max-pooling commutes with ReLU and
    every other monotone activation, and to pool first is cheaper. Of several equal maxima the
    first gets the derivative; where ReLU gives 0 there is none. The backward pass needs only the
    places of the maxima, one byte for each square.

    Args:
        x: images [N, H, W, C].
        relu: whether to apply ReLU in the same pass.

    Returns:
        Images [N, H // 2, W // 2, C].

    Raises:
        ValueError: the inputs are not images of at least 2x2 pixels.

    >>> import jax.numpy as jnp
    >>> max_pool(jnp.arange(9.0).reshape(1, 3, 3, 1)).ravel().tolist()
    [4.0]
    """
    if x.ndim != 4 or min(x.shape[1:3]) < 2:
        raise ValueError(
            f"max_pool expects images [N, H, W, C] of at least 2x2 pixels, but got {x.shape}; "
            "pool fewer times or give larger images."
        )
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    return (_max_relu if relu else _max)(x)


@jax.custom_jvp
def _max(x: jax.Array) -> jax.Array:
    first, second, third, fourth = _corners(x)
    return jnp.maximum(jnp.maximum(first, second), jnp.maximum(third, fourth))


@jax.custom_jvp
def _max_relu(x: jax.Array) -> jax.Array:
    return jnp.maximum(_max(x), 0)


@_max.defjvp
def _max_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    ((x,), (dx,)) = primals, tangents
    return _max(x), _pick(dx, _written(_place, x))


@_max_relu.defjvp
def _max_relu_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    ((x,), (dx,)) = primals, tangents
    return _max_relu(x), _pick(dx, _written(_place_above_zero, x))


def _written(place: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Compute the places of the maxima, on a CPU in a loop over images.

    XLA writes the results of a loop to memory. Without the loop it would fuse the comparisons into
    every pass that reads the places, in every order of derivative, and repeat them there.
    """
    static = isinstance(x.shape[0], int)  # or a symbolic dimension of jax.export
    if jax.default_backend() != "cpu" or not static or x.size > _CACHED_ELEMENTS:
        return place(x)
    return lax.map(lambda image: place(image[None])[0], x)


def _corners(x: jax.Array) -> list[jax.Array]:
    """The four pixels of every square: [N, H, W, C] -> 4 [N, H // 2, W // 2, C]."""
    return [x[:, a::2, b::2] for a in range(2) for b in range(2)]


def _place(x: jax.Array) -> jax.Array:
    """The number of the corner that holds the maximum, 0 to 3: int8 [N, H // 2, W // 2, C].

    The maximum is computed here and not taken from the forward pass. XLA may compute `x` again for
    this, with other roundings, and then no corner would equal a maximum of before.
    """
    return _equal(x, _max(x))


def _equal(x: jax.Array, y: jax.Array) -> jax.Array:
    """The number of the first corner that equals y."""
    first, second, third, _ = (corner == y for corner in _corners(x))
    later = jnp.where(third, jnp.int8(2), jnp.int8(3))
    return jnp.where(first, jnp.int8(0), jnp.where(second, jnp.int8(1), later))


def _place_above_zero(x: jax.Array) -> jax.Array:
    """The same after ReLU, with no corner where the output is 0."""
    y = _max(x)
    return jnp.where(y > 0, _equal(x, y), jnp.int8(_NONE))


def _pick_places(x: jax.Array, place: jax.Array) -> jax.Array:
    """The chosen corner of each square, 0 if there is none: [N, H // 2, W // 2, C]."""
    picked = jnp.zeros((), x.dtype)
    for number, corner in enumerate(_corners(x)):
        picked = jnp.where(place == number, corner, picked)
    return picked


def spread_places(y: jax.Array, place: jax.Array) -> jax.Array:
    """The adjoint of `_pick_places`: each value at its place of the square, 0 elsewhere."""
    number = jnp.arange(4, dtype=place.dtype).reshape(1, 1, 2, 1, 2, 1)
    here = place[:, :, None, :, None] == number
    spread = jnp.where(here, y[:, :, None, :, None], jnp.zeros((), y.dtype))
    n, high, _, wide, _, channels = spread.shape
    return spread.reshape(n, 2 * high, 2 * wide, channels)


_pick, _ = transposes("pool", _pick_places, spread_places)


def mean_pool(x: jax.Array) -> jax.Array:
    """Average over all pixels: images [N, H, W, C] to vectors [N, C].

    >>> import jax.numpy as jnp
    >>> mean_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).tolist()
    [[1.5]]
    """
    return x.mean((1, 2))

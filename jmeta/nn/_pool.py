"""Pooling in the fewest passes over memory, its derivatives of any order too."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.nn._linear import transposes

_NONE = 4  # the place of a square whose maximum passes nothing on
_CACHED_ELEMENTS = 600_000  # larger inputs leave the cache before their places are needed


def max_pool(x: jax.Array, *, relu: bool = False) -> jax.Array:
    """The largest of each 2x2 square, without overlap; with `relu`, at least 0.

    An odd last row or column is left out (padding "VALID"). Max-pooling commutes with ReLU and
    every other monotone activation; pool first, it is cheaper. The derivative goes to the first
    of equal maxima, and to none where ReLU cuts. It is linear given the places of the maxima,
    which are all that is kept for the backward pass: one byte a square.

    Args:
        x: images [N, H, W, C].
        relu: apply ReLU as well, in the same pass.

    Returns:
        [N, H // 2, W // 2, C].

    Raises:
        ValueError: fewer than 2x2 pixels.

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
    y = _max(x)
    return y, _pick(dx, _written(_place, x, y))


@_max_relu.defjvp
def _max_relu_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    ((x,), (dx,)) = primals, tangents
    y = _max_relu(x)
    return y, _pick(dx, _written(_place_above_zero, x, y))


def _written(
    place: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, y: jax.Array
) -> jax.Array:
    """The places, image by image on a CPU: a loop's results are written down.

    XLA:CPU would otherwise fuse the comparisons into each of the passes that read the places, in
    every order of derivative, and do them again there.
    """
    if jax.default_backend() != "cpu" or x.size > _CACHED_ELEMENTS:
        return place(x, y)
    return lax.map(lambda pair: place(pair[0][None], pair[1][None])[0], (x, y))


def _corners(x: jax.Array) -> list[jax.Array]:
    """The four pixels of every square: [N, H, W, C] -> 4 [N, H // 2, W // 2, C]."""
    return [x[:, a::2, b::2] for a in range(2) for b in range(2)]


def _place(x: jax.Array, y: jax.Array) -> jax.Array:
    """Which corner the maximum is: 0 to 3 as int8 [N, H // 2, W // 2, C]."""
    first, second, third, _ = (corner == y for corner in _corners(x))
    later = jnp.where(third, jnp.int8(2), jnp.int8(3))
    return jnp.where(first, jnp.int8(0), jnp.where(second, jnp.int8(1), later))


def _place_above_zero(x: jax.Array, y: jax.Array) -> jax.Array:
    """The same after ReLU: no corner where it cuts."""
    return jnp.where(y > 0, _place(x, y), jnp.int8(_NONE))


def _pick_places(x: jax.Array, place: jax.Array) -> jax.Array:
    """The corner at its place of each square, or 0: [N, H, W, C] -> [N, H // 2, W // 2, C]."""
    picked = jnp.zeros((), x.dtype)
    for number, corner in enumerate(_corners(x)):
        picked = jnp.where(place == number, corner, picked)
    return picked


def _spread_places(y: jax.Array, place: jax.Array) -> jax.Array:
    """The adjoint: each value at its place of the square, 0 elsewhere."""
    number = jnp.arange(4, dtype=place.dtype).reshape(1, 1, 2, 1, 2, 1)
    here = place[:, :, None, :, None] == number
    spread = jnp.where(here, y[:, :, None, :, None], jnp.zeros((), y.dtype))
    n, high, _, wide, _, channels = spread.shape
    return spread.reshape(n, 2 * high, 2 * wide, channels)


_pick, _ = transposes("pool", _pick_places, _spread_places)


def mean_pool(x: jax.Array) -> jax.Array:
    """The mean over all pixels: images [N, H, W, C] to vectors [N, C].

    >>> import jax.numpy as jnp
    >>> mean_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).tolist()
    [[1.5]]
    """
    return x.mean((1, 2))

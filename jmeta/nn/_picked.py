"""Convolution and 2x2 max-pooling in one, for images of few channels, and its derivatives.

    z[n, i, j, f] = max over the four pixels (u, v) of square (i, j) of (x * k)[n, u, v, f]

The place of a maximum does not change where a derivative is taken. So the derivatives are those of

    o[n, i, j, f] = (x * k)[n, the pixel of square (i, j) at place[n, i, j, f], f]

which is bilinear in x and k. Its three roles are named as in `jmeta.nn._roles`. One JAX primitive
computes them, and the maxima and their places; the tangent and the transpose of a role are again
the primitive. Each value of "out" is a sum of kh kw C products, and the convolution, four times as
large, is not written to memory.

Operands have a leading axis of tasks, with a kernel for each.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jmeta.nn import _pool as pool
from jmeta.nn import _precision as precisions
from jmeta.nn import _roles as roles
from jmeta.nn._linear import align, evaluated, refuse_explicit
from jmeta.nn._roles import Geometry, How
from jmeta.nn._trilinear import Bind, tangent, transposed

_picked_p = Primitive("jmeta_picked")
_SQUARE = tuple((i, j) for i in range(2) for j in range(2))


def pooled(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """The maxima: images [N, H, W, C], kernel [kh, kw, C, F] -> [N, H' // 2, W' // 2, F].

    The convolution has stride 1. An odd last row or column of it is left out.
    """
    how = How(geometry, precisions.current(), each=True)
    return _bind("value", x[None], kernel[None], how=how)[0]


def _bind(role: str, *operands: jax.Array, how: How) -> jax.Array:
    out: jax.Array = _picked_p.bind(*align(*operands), role=role, how=how)
    return out


def _abstract(a: Any, b: Any, *place: Any, role: str, how: How) -> Any:
    refuse_explicit(a, b)
    if role == "image":
        return a.update(shape=(*b.shape[:2], *how.geometry.image, a.shape[3]), weak_type=False)
    if role == "kernel":
        shape = (a.shape[0], *how.geometry.window, a.shape[4], b.shape[4])
        return a.update(shape=shape, weak_type=False)
    high, wide = how.geometry.steps()
    shape = (*a.shape[:2], high // 2, wide // 2, b.shape[4])
    return a.update(shape=shape, dtype=jnp.int8 if role == "place" else a.dtype, weak_type=False)


def _jvp(primals: Any, tangents: Any, *, role: str, how: How) -> Any:
    out = _bind(role, *primals, how=how)
    (a, b, *place), (da, db, *_) = primals, tangents
    if role == "value":  # no derivative reaches the places, so they need no rule of their own
        fixed = (lax.stop_gradient(x) for x in (a, b))
        role, place = "out", [_bind("place", *fixed, how=how)]
    return out, tangent(role, a, b, da, db, _bound(place, how))


def _transpose(cotangent: Any, a: Any, b: Any, place: Any, *, role: str, how: How) -> Any:
    return *transposed(role, cotangent, a, b, _bound([place], how)), None


def _bound(place: list[Any], how: How) -> Bind:
    """The roles at fixed places."""
    return lambda role, a, b: _bind(role, a, b, *place, how=how)


def _batch(operands: Any, dims: Any, *, role: str, how: How) -> Any:
    """Merge a batch into the images of one kernel, or into the tasks."""
    size = next(x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None)
    kernel = {"image": 0, "kernel": None}.get(role, 1)
    shared = kernel is not None and dims[kernel] is None and operands[kernel].shape[0] == 1
    front = [batching.bdim_at_front(x, d, size) for x, d in zip(operands, dims, strict=True)]
    tasks = front[0].shape[1]
    if not shared:
        whole = [x.reshape(size * tasks, *x.shape[2:]) for x in front]
        out = _bind(role, *whole, how=how)
        return out.reshape(size, tasks, *out.shape[1:]), 0
    images = front[1 if role == "image" else 0].shape[2]
    whole = [
        operands[i] if i == kernel else x.reshape(1, size * images, *x.shape[3:])
        for i, x in enumerate(front)
    ]
    out = _bind(role, *whole, how=how)
    return out.reshape(size, 1, images, *out.shape[2:]), 0


def _compute(*operands: jax.Array, role: str, how: How) -> jax.Array:
    """Compute what the primitive does, for each task."""

    def one(*each: jax.Array) -> jax.Array:
        found: jax.Array = _COMPUTE[role](*each, how.geometry)
        return found

    with jax.default_matmul_precision(how.precision):
        return jax.vmap(one)(*operands)


def _compute_on_cpu(*operands: jax.Array, role: str, how: How) -> jax.Array:
    """The same, where some roles take few images at a time."""
    if role not in _BY_IMAGES:
        return _compute(*operands, role=role, how=how)

    def one(task: Any) -> jax.Array:
        found: jax.Array = _BY_IMAGES[role](*task, how.geometry)
        return found

    with jax.default_matmul_precision(how.precision):
        if operands[0].shape[0] == 1:
            return one([x[0] for x in operands])[None]
        return lax.map(one, operands)


def _pixels(x: jax.Array, geometry: Geometry) -> list[list[jax.Array]]:
    """The pixels of all windows over a square: [kh + 1][kw + 1] arrays [N, H' // 2, W' // 2, C]."""
    x = jnp.pad(x, ((0, 0), *geometry.pads, (0, 0)))
    high, wide = (2 * (steps // 2) - 1 for steps in geometry.steps())
    kh, kw = geometry.window
    return [
        [x[:, p : p + high : 2, q : q + wide : 2] for q in range(kw + 1)] for p in range(kh + 1)
    ]


def _weights(kernel: jax.Array) -> list[tuple[int, int, int, jax.Array]]:
    """The weights [1, 1, 1, F] of each place of the window and each channel."""
    kh, kw, channels, _ = kernel.shape
    places = [(a, b, c) for a in range(kh) for b in range(kw) for c in range(channels)]
    return [(*place, kernel[place].reshape(1, 1, 1, -1)) for place in places]


def _corners(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> list[jax.Array]:
    """The convolution at the four pixels of each square."""
    pixels, corners = _pixels(x, geometry), []
    for i, j in _SQUARE:
        terms = [pixels[a + i][b + j][..., c : c + 1] * w for a, b, c, w in _weights(kernel)]
        corners.append(sum(terms[1:], terms[0]))
    return corners


def _value(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    first, second, third, fourth = _corners(x, kernel, geometry)
    return jnp.maximum(jnp.maximum(first, second), jnp.maximum(third, fourth))


def _place(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """The number of the first corner that holds the maximum, 0 to 3, as int8."""
    corners = _corners(x, kernel, geometry)
    first, second, third, fourth = corners
    value = jnp.maximum(jnp.maximum(first, second), jnp.maximum(third, fourth))
    place = jnp.full(value.shape, 3, jnp.int8)
    for number in (2, 1, 0):
        place = jnp.where(corners[number] == value, jnp.int8(number), place)
    return place


def _place_by_images(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """The same in a loop over images.

    XLA writes the results of a loop to memory. Without the loop it would compute the places again
    in every pass that reads them.
    """
    if not isinstance(x.shape[0], int):  # a symbolic dimension of jax.export
        return _place(x, kernel, geometry)
    return lax.map(lambda image: _place(image[None], kernel, geometry)[0], x)


def _out(x: jax.Array, kernel: jax.Array, place: jax.Array, geometry: Geometry) -> jax.Array:
    """The convolution at the chosen pixel of each square."""
    pixels = _pixels(x, geometry)
    terms = [_chosen(pixels, place, a, b, c) * w for a, b, c, w in _weights(kernel)]
    return sum(terms[1:], terms[0])


def _chosen(pixels: Any, place: jax.Array, a: int, b: int, c: int) -> jax.Array:
    """What a weight of the window meets at the chosen pixel of each square."""
    found = pixels[a + 1][b + 1][..., c : c + 1]
    for number in (2, 1, 0):
        i, j = _SQUARE[number]
        found = jnp.where(place == number, pixels[a + i][b + j][..., c : c + 1], found)
    return found


def _image(kernel: jax.Array, y: jax.Array, place: jax.Array, geometry: Geometry) -> jax.Array:
    return roles.compute_each("image", kernel, _spread(y, place, geometry), geometry)


def _kernel(x: jax.Array, y: jax.Array, place: jax.Array, geometry: Geometry) -> jax.Array:
    return roles.compute_each("kernel", x, _spread(y, place, geometry), geometry)


def _spread(y: jax.Array, place: jax.Array, geometry: Geometry) -> jax.Array:
    """Each value at its pixel of the square, and 0 elsewhere: the cotangent of the convolution."""
    whole = pool.spread_places(y, place)
    gaps = [steps - size for steps, size in zip(geometry.steps(), whole.shape[1:3], strict=True)]
    return jnp.pad(whole, ((0, 0), *((0, gap) for gap in gaps), (0, 0)))


def _kernel_by_images(
    x: jax.Array, y: jax.Array, place: jax.Array, geometry: Geometry
) -> jax.Array:
    """The same for as many images at a time as stay in the cache."""
    patch = math.prod(geometry.window) * x.shape[-1]
    built = math.prod(geometry.steps()) * max(y.shape[-1], patch)

    def some(x: jax.Array, y: jax.Array, place: jax.Array) -> jax.Array:
        return _kernel(x, y, place, geometry)

    return roles.summed_by_images(some, (x, y, place), built)


_BY_IMAGES: dict[str, Any] = {"place": _place_by_images, "kernel": _kernel_by_images}
_COMPUTE: dict[str, Any] = {
    "value": _value,
    "place": _place,
    "out": _out,
    "image": _image,
    "kernel": _kernel,
}
_picked_p.def_abstract_eval(_abstract)
_picked_p.def_impl(evaluated(_picked_p, _compute, ("role", "how")))
mlir.register_lowering(_picked_p, mlir.lower_fun(_compute, multiple_results=False))
mlir.register_lowering(
    _picked_p, mlir.lower_fun(_compute_on_cpu, multiple_results=False), platform="cpu"
)
ad.primitive_jvps[_picked_p] = _jvp
ad.primitive_transposes[_picked_p] = _transpose
batching.primitive_batchers[_picked_p] = _batch

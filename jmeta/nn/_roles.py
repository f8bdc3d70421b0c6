"""The three roles of a convolution, each computed by the fastest of several implementations.

A convolution defines a trilinear form T(image, kernel, out) = <out, image * kernel>. Its derivative
by `out` is the forward pass, and its derivatives by `image` and by `kernel` are the two gradients.
These are called the roles "out", "image" and "kernel". Each is a bilinear function of the other two
arrays, which are given in the order of `jmeta.nn._trilinear.OPERANDS`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.nn import _winograd as winograd
from jmeta.nn._linear import align, varying

_LAYOUT = ("NHWC", "HWIO", "NHWC")
# Measured on a CPU, see benchmarks/convolution_roles.py.
_FEW_CHANNELS = 3  # with fewer, a product of patches is faster than a native convolution
_MANY_CHANNELS = {"out": 64, "image": 64, "kernel": 32}  # with as many, Winograd's tiles are faster
CACHED_ELEMENTS = 300_000  # of patches or tiles, built for as many images as stay in the cache
_AT_ONCE = 4  # chunks of images in a step of a loop, which a program that is alone runs in threads


class Geometry(NamedTuple):
    """The static sizes and options of a convolution."""

    stride: int
    pads: tuple[tuple[int, int], tuple[int, int]]
    image: tuple[int, int]  # H, W
    window: tuple[int, int]  # kh, kw

    def steps(self) -> tuple[int, int]:
        """Height and width of the output: H' = floor((H + pads - kh) / stride) + 1."""
        sizes = zip(self.image, self.window, self.pads, strict=True)
        high, wide = ((n + sum(pad) - k) // self.stride + 1 for n, k, pad in sizes)
        return high, wide

    def frame(self) -> winograd.Frame:
        """The same sizes as `winograd` takes them."""
        return winograd.Frame(self.image, self.steps(), (self.pads[0][0], self.pads[1][0]))


class How(NamedTuple):
    """What is static about a convolution."""

    geometry: Geometry
    precision: str | None  # as `jax.default_matmul_precision` takes it
    each: bool = False  # whether the operands have a leading axis, of tasks


Compute = Callable[[jax.Array, jax.Array], jax.Array]


def compute(role: str, a: jax.Array, b: jax.Array, geometry: Geometry) -> jax.Array:
    """Compute a role for one kernel, by tiles, by a native convolution or by patches."""
    if jax.default_backend() != "cpu":  # what follows was measured on CPUs
        return compute_each(role, a, b, geometry)
    if minimal(role, a, b, geometry):
        tiles = 16 * geometry.frame().tiles()[0] * geometry.frame().tiles()[1]
        built = tiles * max(a.shape[-1], b.shape[-1])
        return _by_images(role, by_winograd(role, geometry), a, b, built)
    if role == "kernel":
        high, wide = geometry.steps()
        built = high * wide * geometry.window[0] * geometry.window[1] * a.shape[-1]
        return _by_images(role, by_patches(role, geometry), a, b, built)
    x, kernel, forward = (a, b, geometry) if role == "out" else _backward(a, b, geometry)
    few = x.shape[-1] < _FEW_CHANNELS
    return (patch_product if few else native)(x, kernel, forward)


def compute_each(role: str, a: jax.Array, b: jax.Array, geometry: Geometry) -> jax.Array:
    """Compute a role by matrix products only, which stay fast under `vmap` over kernels."""
    small = minimal(role, a, b, geometry)
    return (by_winograd if small else by_patches)(role, geometry)(a, b)


def minimal(role: str, a: jax.Array, b: jax.Array, geometry: Geometry) -> bool:
    """Whether to use Winograd's tiles: a 3x3 window, stride 1, many channels and full precision."""
    third = a.shape[2] if role == "image" else b.shape[-1]
    fits = geometry.window == (3, 3) and geometry.stride == 1
    exact = a.dtype in (jnp.float32, jnp.float64)
    return fits and exact and min(a.shape[-1], b.shape[-1], third) >= _MANY_CHANNELS[role]


def by_winograd(role: str, geometry: Geometry) -> Compute:
    """The function that computes a role as sixteen matrix products of mapped tiles."""
    frame = geometry.frame()
    role_of = {"out": winograd.out, "image": winograd.image, "kernel": winograd.kernel}[role]
    return lambda a, b: role_of(a, b, frame)


def by_patches(role: str, geometry: Geometry) -> Compute:
    """The function that computes a role as one matrix product of patches."""
    if role == "out":
        return lambda x, kernel: patch_product(x, kernel, geometry)
    if role == "image":
        return lambda kernel, y: patch_product(*_backward(kernel, y, geometry))
    return lambda x, y: _patch_gradient(x, y, geometry)


def native(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """XLA's own convolution of `x` [N, H, W, C] with `kernel` [kh, kw, C, F]."""
    strides = (geometry.stride, geometry.stride)
    return lax.conv_general_dilated(x, kernel, strides, geometry.pads, dimension_numbers=_LAYOUT)


def patch_product(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """The same convolution as one matrix product: patches [N H' W', kh kw C] times [kh kw C, F]."""
    flat = kernel.reshape(-1, kernel.shape[-1])
    return lax.dot_general(patches(x, geometry), flat, (((3,), (0,)), ((), ())))


def patches(x: jax.Array, geometry: Geometry) -> jax.Array:
    """Windows of the images, flattened: [N, H, W, C] -> [N, H', W', kh kw C].

    Collecting columns first and then rows takes kh + kw long copies instead of kh kw short ones.
    """
    (kh, kw), step = geometry.window, geometry.stride
    x = jnp.pad(x, ((0, 0), *geometry.pads, (0, 0)))
    rows, cols = ((steps - 1) * step + 1 for steps in geometry.steps())
    x = jnp.concatenate([x[:, :, b : b + cols : step] for b in range(kw)], axis=-1)
    return jnp.concatenate([x[:, a : a + rows : step] for a in range(kh)], axis=-1)


def _patch_gradient(x: jax.Array, y: jax.Array, geometry: Geometry) -> jax.Array:
    """The gradient by the kernel: patches times cotangent, summed over images and pixels."""
    axes = (0, 1, 2)
    flat = lax.dot_general(patches(x, geometry), y, ((axes, axes), ((), ())))
    return flat.reshape(*geometry.window, x.shape[-1], y.shape[-1])


def _backward(kernel: jax.Array, y: jax.Array, geometry: Geometry) -> tuple[Any, Any, Geometry]:
    """Arguments of the forward convolution that computes the gradient by the image.

    It convolves the dilated cotangent with the flipped kernel.
    """
    sizes = zip(geometry.image, y.shape[1:3], geometry.window, geometry.pads, strict=True)
    config = []
    for size, steps, window, (low, _) in sizes:
        before = window - 1 - low
        extent = (steps - 1) * geometry.stride + 1
        config.append((before, size + window - 1 - extent - before, geometry.stride - 1))
    dilated = lax.pad(y, jnp.zeros((), y.dtype), ((0, 0, 0), *config, (0, 0, 0)))
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    image = (dilated.shape[1], dilated.shape[2])
    return dilated, flipped, Geometry(1, ((0, 0), (0, 0)), image, geometry.window)


def _by_images(role: str, f: Compute, a: jax.Array, b: jax.Array, built: int) -> jax.Array:
    """Compute a role for some images at a time, and concatenate or add up the results.

    Args:
        role: the results are added up for the role "kernel".
        f: what computes it.
        a, b: its operands. A symbolic number of images is not divided.
        built: elements of the patches or tiles of one image.
    """
    if role == "kernel":
        return summed_by_images(f, (a, b), built)
    images, one = (a, lambda x: f(x, b)) if role == "out" else (b, lambda y: f(a, y))
    chunk = _chunk(images, built)
    if chunk is None:
        return f(a, b)

    def step(_: None, some: jax.Array) -> tuple[None, jax.Array]:
        return None, one(some)

    rest = images.shape[0] % chunk
    _, mapped = lax.scan(step, None, _split(images, rest, chunk), unroll=_at_once(images))
    joined: jax.Array = mapped.reshape(-1, *mapped.shape[2:])
    return jnp.concatenate([one(images[:rest]), joined]) if rest else joined


def summed_by_images(
    f: Callable[..., jax.Array], arrays: tuple[jax.Array, ...], built: int
) -> jax.Array:
    """The sum of f(*arrays) over chunks of images, axis 0 of all arrays (see `_by_images`)."""
    chunk = _chunk(arrays[0], built)
    if chunk is None:
        return f(*arrays)
    rest = arrays[0].shape[0] % chunk
    parts = tuple(_split(x, rest, chunk) for x in arrays)

    def add(total: jax.Array, part: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        return total + f(*part), None

    if rest:
        first = f(*(x[:rest] for x in arrays))
    else:
        of = jax.eval_shape(f, *(x[0] for x in parts))
        first = align(jnp.zeros(of.shape, of.dtype), *arrays)[0]
    return lax.scan(add, first, parts, unroll=_at_once(arrays[0]))[0]


def _chunk(images: jax.Array, built: int) -> int | None:
    """How many images to take at a time; None for all of them."""
    count = images.shape[0]
    if not isinstance(count, int):
        return None
    cached = CACHED_ELEMENTS * (2 if _alone(images) else 1)
    chunk = max(1, cached // built)
    return _near(count, chunk, _at_once(images)) if count > 2 * chunk else None


def _at_once(images: jax.Array) -> int:
    """The chunks in a step of a loop."""
    return _AT_ONCE if _alone(images) else 1


def _alone(images: jax.Array) -> bool:
    """Whether a program has all cores and caches, and not one of each as a device of a mesh."""
    return not varying(images)


def _split(x: jax.Array, rest: int, chunk: int) -> jax.Array:
    """The images after the first `rest`, as chunks [M, chunk, ...]."""
    return (x[rest:] if rest else x).reshape(-1, chunk, *x.shape[1:])


def _near(count: int, chunk: int, at_once: int) -> int:
    """A size near `chunk` that divides `count`, if there is one into steps of `at_once` chunks.

    What a loop leaves over is computed beside it, for which XLA copies all images.
    """
    sizes = sorted(range(-(-chunk // 2), chunk + chunk // 2 + 1), key=lambda n: abs(n - chunk))
    for whole in (at_once, 1):
        for size in sizes:
            if count % (size * whole) == 0:
                return size
    return chunk

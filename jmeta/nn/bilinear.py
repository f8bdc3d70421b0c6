"""Convolution as one bilinear primitive, closed under differentiation of any order.

With the trilinear form T(image, kernel, out) = <out, image * kernel> the forward pass, the
gradient by the image and the gradient by the kernel are the derivatives of T by one of its three
places, and each is bilinear in the other two. The tangents and transposes of the primitive are
therefore itself with another `role`, and each role is computed by what is fast on XLA:CPU: a plain
forward convolution, or a product of patches.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_OPERANDS = {"out": ("image", "kernel"), "image": ("kernel", "out"), "kernel": ("image", "out")}
_FEW_CHANNELS = 16  # below this the patch product beats XLA:CPU's own forward convolution
_CACHED_ELEMENTS = 600_000  # patches built at once for a kernel gradient: they stay in cache


class Geometry(NamedTuple):
    """What the three arrays of a convolution do not say themselves, as static integers."""

    stride: int
    pads: tuple[tuple[int, int], tuple[int, int]]
    image: tuple[int, int]  # H, W
    window: tuple[int, int]  # kh, kw

    def steps(self) -> tuple[int, int]:
        """Height and width of the output: H' = floor((H + pads - kh) / stride) + 1."""
        sizes = zip(self.image, self.window, self.pads, strict=True)
        high, wide = ((n + sum(pad) - k) // self.stride + 1 for n, k, pad in sizes)
        return high, wide


# The three derivatives of the trilinear form, and what computes them.


def native(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """XLA's own convolution of `x` [N, H, W, C] with `kernel` [kh, kw, C, F]."""
    strides = (geometry.stride, geometry.stride)
    return lax.conv_general_dilated(x, kernel, strides, geometry.pads, dimension_numbers=_LAYOUT)


def _patches(x: jax.Array, geometry: Geometry) -> jax.Array:
    """Windows of the images, flattened: [N, H, W, C] -> [N, H', W', kh kw C]."""
    (kh, kw), step = geometry.window, geometry.stride
    x = jnp.pad(x, ((0, 0), *geometry.pads, (0, 0)))
    rows, cols = ((steps - 1) * step + 1 for steps in geometry.steps())
    shifts = [(a, b) for a in range(kh) for b in range(kw)]
    return jnp.concatenate(
        [x[:, a : a + rows : step, b : b + cols : step] for a, b in shifts], axis=-1
    )


def patch_product(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """The same as one matrix product: patches [N H' W', kh kw C] times [kh kw C, F]."""
    flat = kernel.reshape(-1, kernel.shape[-1])
    return lax.dot_general(_patches(x, geometry), flat, (((3,), (0,)), ((), ())))


def _out(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    few = x.shape[-1] < _FEW_CHANNELS
    return (patch_product if few else native)(x, kernel, geometry)


def _backward(kernel: jax.Array, out: jax.Array, geometry: Geometry) -> tuple[Any, Any, Geometry]:
    """The gradient by the image as a forward convolution: dilated `out`, flipped kernel."""
    sizes = zip(geometry.image, out.shape[1:3], geometry.window, geometry.pads, strict=True)
    config = []
    for size, steps, window, (low, _) in sizes:
        before = window - 1 - low
        extent = (steps - 1) * geometry.stride + 1
        config.append((before, size + window - 1 - extent - before, geometry.stride - 1))
    dilated = lax.pad(out, jnp.zeros((), out.dtype), ((0, 0, 0), *config, (0, 0, 0)))
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    image = (dilated.shape[1], dilated.shape[2])
    return dilated, flipped, Geometry(1, ((0, 0), (0, 0)), image, geometry.window)


def _image(kernel: jax.Array, out: jax.Array, geometry: Geometry) -> jax.Array:
    return _out(*_backward(kernel, out, geometry))


def _kernel(x: jax.Array, out: jax.Array, geometry: Geometry) -> jax.Array:
    """Patches times cotangent, summed over chunks of images that fit the cache."""
    positions = out.shape[1] * out.shape[2] * geometry.window[0] * geometry.window[1]
    chunk = max(1, _CACHED_ELEMENTS // max(1, positions * x.shape[-1]))
    if len(x) <= 2 * chunk:
        return _kernel_at_once(x, out, geometry)
    first = len(x) % chunk or chunk

    def add(total: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + _kernel_at_once(*part, geometry), None

    start = _kernel_at_once(x[:first], out[:first], geometry)
    rest = [a[first:].reshape(-1, chunk, *a.shape[1:]) for a in (x, out)]
    return lax.scan(add, start, (rest[0], rest[1]))[0]


def _kernel_at_once(x: jax.Array, out: jax.Array, geometry: Geometry) -> jax.Array:
    axes = (0, 1, 2)
    flat = lax.dot_general(_patches(x, geometry), out, ((axes, axes), ((), ())))
    return flat.reshape(*geometry.window, x.shape[-1], out.shape[-1])


_COMPUTE = {"out": _out, "image": _image, "kernel": _kernel}


def _per_task(role: str, a: jax.Array, b: jax.Array, geometry: Geometry) -> jax.Array:
    """A role by patch products only, for operands that are both batched (a kernel per task)."""
    if role == "kernel":
        return _kernel_at_once(a, b, geometry)
    return patch_product(*((a, b, geometry) if role == "out" else _backward(a, b, geometry)))


# The primitive and its rules.

_conv_p = Primitive("jmeta_conv")


def _compute(a: jax.Array, b: jax.Array, *, role: str, geometry: Geometry) -> jax.Array:
    return _COMPUTE[role](a, b, geometry)


def _varying(x: Any) -> frozenset[str]:
    """Mesh axes inside `shard_map` along which x may differ (`vma` in jax before 0.10.2)."""
    aval = jax.typeof(x)
    return aval.mat.varying if hasattr(aval, "mat") else aval.vma


def bind(role: str, a: jax.Array, b: jax.Array, geometry: Geometry) -> jax.Array:
    """The derivative of T by `role`, as a function of the two others (see `_OPERANDS`)."""
    axes = _varying(a) | _varying(b)
    parts = []
    for x in (a, b):
        missing = tuple(sorted(axes - _varying(x)))
        parts.append(lax.pcast(x, missing, to="varying") if missing else x)
    out: jax.Array = _conv_p.bind(*parts, role=role, geometry=geometry)
    return out


def _abstract(a: Any, b: Any, *, role: str, geometry: Geometry) -> Any:
    if any(axis is not None for x in (a, b) for axis in x.sharding.spec):
        raise ValueError(
            "A convolution got an array sharded over a mesh axis of type Explicit; make the mesh "
            "with axis_types=(jax.sharding.AxisType.Auto, ...), or use shard_map."
        )
    if role == "out":
        shape = (a.shape[0], *geometry.steps(), b.shape[3])
    elif role == "image":
        shape = (b.shape[0], *geometry.image, a.shape[2])
    else:
        shape = (*geometry.window, a.shape[3], b.shape[3])
    return a.update(shape=shape, weak_type=False)


def _jvp(primals: Any, tangents: Any, *, role: str, geometry: Geometry) -> Any:
    (a, b), (da, db) = primals, tangents
    terms = []
    if not isinstance(da, ad.Zero):
        terms.append(bind(role, da, b, geometry))
    if not isinstance(db, ad.Zero):
        terms.append(bind(role, a, db, geometry))
    return bind(role, a, b, geometry), sum(terms[1:], terms[0])


def _transpose(cotangent: Any, a: Any, b: Any, *, role: str, geometry: Geometry) -> Any:
    if isinstance(cotangent, ad.Zero):
        return None, None
    first, second = _OPERANDS[role]
    at_first = ad.is_undefined_primal(a)
    target, known = (first, {second: b}) if at_first else (second, {first: a})
    known[role] = cotangent
    left, right = _OPERANDS[target]
    out = bind(target, known[left], known[right], geometry)
    return (out, None) if at_first else (None, out)


def _batch(args: Any, dims: Any, *, role: str, geometry: Geometry) -> Any:
    """One kernel for all: more images. A kernel each: patch products under `vmap`."""
    shared = {"out": 1, "image": 0}.get(role)
    if shared is None or dims[shared] is not None:
        return jax.vmap(lambda a, b: _per_task(role, a, b, geometry), dims)(*args), 0
    images = jnp.moveaxis(args[1 - shared], dims[1 - shared], 0)
    merged = images.reshape(-1, *images.shape[2:])
    a, b = (merged, args[1]) if role == "out" else (args[0], merged)
    out = bind(role, a, b, geometry)
    return out.reshape(*images.shape[:2], *out.shape[1:]), 0


_conv_p.def_abstract_eval(_abstract)
_conv_p.def_impl(jax.jit(_compute, static_argnames=("role", "geometry")))
mlir.register_lowering(_conv_p, mlir.lower_fun(_compute, multiple_results=False))
ad.primitive_jvps[_conv_p] = _jvp
ad.primitive_transposes[_conv_p] = _transpose
batching.primitive_batchers[_conv_p] = _batch

"""Convolution as one bilinear JAX primitive that is closed under differentiation.

The primitive computes one of three roles: the output, the gradient by the image or the gradient by
the kernel (see `jmeta.nn._roles`). The tangent and the transpose of a role are again the primitive
with some role. So derivatives of every order, in forward and reverse mode, use the fast
implementations that `_roles` chooses.

The precision of its products is a parameter, since they are traced when a program is lowered, and
no longer where the convolution was called.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jmeta.nn import _implicit as implicit
from jmeta.nn import _precision as precisions
from jmeta.nn._linear import align, evaluated, refuse_explicit
from jmeta.nn._roles import Geometry, How, compute, compute_each
from jmeta.nn._trilinear import tangent, transposed

_conv_p = Primitive("jmeta_conv")


def _compute(a: jax.Array, b: jax.Array, *, role: str, how: How) -> jax.Array:
    """Compute a role on any device."""
    with jax.default_matmul_precision(how.precision):
        if how.each:
            return jax.vmap(lambda a, b: compute_each(role, a, b, how.geometry))(a, b)
        return compute(role, a, b, how.geometry)


def _compute_on_gpu(a: jax.Array, b: jax.Array, *, role: str, how: How) -> jax.Array:
    """Compute a role on an NVIDIA GPU, by a kernel made for it where there is one."""
    one = (a[0], b[0]) if how.each else (a, b)
    if not implicit.fits(role, *one, how.geometry):
        return _compute(a, b, role=role, how=how)

    def kernel(a: jax.Array, b: jax.Array) -> jax.Array:
        return implicit.compute(role, a, b, how.geometry, how.precision)

    return jax.vmap(kernel)(a, b) if how.each else kernel(a, b)


def _lower_on_gpu(context: Any, a: Any, b: Any, *, role: str, how: How) -> Any:
    """Lower for an NVIDIA GPU; without a kernel in a program that other devices may run, too."""
    alone = len(context.module_context.platforms) == 1
    lower = mlir.lower_fun(_compute_on_gpu if alone else _compute, multiple_results=False)
    return lower(context, a, b, role=role, how=how)


def conv(x: jax.Array, kernel: jax.Array, geometry: Geometry) -> jax.Array:
    """Convolve images with a kernel, in the precision of products that are traced here."""
    return _bind("out", x, kernel, How(geometry, precisions.current()))


def _bind(role: str, a: jax.Array, b: jax.Array, how: How) -> jax.Array:
    """Compute one role of a convolution from its two operands (see `jmeta.nn._roles`)."""
    out: jax.Array = _conv_p.bind(*align(a, b), role=role, how=how)
    return out


def _abstract(a: Any, b: Any, *, role: str, how: How) -> Any:
    geometry = how.geometry
    refuse_explicit(a, b)
    lead, first, second = (), a.shape, b.shape
    if how.each:
        lead, first, second = a.shape[:1], a.shape[1:], b.shape[1:]
    if role == "out":
        shape = (first[0], *geometry.steps(), second[3])
    elif role == "image":
        shape = (second[0], *geometry.image, first[2])
    else:
        shape = (*geometry.window, first[3], second[3])
    return a.update(shape=(*lead, *shape), weak_type=False)


def _jvp(primals: Any, tangents: Any, *, role: str, how: How) -> Any:
    def bind(role: str, a: Any, b: Any) -> jax.Array:
        return _bind(role, a, b, how)

    (a, b), (da, db) = primals, tangents
    return bind(role, a, b), tangent(role, a, b, da, db, bind)


def _transpose(cotangent: Any, a: Any, b: Any, *, role: str, how: How) -> Any:
    return transposed(role, cotangent, a, b, lambda role, a, b: _bind(role, a, b, how))


def _batch(args: Any, dims: Any, *, role: str, how: How) -> Any:
    """Batch a role: with one shared kernel, merge the batch into the images; otherwise `vmap`."""
    if how.each:
        size = next(x.shape[d] for x, d in zip(args, dims, strict=True) if d is not None)
        a, b = (batching.bdim_at_front(x, d, size) for x, d in zip(args, dims, strict=True))
        tasks = a.shape[1]
        a, b = (x.reshape(size * tasks, *x.shape[2:]) for x in (a, b))
        out = _bind(role, a, b, how)
        return out.reshape(size, tasks, *out.shape[1:]), 0
    shared = {"out": 1, "image": 0}.get(role)
    if shared is None or dims[shared] is not None:
        if None not in dims:
            a, b = (jnp.moveaxis(x, d, 0) for x, d in zip(args, dims, strict=True))
            if implicit.fits(role, a[0], b[0], how.geometry):
                return _bind(role, a, b, how._replace(each=True)), 0
        with jax.default_matmul_precision(how.precision):
            return jax.vmap(lambda a, b: compute_each(role, a, b, how.geometry), dims)(*args), 0
    images = jnp.moveaxis(args[1 - shared], dims[1 - shared], 0)
    merged = images.reshape(-1, *images.shape[2:])
    a, b = (merged, args[1]) if role == "out" else (args[0], merged)
    out = _bind(role, a, b, how)
    return out.reshape(*images.shape[:2], *out.shape[1:]), 0


_conv_p.def_abstract_eval(_abstract)
_conv_p.def_impl(evaluated(_conv_p, _compute, ("role", "how")))
mlir.register_lowering(_conv_p, mlir.lower_fun(_compute, multiple_results=False))
mlir.register_lowering(_conv_p, _lower_on_gpu, platform="cuda")
ad.primitive_jvps[_conv_p] = _jvp
ad.primitive_transposes[_conv_p] = _transpose
batching.primitive_batchers[_conv_p] = _batch

"""Convolution as one bilinear JAX primitive that is closed under differentiation.

The primitive computes one of three roles: the output, the gradient by the image or the gradient by
the kernel (see `jmeta.nn._roles`). The tangent and the transpose of a role are again the primitive
with some role. So derivatives of every order, in forward and reverse mode, use the fast
implementations that `_roles` chooses.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jmeta.nn._linear import align
from jmeta.nn._roles import OPERANDS, Geometry, compute, compute_each

_conv_p = Primitive("jmeta_conv")


def _compute(a: jax.Array, b: jax.Array, *, role: str, geometry: Geometry) -> jax.Array:
    return compute(role, a, b, geometry)


def bind(role: str, a: jax.Array, b: jax.Array, geometry: Geometry) -> jax.Array:
    """Compute one role of a convolution from its two operands (see `jmeta.nn._roles`)."""
    out: jax.Array = _conv_p.bind(*align(a, b), role=role, geometry=geometry)
    return out


def _abstract(a: Any, b: Any, *, role: str, geometry: Geometry) -> Any:
    if any(axis is not None for x in (a, b) for axis in x.sharding.spec):
        raise ValueError(
            "A convolution got an array that is sharded over a mesh axis of type Explicit; make "
            "the mesh with axis_types=(jax.sharding.AxisType.Auto, ...), or use shard_map."
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
    first, second = OPERANDS[role]
    at_first = ad.is_undefined_primal(a)
    target, known = (first, {second: b}) if at_first else (second, {first: a})
    known[role] = cotangent
    left, right = OPERANDS[target]
    out = bind(target, known[left], known[right], geometry)
    return (out, None) if at_first else (None, out)


def _batch(args: Any, dims: Any, *, role: str, geometry: Geometry) -> Any:
    """Batch a role: with one shared kernel, merge the batch into the images; otherwise `vmap`."""
    shared = {"out": 1, "image": 0}.get(role)
    if shared is None or dims[shared] is not None:
        return jax.vmap(lambda a, b: compute_each(role, a, b, geometry), dims)(*args), 0
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

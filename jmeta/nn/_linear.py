"""Pairs of linear JAX primitives that are each other's transposes."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Apply = Callable[[jax.Array, jax.Array], jax.Array]  # (linear argument, fixed one) -> result


def varying(x: Any) -> frozenset[str]:
    """Mesh axes of a `shard_map` along which x may differ between devices.

    Versions of jax before 0.10.2 name them `vma`.
    """
    aval = jax.typeof(x)
    found: frozenset[str] = aval.mat.varying if hasattr(aval, "mat") else aval.vma
    return found


def shaped_like(x: Any, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """A shape and a type that vary over the mesh axes of a `shard_map` as x does."""
    aval = jax.typeof(x)
    name, axes = ("manual_axis_type", aval.mat) if hasattr(aval, "mat") else ("vma", aval.vma)
    return jax.ShapeDtypeStruct(shape, dtype, **{name: axes})


def refuse_explicit(*arrays: Any) -> None:
    """Refuse arrays, or their types, that are sharded over a mesh axis of type Explicit.

    Raises:
        ValueError: one of them is.
    """
    if any(axis is not None for x in arrays for axis in x.sharding.spec):
        raise ValueError(
            "A convolution got an array that is sharded over a mesh axis of type Explicit; make "
            "the mesh with axis_types=(jax.sharding.AxisType.Auto, ...), or use shard_map."
        )


def evaluated(primitive: Primitive, compute: Callable[..., Any], static: tuple[str, ...]) -> Any:
    """What evaluates a primitive outside of `jit`: its lowering, or compute if jit is disabled."""
    jitted = jax.jit(primitive.bind, static_argnames=static)

    def evaluate(*operands: Any, **options: Any) -> Any:
        disabled = jax.config.jax_disable_jit  # type: ignore[attr-defined]
        return (compute if disabled else jitted)(*operands, **options)

    return evaluate


def align(*arrays: jax.Array) -> list[jax.Array]:
    """Mark all arrays as varying over the mesh axes along which any of them varies."""
    axes = frozenset[str]().union(*(varying(x) for x in arrays))
    missing = [tuple(sorted(axes - varying(x))) for x in arrays]
    pairs = zip(arrays, missing, strict=True)
    return [lax.pcast(x, names, to="varying") if names else x for x, names in pairs]


def transposes(name: str, forward: Apply, backward: Apply) -> tuple[Apply, Apply]:
    """Make primitives of two functions, (x, fixed) -> y and (y, fixed) -> x.

    Each must be linear in its first argument, and each the transpose of the other. Axis 0 of all
    arguments and results must be a batch axis, because `vmap` merges its axis into it.

    Args:
        name: of the primitives, for printing.
        forward: `(x, fixed) -> y`.
        backward: `(y, fixed) -> x`.

    Returns:
        The two functions, now differentiable with respect to their first argument.
    """
    primitives = [Primitive(f"jmeta_{name}"), Primitive(f"jmeta_{name}_transposed")]

    def bind(which: int) -> Apply:
        def apply(x: jax.Array, fixed: jax.Array) -> jax.Array:
            out: jax.Array = primitives[which].bind(*align(x, fixed))
            return out

        return apply

    pair = bind(0), bind(1)
    for here, (primitive, compute) in enumerate(zip(primitives, (forward, backward), strict=True)):
        _rules(primitive, compute, pair[here], pair[1 - here])
    return pair


def _rules(primitive: Primitive, compute: Apply, apply: Apply, other: Apply) -> None:
    """Register how to evaluate, lower, differentiate, transpose and batch a primitive."""

    def abstract(x: Any, fixed: Any) -> Any:
        kinds = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, fixed))
        return x.update(shape=jax.eval_shape(compute, *kinds).shape, weak_type=False)

    def transpose(cotangent: Any, x: Any, fixed: jax.Array) -> Any:
        return (None if isinstance(cotangent, ad.Zero) else other(cotangent, fixed)), None

    def batch(args: Any, dims: Any) -> Any:
        size = next(a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None)
        front = [batching.bdim_at_front(a, d, size) for a, d in zip(args, dims, strict=True)]
        out = apply(*(a.reshape(-1, *a.shape[2:]) for a in front))
        return out.reshape(size, -1, *out.shape[1:]), 0

    primitive.def_impl(jax.jit(compute))
    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    ad.defjvp(primitive, lambda t, x, fixed: apply(t, fixed), None)
    ad.primitive_transposes[primitive] = transpose
    batching.primitive_batchers[primitive] = batch

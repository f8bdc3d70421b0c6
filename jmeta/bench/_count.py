"""Floating-point operations of a program, counted from its jaxpr.

`Compiled.cost_analysis` counts the body of a loop once, however often it runs; this count does not.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.interpreters import partial_eval

# The operands of each role of the primitives of `jmeta.nn.conv2d` and of a first convolution that
# is pooled, whose maxima are called "value"; see `jmeta.nn._trilinear` and `jmeta.nn._picked`.
_OPERANDS = {"out": ("image", "kernel"), "image": ("kernel", "out"), "kernel": ("image", "out")}
_OPERANDS["value"] = _OPERANDS["out"]


def operations(program: ClosedJaxpr) -> float:
    """Count the floating-point operations of the matrix products and convolutions of a program.

    A product of [M, K] and [K, N] is 2 M K N operations, a convolution

        2 N H' W' kh kw C F

    and so are both of its gradients. This includes the zeros of the padding, but not the zeros that
    XLA pads and dilates with when it writes a gradient as a convolution. Elementwise operations,
    reductions and decompositions are left out: mostly memory limits them, and not arithmetic.

    * What no output depends on is left out, as the compiler leaves it out.
    * A scan (also a `fori_loop` with fixed bounds) counts as often as it runs.
    * A conditional counts as its most expensive branch.
    * A `shard_map` counts on all devices of its mesh.
    * `jmeta.nn.conv2d` counts as the direct convolution, whichever way it is computed.

    Args:
        program: from `jax.make_jaxpr(function)(*arguments)`, or `jax.jit(function).trace(
            *arguments).jaxpr`. Nothing is computed; arguments may be `jax.ShapeDtypeStruct`s.

    Returns:
        The operations of one call.

    Raises:
        ValueError: a product lies inside a while loop, which does not say how often it runs.

    >>> import jax, jax.numpy as jnp
    >>> x = jnp.ones((3, 3))
    >>> operations(jax.make_jaxpr(lambda x: x @ x)(x))
    54.0
    >>> operations(jax.make_jaxpr(lambda x: jax.lax.fori_loop(0, 10, lambda _, y: x @ y, x))(x))
    540.0
    """
    used, _ = partial_eval.dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))
    return _total(used)


def _total(jaxpr: Jaxpr) -> float:
    return float(sum(_equation(eqn) for eqn in jaxpr.eqns))


def _equation(eqn: Any) -> float:
    """Operations of one equation, with those of the programs inside it."""
    name = eqn.primitive.name
    if name in _PRODUCTS:
        return _PRODUCTS[name](eqn)
    if name == "custom_linear_solve":
        return _total(eqn.params["jaxprs"].solve.jaxpr)
    inside = [_total(jaxpr) for jaxpr in _programs(eqn.params)]
    if name == "while" and any(inside):
        raise ValueError(
            "operations found a matrix product inside a while loop, and a program does not say "
            "how often such a loop runs; use jax.lax.scan, or fori_loop with fixed bounds."
        )
    if name == "cond":
        return max(inside, default=0.0)
    return _times(eqn) * sum(inside)


def _times(eqn: Any) -> int:
    """How often the programs inside an equation run, over all devices."""
    if eqn.primitive.name == "scan":
        return eqn.params["length"]
    if eqn.primitive.name == "shard_map":
        return eqn.params["mesh"].size
    return 1


def _programs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """The programs among the parameters of an equation, each once."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def _matrix_product(eqn: Any) -> float:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left, out = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    return 2.0 * math.prod(left[axis] for axis in contracted) * math.prod(out)


def _convolution(eqn: Any) -> float:
    """Outputs, times the channels of a group, times the pairs of positions along each axis.

    An image, a window and an output position on an axis determine each other, so there are at most
    as many pairs as the product of the two smaller sizes. A gradient exchanges the three sizes and
    has the same pairs.
    """
    image, kernel, out = (v.aval.shape for v in (*eqn.invars, *eqn.outvars))
    specs = eqn.params["dimension_numbers"]
    (batch, features, *places), (_, channels, *windows) = specs.out_spec, specs.rhs_spec
    axes = zip(specs.lhs_spec[2:], windows, places, strict=True)
    pairs = (math.prod(sorted((image[i], kernel[w], out[o]))[:2]) for i, w, o in axes)
    return 2.0 * out[batch] * out[features] * kernel[channels] * math.prod(pairs)


def _bilinear(eqn: Any) -> float:
    """All three roles of a convolution need the same multiplications and additions.

    The places of maxima come from the convolution that the maxima are of.
    """
    role, geometry = eqn.params["role"], eqn.params["how"].geometry
    if role == "place":
        return 0.0
    shapes = [variable.aval.shape for variable in (*eqn.invars[:2], *eqn.outvars)]
    places = dict(zip((*_OPERANDS[role], "out" if role == "value" else role), shapes, strict=True))
    (*images, _, _, features), channels = places["out"], places["image"][-1]
    pixels = math.prod(images) * math.prod(geometry.steps())
    return 2.0 * pixels * math.prod(geometry.window) * channels * features


_PRODUCTS: dict[str, Callable[[Any], float]] = {
    "dot_general": _matrix_product,
    "conv_general_dilated": _convolution,
    "jmeta_conv": _bilinear,
    "jmeta_picked": _bilinear,
}

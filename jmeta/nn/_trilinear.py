"""What the primitives of a trilinear form <out, image * kernel> share: roles, tangents, transposes.

Its derivatives by one of the three arrays are the roles "out", "image" and "kernel" (see
`jmeta.nn._roles`). A role is linear in each of its two operands.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.interpreters import ad

OPERANDS = {"out": ("image", "kernel"), "image": ("kernel", "out"), "kernel": ("image", "out")}

Bind = Callable[[str, Any, Any], jax.Array]  # role and its two operands -> what it computes


def tangent(role: str, a: Any, b: Any, da: Any, db: Any, bind: Bind) -> jax.Array:
    """The tangent of a role whose operands have tangents, one of which may be zero."""
    terms = []
    if not isinstance(da, ad.Zero):
        terms.append(bind(role, da, b))
    if not isinstance(db, ad.Zero):
        terms.append(bind(role, a, db))
    total: jax.Array = sum(terms[1:], terms[0])
    return total


def transposed(role: str, cotangent: Any, a: Any, b: Any, bind: Bind) -> tuple[Any, Any]:
    """The cotangents of both operands of a role, None for the one that is known."""
    if isinstance(cotangent, ad.Zero):
        return None, None
    first, second = OPERANDS[role]
    at_first = ad.is_undefined_primal(a)
    target, known = (first, {second: b}) if at_first else (second, {first: a})
    known[role] = cotangent
    left, right = OPERANDS[target]
    out = bind(target, known[left], known[right])
    return (out, None) if at_first else (None, out)

"""The paths that a role of the convolution chooses among (see `jmeta.nn._roles`), layer by layer.

A part of benchmarks/convolution.py. A path is what `roles.compute` traces with other constants, so
nothing here repeats how it builds patches or tiles.
"""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import jax

from jmeta import bench
from jmeta.nn import _roles as roles
from jmeta.nn import _trilinear as trilinear

SHAPES = ((28, 1, 64), (84, 3, 32), (42, 32, 32), (21, 32, 32), (14, 64, 64), (7, 64, 64))  # side
IMAGES = (5, 25)
ELEMENTS = (75_000, 300_000, 1_200_000, 10**12)  # patches or tiles at once; the last: all
ALWAYS, NEVER = 0, 10**9  # least channels of a path
PATHS = {"winograd": (ALWAYS, ALWAYS), "patches": (NEVER, NEVER), "native": (NEVER, ALWAYS)}


class Case(NamedTuple):
    """A role of a 3x3 convolution with stride 1 in float32."""

    role: str
    images: int
    side: int
    channels: int
    filters: int

    def flops(self) -> float:
        """Operations of the direct product, whatever the path saves."""
        return 2.0 * self.images * self.side**2 * 9 * self.channels * self.filters


def cases(quick: bool) -> list[Case]:
    """All roles and layers; one small layer if quick."""
    shapes, images = (((7, 3, 4),), (2,)) if quick else (SHAPES, IMAGES)
    kinds = product(shapes, images, trilinear.OPERANDS)
    return [Case(role, count, *shape) for shape, count, role in kinds]


def operands(case: Case) -> tuple[jax.Array, jax.Array, roles.Geometry]:
    """The two arrays that the role takes."""
    side, square = case.side, (case.images, case.side, case.side)
    sizes = {
        "image": (*square, case.channels),
        "kernel": (3, 3, case.channels, case.filters),
        "out": (*square, case.filters),
    }
    keys = jax.random.split(jax.random.key(0), 2)
    pairs = zip(keys, trilinear.OPERANDS[case.role], strict=True)
    a, b = (jax.random.normal(key, sizes[place]) for key, place in pairs)
    return a, b, roles.Geometry(1, ((1, 1), (1, 1)), (side, side), (3, 3))


def under(constants: dict[str, Any], trace: Callable[[], Any]) -> Any:
    """What a function returns while constants of `roles` have other values."""
    kept = {name: getattr(roles, name) for name in constants}
    try:
        for name, value in constants.items():
            setattr(roles, name, value)
        return trace()
    finally:
        for name, value in kept.items():
            setattr(roles, name, value)


def programs(case: Case, elements: tuple[int, ...]) -> dict[str, tuple[Any, bool]]:
    """Path and elements at once -> a traced program and whether it is the choice today.

    Paths that come to the same program are there once.
    """
    a, b, geometry = operands(case)

    def trace() -> Any:
        return jax.jit(lambda a, b: roles.compute(case.role, a, b, geometry)).trace(a, b)

    chosen, found = str(trace().jaxpr), {}
    for (path, (many, few)), count in product(PATHS.items(), elements):
        constants = {
            "_MANY_CHANNELS": dict.fromkeys(trilinear.OPERANDS, many),
            "_FEW_CHANNELS": few,
            "CACHED_ELEMENTS": count,
        }
        traced = under(constants, trace)
        found.setdefault(str(traced.jaxpr), (f"{path} {count}", traced))
    return {name: (traced, text == chosen) for text, (name, traced) in found.items()}


def rows(case: Case, quick: bool, where: dict[str, str]) -> list[dict[str, Any]]:
    """A row for every path of a case."""
    elements = ELEMENTS if case.images == IMAGES[-1] else (roles.CACHED_ELEMENTS,)
    a, b, _ = operands(case)
    found = programs(case, elements)
    calls: dict[str, Callable[[], Any]] = {}
    for name, (traced, _) in found.items():
        compiled = traced.lower().compile()
        calls[name] = lambda run=compiled: run(a, b)
    seconds, repeats = (0.001, 2) if quick else (0.04, 5)
    times = bench.interleaved(calls, seconds=seconds, repeats=repeats)
    made = []
    for name, taken in times.items():
        path, count = name.split()
        took = bench.summary(taken)
        row = {**where, **case._asdict(), "impl": path, "elements": int(count), "seconds": took}
        rate = case.flops() / took["median"] / 1e9
        made.append({**row, "gflops": rate, "chosen": found[name][1]})
    return made


def show(case: Case, found: list[dict[str, Any]]) -> None:
    """One line for every path, the best first; a star at the one that is chosen."""
    print(f"{case}   [gflops]")
    for row in sorted(found, key=lambda row: -row["gflops"]):
        star, count = " *" if row["chosen"] else "", row["elements"]
        size = "all at once" if count == ELEMENTS[-1] else f"{count} elements"
        print(f"  {row['impl']:<9} {size:<18} {row['gflops']:>9.2f}{star}", flush=True)

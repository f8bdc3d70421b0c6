"""The hand count of operations against the programs, what a machine is, and the fits."""

import json
import math

import jax
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr
from jax.interpreters import partial_eval

from jmeta.bench import fits, recipes, roofline
from jmeta.bench import _machine as machine
from jmeta.bench import _timing as timing
from jmeta.bench.workloads import WORKLOADS, Workload

CASES = {
    "A": WORKLOADS["A"],
    "C": WORKLOADS["C"]._replace(image=(42, 42, 3), filters=8, queries=3),
    "D": WORKLOADS["D"]._replace(ways=7, filters=16),
    "E": WORKLOADS["E"]._replace(inner_steps=3),
    "E-reptile": WORKLOADS["E-reptile"],
    "F": WORKLOADS["F"],
    "G": WORKLOADS["G"]._replace(image=(20, 20, 3), filters=4),
    "S": WORKLOADS["S"],
}
OPERANDS = {"out": ("image", "kernel"), "image": ("kernel", "out"), "kernel": ("image", "out")}
LOOPS = ("while", "cond", "conv_general_dilated")  # would not be counted below


def product_flops(eqn) -> int:
    """Operations of one equation; 0 for all but products."""
    shapes = [v.aval.shape for v in (*eqn.invars, *eqn.outvars)]
    if eqn.primitive.name == "jmeta_conv":
        role, geometry = eqn.params["role"], eqn.params["geometry"]
        places = dict(zip((*OPERANDS[role], role), shapes, strict=True))
        depth = places["image"][3] * math.prod(geometry.window)
        return 2 * depth * math.prod(places["out"])
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2 * math.prod(shapes[0][axis] for axis in contracted) * math.prod(shapes[2])
    return 0


def inner(eqn) -> list:
    values = [v for p in eqn.params.values() for v in (p if isinstance(p, tuple) else (p,))]
    closed = [v.jaxpr for v in values if isinstance(v, ClosedJaxpr)]
    return closed + [v for v in values if isinstance(v, Jaxpr)]


def program_flops(jaxpr) -> int:
    """Operations of the products of a program; a loop counts as often as it runs."""
    total = 0
    for eqn in jaxpr.eqns:
        assert eqn.primitive.name not in LOOPS
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        total += product_flops(eqn) + times * sum(map(program_flops, inner(eqn)))
    return total


def gradient_flops(workload: Workload, *, remat: bool = False) -> int:
    """Operations in the gradient of one task's loss, without what nobody reads."""
    loss = recipes.loss(workload, impl="bilinear", remat=remat)
    task = jax.tree.map(lambda leaf: leaf[0], recipes.batch(workload, count=1))
    params = jax.eval_shape(lambda: recipes.params(workload))
    traced = jax.make_jaxpr(jax.grad(lambda params: loss(params, task)[0]))(params)
    used, _ = partial_eval.dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return program_flops(used)


@pytest.mark.parametrize("name", CASES)
def test_the_hand_count_is_the_programs(name):
    workload = CASES[name]
    assert roofline.operations(workload).flops == gradient_flops(workload)


@pytest.mark.parametrize("name", ["A", "C", "E"])
def test_remat_computes_two_products_again(name):
    counted = roofline.operations(CASES[name], remat=name != "E").flops
    assert counted == gradient_flops(CASES[name], remat=True)


def test_the_paper_count_of_workload_a():
    """By hand with numbers: 5 images, layers at 28, 14, 7 and 3 pixels, 64 filters."""
    first = 2 * 28**2 * 9 * 1 * 64
    rest = 2 * (14**2 + 7**2 + 3**2) * 9 * 64 * 64 + 2 * 64 * 5
    expected = 5 * ((4 + 2) * first + (9 + 3) * rest)
    assert roofline.operations(WORKLOADS["A"]).flops == expected


def test_costs_grow_as_they_should():
    base = WORKLOADS["A"]
    costs = [roofline.operations(base._replace(inner_steps=k)) for k in (1, 2, 3)]
    for field in roofline.Operations._fields:
        one, two, three = (getattr(cost, field) for cost in costs)
        assert three - two == two - one > 0
    doubled = roofline.operations(base._replace(shots=2, queries=2))
    assert doubled.flops == 2 * costs[0].flops
    assert costs[0].product_bytes < doubled.product_bytes < 2 * costs[0].product_bytes


def test_a_machine_describes_itself_in_json():
    found = json.loads(json.dumps(machine.describe()))
    assert {"backend", "device", "cores", "processor", "memory_gib"} <= set(found)
    assert {"python", "jax", "jaxlib", "flax", "optax", "numpy"} <= set(found["versions"])


def test_rates_have_units_and_order(monkeypatch):
    monkeypatch.setattr(machine, "MATRICES", {"cpu": (8, 16, 16)})
    monkeypatch.setattr(machine, "CONVOLUTIONS", ((1, 4, 2),))
    monkeypatch.setattr(machine, "MEBIBYTES", {"cpu": 1})
    found = machine.rates(seconds=0.004, repeats=3)
    assert {row["unit"] for row in found.values()} == {"GFLOP/s", "GB/s"}
    assert all(0 < row["low"] <= row["rate"] <= row["high"] for row in found.values())
    assert machine.best(found, "matrix") >= found["matrix 8"]["rate"]


def test_programs_take_turns():
    order = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    found = timing.interleaved(calls, seconds=0, repeats=3)
    assert order == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert [len(times) for times in found.values()] == [3, 3]


def test_fits_find_what_they_are_given():
    x = [1, 2, 5, 10, 50]
    line = fits.affine(x, [3 + 2 * v for v in x])
    assert line == pytest.approx((3, 2, 1))
    assert fits.exponent(x, [4 * v**1.5 for v in x]) == pytest.approx(1.5)
    assert fits.affine(x, [7.0] * 5) == pytest.approx((7, 0, 1), abs=1e-9)


@pytest.mark.parametrize("fit", [fits.affine, fits.exponent])
@pytest.mark.parametrize("points", [([1], [1]), ([1, 1], [1, 2]), ([1, 2], [0, 1]), ([1, 2], [1])])
def test_fits_refuse_too_little(fit, points):
    with pytest.raises(ValueError, match="two or more places"):
        fit(*points)


def test_an_exponent_needs_positive_places():
    with pytest.raises(ValueError, match="positive places"):
        fits.exponent([0, 1], [1, 2])

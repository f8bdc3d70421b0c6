"""Operations counted by hand and from programs, the machine's rates, and the fits."""

import json
from functools import partial

import comparing  # noqa: F401  makes comparison importable
import jax
import jax.numpy as jnp
import pytest
from comparison import fits, recipes, roofline
from comparison.workloads import WORKLOADS, Workload
from jax import lax
from jax.sharding import PartitionSpec as P
from quick import few

import jmeta
from jmeta import bench
from jmeta.bench import _machine as machine

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


def gradient_flops(workload: Workload, *, impl="bilinear", remat: bool = False) -> float:
    """Operations in the gradient of one task's loss."""
    loss = recipes.loss(workload, impl=impl, remat=remat)
    task = jax.tree.map(lambda leaf: leaf[0], recipes.batch(workload, count=1))
    params = jax.eval_shape(lambda: recipes.params(workload))
    gradient = jax.grad(lambda params: loss(params, task)[0])
    return bench.operations(jax.make_jaxpr(gradient)(params))


@pytest.mark.parametrize("name", few(CASES, "A", "S"))
def test_the_hand_count_is_the_programs(name):
    workload = CASES[name]
    assert roofline.operations(workload).flops == gradient_flops(workload)


def test_native_convolutions_count_the_same():
    assert gradient_flops(CASES["D"], impl="native") == roofline.operations(CASES["D"]).flops


@pytest.mark.parametrize("name", few(["A", "C", "E"], "A"))
def test_remat_computes_two_products_again(name):
    counted = roofline.operations(CASES[name], remat=name != "E").flops
    assert counted == gradient_flops(CASES[name], remat=True)


def test_the_paper_count_of_workload_a():
    """In numbers: 5 images, layers of 28, 14, 7 and 3 pixels a side, 64 filters."""
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


X = jnp.ones((3, 3))
PRODUCT = 2 * 3**3


def counted(function, *arguments) -> float:
    return bench.operations(jax.make_jaxpr(function)(*arguments))


@jax.custom_vjp
def squared(x):
    return x @ x


squared.defvjp(lambda x: (x @ x, x), lambda x, d: (d @ x.T + x.T @ d,))


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (lambda x: x + 1, 0),
        (jax.jit(lambda x: x @ x), 1),
        (lambda x: (x @ x, x)[1], 0),  # nobody reads the product
        (jax.checkpoint(lambda x: x @ x @ x), 2),
        (squared, 1),
        (jax.grad(lambda x: squared(x).sum()), 2),
        (jax.vmap(lambda row: row @ X), 1),
        (lambda x: lax.scan(lambda y, _: (x @ y, None), x, length=7)[0], 7),
        (
            lambda x: lax.fori_loop(
                0, 5, lambda _, y: lax.fori_loop(0, 4, lambda _, y: x @ y, y), x
            ),
            20,
        ),
        (lambda x: lax.cond(x.sum() > 0, lambda x: x @ x, lambda x: x, x), 1),
        (lambda x: lax.while_loop(lambda x: x.sum() < 0, lambda x: x + 1, x), 0),
    ],
)
def test_programs_inside_programs_are_counted(function, products):
    assert counted(function, X) == products * PRODUCT


def test_a_product_in_a_while_loop_has_no_count():
    with pytest.raises(ValueError, match="inside a while loop"):
        counted(lambda x: lax.while_loop(lambda x: x.sum() < 0, lambda x: x @ x, x), X)


def test_all_devices_are_counted():
    mesh, spec = jmeta.task_mesh(2), P("tasks")
    shared = jax.shard_map(lambda x: x @ X, mesh=mesh, in_specs=spec, out_specs=spec)
    assert counted(shared, jnp.ones((6, 3))) == 2 * PRODUCT


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_every_role_of_a_convolution_costs_the_same(stride, groups):
    x, kernel = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4 // groups, 6))
    convolve = partial(
        lax.conv_general_dilated,
        window_strides=(stride, stride),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    forward = 2 * 2 * (8 // stride) ** 2 * 9 * (4 // groups) * 6
    assert counted(convolve, x, kernel) == forward
    for place in (0, 1):
        gradient = jax.grad(lambda *both: convolve(*both).sum(), place)
        assert counted(gradient, x, kernel) == forward


def test_a_machine_describes_itself_in_json():
    found = json.loads(json.dumps(bench.describe()))
    assert {"backend", "device", "cores", "processor", "memory_gib"} <= set(found)
    assert {"python", "jax", "jaxlib", "flax", "optax", "numpy"} <= set(found["versions"])


def test_rates_have_units_and_order(monkeypatch):
    monkeypatch.setattr(machine, "MATRICES", {"cpu": (8, 16, 16)})
    monkeypatch.setattr(machine, "CONVOLUTIONS", ((1, 4, 2),))
    monkeypatch.setattr(machine, "MEBIBYTES", {"cpu": 1})
    found = bench.rates(seconds=0.004, repeats=3)
    assert {row["unit"] for row in found.values()} == {"GFLOP/s", "GB/s"}
    assert all(0 < row["low"] <= row["rate"] <= row["high"] for row in found.values())
    assert bench.best(found, "matrix") >= found["matrix 8"]["rate"]


def test_a_missing_rate_is_refused():
    with pytest.raises(ValueError, match="no rate starts with 'matrices'; there are memory scale"):
        bench.best({"memory scale": {"rate": 1.0}}, "matrices")


def test_programs_take_turns():
    order = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    found = bench.interleaved(calls, seconds=0, repeats=3)
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

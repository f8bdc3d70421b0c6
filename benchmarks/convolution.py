"""Which implementation of the convolution is fastest where: layers, roles, and whole updates.

    python benchmarks/convolution.py [--quick] [--part layers roles steps]

The script uses JAX's default backend, a CPU or an accelerator. It keeps the rows of other backends
and versions of jax in results/convolution.json, so that one table grows from several machines. The
implementations are those of `jmeta.nn.conv2d`. There are three parts:

* layers: the forward pass, the gradient with respect to image and kernel, and the second order (the
  gradient of the squared length of that gradient), alone and under `vmap` with a kernel per task;
* roles: the paths among which `jmeta.nn._roles.compute` chooses; its constants come from here;
* steps: whole updates of workloads A, B, C, D and F for each implementation and number of tasks at
  once; the default choice comes from here.

On a CPU, bfloat16 and native convolutions in whole updates are left out: they take minutes, and are
always slower.
"""

import argparse
import math
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple, get_args

import common
import convolution_roles
import jax
import jax.numpy as jnp
from comparison import recipes, roofline
from comparison.workloads import WORKLOADS, Workload

import jmeta
from jmeta import bench, nn
from jmeta.nn._conv import Impl

IMPLEMENTATIONS: tuple[Impl, ...] = get_args(Impl)
PARTS = ("steps", "layers", "roles")
WORKLOAD_NAMES, ORDERS = ("A", "B", "C", "D", "F"), ("forward", "gradient", "second")
SHAPES = ((28, 1, 64), (14, 64, 64), (7, 64, 64), (84, 3, 32), (42, 32, 32))  # side, C, F
PRODUCTS = {"forward": 1, "gradient": 3, "second": 9}  # by image and kernel: as an inner layer
KEY = ("backend", "device", "jax", "images", "side", "channels", "filters", "tasks", "order")
KEY += ("dtype", "impl", "workload", "chunk", "role", "elements")
PATIENCE = 3.0  # seconds; what takes longer is called once, what promises to is left out
STEP_PATIENCE = 20.0
LIMIT = 3 * 2**30  # bytes of patches; larger cases are left out


class Program(NamedTuple):
    """A jitted function and what it is called with."""

    run: Any
    arguments: tuple[Any, ...]


class Case(NamedTuple):
    """A layer and what is asked of it."""

    images: int  # a task
    side: int
    channels: int
    filters: int
    tasks: int  # each with a kernel of its own; 1: no vmap
    order: str
    dtype: str

    def flops(self) -> float:
        """Counted operations of a call, on all tasks."""
        one = 2.0 * self.images * self.side**2 * 9 * self.channels * self.filters
        return one * self.tasks * PRODUCTS[self.order]

    def like(self) -> tuple:
        """Layers that an implementation computes at about the same rate."""
        return self.side, self.channels, self.filters, self.tasks, self.dtype


def cases(quick: bool) -> list[Case]:
    """All layers, the small ones before the large; a few tiny ones if quick."""
    if quick:
        layers = ((2, 7, 3, 4),)
        return [Case(*layer, t, o, "float32") for layer in layers for t in (1, 2) for o in ORDERS]
    cpu = jax.default_backend() == "cpu"
    images, tasks = ((5, 75), (1, 8)) if cpu else ((5, 25, 75), (1, 8, 32))
    dtypes = ("float32",) if cpu else ("float32", "bfloat16")
    kinds = product(dtypes, SHAPES, tasks, ORDERS, images)
    found = [Case(n, *shape, t, order, dtype) for dtype, shape, t, order, n in kinds]
    return [case for case in found if _patches(case) <= LIMIT]


def _patches(case: Case) -> int:
    """Bytes of all patches of a case."""
    width = 2 if case.dtype == "bfloat16" else 4
    return case.tasks * case.images * case.side**2 * 9 * case.channels * width


def function(order: str, impl: Impl) -> Callable[..., Any]:
    """(x, kernel) -> the output, a gradient, or a gradient of a gradient's squared length."""

    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return nn.conv2d(x, kernel, impl=impl)

    def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:  # tanh: nothing is linear
        return jnp.sum(jnp.tanh(forward(x, kernel)).astype(jnp.float32))

    gradient = jax.grad(loss, (0, 1))

    def length(x: jax.Array, kernel: jax.Array) -> jax.Array:
        squares = [jnp.sum(g.astype(jnp.float32) ** 2) for g in gradient(x, kernel)]
        return squares[0] + squares[1]

    return {"forward": forward, "gradient": gradient, "second": jax.grad(length, (0, 1))}[order]


def layer_programs(case: Case) -> dict[str, Program]:
    """The case in every implementation, nothing compiled."""
    lead = () if case.tasks == 1 else (case.tasks,)
    shape = (*lead, case.images, case.side, case.side, case.channels)
    x = jax.random.normal(jax.random.key(0), shape, case.dtype)
    window = (*lead, 3, 3, case.channels, case.filters)
    kernel = jax.random.normal(jax.random.key(1), window, case.dtype) / 8
    found = {}
    for impl in IMPLEMENTATIONS:
        plain = function(case.order, impl)
        found[impl] = Program(jax.jit(plain if case.tasks == 1 else jax.vmap(plain)), (x, kernel))
    return found


def step_programs(workload: Workload) -> dict[str, Program]:
    """One outer update in every implementation, a task at a time and all at once."""
    tx, tasks = recipes.optimizer(workload), recipes.batch(workload)
    state = jmeta.train_state(recipes.params(workload), tx)
    cpu, found = jax.default_backend() == "cpu", {}
    for impl, chunk in product(IMPLEMENTATIONS, (1, None) if workload.tasks > 1 else (1,)):
        if not (cpu and impl == "native"):
            update = jmeta.step(recipes.loss(workload, impl=impl), tx, chunk=chunk)
            found[f"{impl} {chunk}"] = Program(jax.jit(update), (state, tasks))
    return found


def timed(
    programs: dict[str, Program], *, patience: float, seconds: float, repeats: int
) -> dict[str, dict[str, Any]]:
    """Medians in turns; a slow call is timed once, one that fails (say, for memory) says why."""
    works: dict[str, Callable[[], Any]] = {}
    found: dict[str, dict[str, Any]] = {}
    for name, program in programs.items():
        try:
            compiled = program.run.lower(*program.arguments).compile()
            took = bench.once(lambda run=compiled, given=program.arguments: run(*given))
            if took > patience:
                found[name] = {"seconds": bench.summary([took]), "calls": 1}
            else:
                works[name] = lambda run=compiled, given=program.arguments: run(*given)
        except Exception as error:
            found[name] = {"failed": str(error).splitlines()[0][:200]}
    times = bench.interleaved(works, seconds=seconds, repeats=repeats)
    return {**found, **{name: {"seconds": bench.summary(t)} for name, t in times.items()}}


def layer_rows(case: Case, quick: bool, rates: dict[tuple, float]) -> list[dict[str, Any]]:
    """A row for every implementation.

    Args:
        case: the layer.
        quick: few calls.
        rates: the last of each implementation on this layer, which tells whether it is worth while
            to try; updated.
    """
    programs, found, rows = layer_programs(case), {}, []
    for impl in tuple(programs):
        promised = case.flops() / 1e9 / rates.get((impl, *case.like()), math.inf)
        if promised > PATIENCE:
            del programs[impl]
            found[impl] = {"failed": f"left out: about {promised:.0f} seconds a call"}
    seconds, repeats = (0.001, 2) if quick else (0.05, 5)
    found |= timed(programs, patience=PATIENCE, seconds=seconds, repeats=repeats)
    for impl, each in found.items():
        rate = {"gflops": case.flops() / each["seconds"]["median"] / 1e9} if _ok(each) else {}
        rows.append({**_where(), **case._asdict(), "impl": impl, **each, **rate})
        rates |= {(impl, *case.like()): rate["gflops"]} if rate else {}
    show(f"{case}", rows, "gflops")
    return rows


def step_rows(workload: Workload, quick: bool) -> list[dict[str, Any]]:
    """A row for every implementation and number of tasks at once."""
    rows, default = [], default_impl()
    counted = roofline.operations(workload).flops * workload.tasks / 1e9
    seconds, repeats = (0.001, 2) if quick else (0.1, 3)
    programs = step_programs(workload)
    times = timed(programs, patience=STEP_PATIENCE, seconds=seconds, repeats=repeats)
    for name, found in times.items():
        impl, chunk = name.split()
        size = None if chunk == "None" else int(chunk)
        place = {"workload": workload.name, "impl": impl, "chunk": size}
        rate = {}
        if _ok(found):
            took = found["seconds"]["median"]
            rate = {"tasks_per_second": workload.tasks / took, "gflops": counted / took}
        rows.append({**_where(), **place, "default": impl == default, **found, **rate})
    show(workload.title, rows, "tasks_per_second")
    return rows


def default_impl() -> str:
    """The implementation that None stands for: the one that traces to the same program."""
    arguments = jnp.ones((1, 8, 8, 64)), jnp.ones((3, 3, 64, 64))

    def text(impl: Impl | None) -> str:
        return str(jax.make_jaxpr(lambda x, kernel: nn.conv2d(x, kernel, impl=impl))(*arguments))

    return next(impl for impl in IMPLEMENTATIONS if text(impl) == text(None))


def _ok(found: dict[str, Any]) -> bool:
    return "seconds" in found


def _where() -> dict[str, str]:
    device = jax.devices()[0]
    return {"backend": device.platform, "device": device.device_kind, "jax": jax.__version__}


def show(title: str, rows: list[dict[str, Any]], unit: str) -> None:
    """One line for each implementation, the best first."""
    print(f"{title}   [{unit}]")
    for row in sorted(rows, key=lambda row: -row.get(unit, 0)):
        chunk = f" chunk {row['chunk']}" if "chunk" in row else ""
        print(f"  {row['impl'] + chunk:<24} {row.get(unit, 0):>10.2f}  {row.get('failed', '')}")


def keep(rows: list[dict[str, Any]]) -> None:
    """Put rows in the place of those of the same case, beside all others on record."""
    path = common.RESULTS / "convolution.json"
    old = common.read(path)["rows"] if path.exists() else []

    def key(row: dict[str, Any]) -> tuple:
        return tuple(row.get(name) for name in KEY)

    new = {key(row) for row in rows}
    kept = [row for row in old if key(row) not in new]
    common.write("convolution", {"rows": kept + rows})


def tiny(name: str) -> Workload:
    """A workload with the same structure that takes no time."""
    return WORKLOADS[name]._replace(filters=2, image=(16, 16, 1), ways=2, tasks=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny cases, kept nowhere")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    quick, rows = options.quick, []
    if "steps" in options.part:
        for name in ("A",) if quick else WORKLOAD_NAMES:
            rows += step_rows(tiny(name) if quick else WORKLOADS[name], quick)
    if "layers" in options.part:
        rates: dict[tuple, float] = {}
        for case in cases(quick):
            rows += layer_rows(case, quick, rates)
    if "roles" in options.part:
        for role in convolution_roles.cases(quick):
            made = convolution_roles.rows(role, quick, _where())
            convolution_roles.show(role, made)
            rows += made
    if not quick:
        keep(rows)


if __name__ == "__main__":
    main()

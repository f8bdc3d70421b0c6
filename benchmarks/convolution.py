"""Which implementation of the convolution is fastest where: layers, and whole updates.

    python benchmarks/convolution.py [--quick] [--steps-only | --layers-only]

On JAX's default backend, CPU or accelerator; rows of other backends and versions of jax in
results/convolution.json are kept, so that one table grows from several machines. The
implementations are those of `jmeta.nn.conv2d`. Layers: the forward pass, the gradient by image and
kernel, and the second order (the gradient of the squared length of that gradient), alone and under
`vmap` with a kernel for each task, in float32 and bfloat16. Whole updates: workloads A, B, C, D
and F for each implementation and number of tasks at once; the default choice comes from these.
"""

import argparse
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple, get_args

import common
import jax
import jax.numpy as jnp

import jmeta
from jmeta import nn
from jmeta.bench import recipes, roofline, timing
from jmeta.bench.workloads import WORKLOADS, Workload
from jmeta.nn.conv import Impl

IMPLEMENTATIONS: tuple[Impl, ...] = get_args(Impl)
WORKLOAD_NAMES, CHUNKS = ("A", "B", "C", "D", "F"), (1, 4, None)
IMAGES, TASKS, ORDERS = (5, 25, 75), (1, 8, 32), ("forward", "gradient", "second")
SHAPES = ((28, 1, 64), (14, 64, 64), (7, 64, 64), (84, 3, 32), (42, 32, 32))  # side, C, F
PRODUCTS = {"forward": 1, "gradient": 3, "second": 9}  # by image and kernel: as an inner layer
KEY = ("backend", "device", "jax", "images", "side", "channels", "filters", "tasks", "order")
KEY += ("dtype", "impl", "workload", "chunk")
PATIENCE = 5.0  # seconds; what takes longer is called once
LIMIT = 3 * 2**30  # bytes of patches; larger cases are left out


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


def cases(quick: bool) -> list[Case]:
    """All layers; a few small ones if quick."""
    if quick:
        layers = ((2, 7, 3, 4),)
        return [Case(*layer, t, o, "float32") for layer in layers for t in (1, 2) for o in ORDERS]
    kinds = product(IMAGES, SHAPES, TASKS, ORDERS, ("float32", "bfloat16"))
    found = [Case(n, *shape, tasks, order, dtype) for n, shape, tasks, order, dtype in kinds]
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


def layer_calls(case: Case) -> dict[str, timing.Call]:
    """The case in every implementation."""
    lead = () if case.tasks == 1 else (case.tasks,)
    shape = (*lead, case.images, case.side, case.side, case.channels)
    x = jax.random.normal(jax.random.key(0), shape, case.dtype)
    window = (*lead, 3, 3, case.channels, case.filters)
    kernel = jax.random.normal(jax.random.key(1), window, case.dtype) / 8
    calls: dict[str, timing.Call] = {}
    for impl in IMPLEMENTATIONS:
        plain = function(case.order, impl)
        run = jax.jit(plain if case.tasks == 1 else jax.vmap(plain))
        calls[impl] = lambda run=run: run(x, kernel)
    return calls


def step_calls(workload: Workload, chunks: tuple[int | None, ...]) -> dict[str, timing.Call]:
    """One outer update in every implementation and with every number of tasks at once."""
    tx, tasks = recipes.optimizer(workload), recipes.batch(workload)
    state = jmeta.train_state(recipes.params(workload), tx)
    calls: dict[str, timing.Call] = {}
    for impl, chunk in product(IMPLEMENTATIONS, chunks):
        if chunk is not None and (workload.tasks % chunk or workload.tasks == chunk > 1):
            continue  # as None, or impossible
        if chunk is None and workload.tasks == 1:
            continue
        run = jax.jit(jmeta.step(recipes.loss(workload, impl=impl), tx, chunk=chunk))
        calls[f"{impl} {chunk}"] = lambda run=run: run(state, tasks)
    return calls


def timed(calls: dict[str, timing.Call], quick: bool) -> dict[str, dict[str, Any]]:
    """Medians in turns; a slow call is timed once, one that fails (say, for memory) says why."""
    works: dict[str, timing.Call] = {}
    found: dict[str, dict[str, Any]] = {}
    for name, call in calls.items():
        try:
            timing.once(call)
            took = timing.once(call)
            if took > PATIENCE:
                found[name] = {"seconds": timing.summary([took]), "calls": 1}
            else:
                works[name] = call
        except Exception as error:
            found[name] = {"failed": str(error).splitlines()[0][:200]}
    seconds, repeats = (0.01, 2) if quick else (0.1, 5)
    times = timing.interleaved(works, seconds=seconds, repeats=repeats)
    return {**found, **{name: {"seconds": timing.summary(t)} for name, t in times.items()}}


def layer_rows(case: Case, quick: bool) -> list[dict[str, Any]]:
    """A row for every implementation."""
    rows = []
    for impl, found in timed(layer_calls(case), quick).items():
        rate = {"gflops": case.flops() / found["seconds"]["median"] / 1e9} if _ok(found) else {}
        rows.append({**_where(), **case._asdict(), "impl": impl, **found, **rate})
    show(f"{case}", rows, "gflops")
    return rows


def step_rows(workload: Workload, quick: bool) -> list[dict[str, Any]]:
    """A row for every implementation and number of tasks at once."""
    rows = []
    counted = roofline.operations(workload).flops * workload.tasks / 1e9
    for name, found in timed(step_calls(workload, (1, None) if quick else CHUNKS), quick).items():
        impl, chunk = name.split()
        size = None if chunk == "None" else int(chunk)
        place = {"workload": workload.name, "impl": impl, "chunk": size}
        rate = {}
        if _ok(found):
            took = found["seconds"]["median"]
            rate = {"tasks_per_second": workload.tasks / took, "gflops": counted / took}
        rows.append({**_where(), **place, **found, **rate})
    show(workload.title, rows, "tasks_per_second")
    return rows


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
    parser.add_argument("--steps-only", action="store_true")
    parser.add_argument("--layers-only", action="store_true")
    options = parser.parse_args()
    quick, rows = options.quick, []
    if not options.layers_only:
        for name in ("E",) if quick else WORKLOAD_NAMES:
            rows += step_rows(tiny(name) if quick else WORKLOADS[name], quick)
    if not options.steps_only:
        for case in cases(quick):
            rows += layer_rows(case, quick)
    if not quick:
        keep(rows)


if __name__ == "__main__":
    main()

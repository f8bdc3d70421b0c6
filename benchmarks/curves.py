"""How time and memory grow: with inner steps, tasks, ways, image size and devices.

    python benchmarks/curves.py [--quick]

Workload A (MAML, second order, 28x28, 5-way 1-shot, one inner step) in jmeta's public functions;
one thing varies at a time. Times are medians over rounds in which every point of a curve runs in
turn; memory is what the compiled step holds beside its arguments. Each curve is compared with
theory: the exponent of the counted operations (`comparison/roofline.py`), or a straight line. Weak
scaling gives each of 1 to 8 virtual devices the same number of tasks; with more devices than cores,
time must grow in proportion, and tasks per second stay constant.
"""

import argparse
import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

import common
import curves_plot
import jax
from comparison import fits, recipes, roofline
from comparison.workloads import WORKLOADS, Workload

import jmeta
from jmeta import bench

BASE = WORKLOADS["A"]._replace(tasks=4)
STEPS, TASKS = (1, 2, 5, 10, 20, 50), (1, 4, 16, 64, 256, 1024)
WAYS, SIDES, DEVICES = (2, 5, 10, 20, 50), (28, 42, 56, 84), (1, 2, 4, 8)


class Point(NamedTuple):
    """One place on a curve."""

    at: int
    workload: Workload
    remat: bool = False


def plans(quick: bool) -> dict[str, list[Point]]:
    """The points of every curve but that over devices; quick ones of a tiny network."""
    cut = slice(0, 2) if quick else slice(None)
    base = BASE._replace(filters=4, tasks=2) if quick else BASE
    first = base._replace(algorithm="fomaml")
    return {
        "steps, plain": [Point(k, base._replace(inner_steps=k)) for k in STEPS[cut]],
        "steps, remat": [Point(k, base._replace(inner_steps=k), True) for k in STEPS[cut]],
        "steps, first order": [Point(k, first._replace(inner_steps=k)) for k in STEPS[cut]],
        "tasks": [Point(t, base._replace(tasks=t)) for t in TASKS[cut]],
        "ways": [Point(n, base._replace(ways=n)) for n in WAYS[cut]],
        "image side": [Point(s, base._replace(image=(s, s, 1))) for s in SIDES[cut]],
    }


def program(workload: Workload, *, remat: bool = False, devices: int = 1) -> tuple[Any, Any]:
    """A compiled outer update and what it is called with."""
    tx, cpu = recipes.optimizer(workload), jax.default_backend() == "cpu"
    mesh = jmeta.task_mesh(devices) if devices > 1 else None
    loss = recipes.loss(workload, remat=remat)
    update = jax.jit(jmeta.step(loss, tx, chunk=1 if cpu else None, mesh=mesh))
    state = jmeta.train_state(recipes.params(workload), tx)
    arguments = (state, recipes.batch(workload))
    if mesh is not None:
        axis = jax.P(*mesh.axis_names)
        places = [jax.sharding.NamedSharding(mesh, spec) for spec in (jax.P(), axis)]
        arguments = tuple(map(jax.device_put, arguments, places))
    return update.lower(*arguments).compile(), arguments


def measure(points: list[Point], *, seconds: float, repeats: int) -> list[dict[str, Any]]:
    """Time a task and memory of every point, in turns."""
    calls, memory = {}, {}
    for index, point in enumerate(points):
        compiled, arguments = program(point.workload, remat=point.remat)
        calls[str(index)] = lambda run=compiled, given=arguments: run(*given)
        memory[str(index)] = compiled.memory_analysis().temp_size_in_bytes
    times = bench.interleaved(calls, seconds=seconds, repeats=repeats)
    rows = []
    for index, point in enumerate(points):
        took = bench.summary(times[str(index)])
        counted = roofline.operations(point.workload, remat=point.remat)
        tasks = point.workload.tasks
        rows.append(
            {
                "at": point.at,
                "seconds_per_update": took,
                "seconds_per_task": took["median"] / tasks,
                "memory_bytes": memory[str(index)],
                "gflop_per_task": counted.flops / 1e9,
            }
        )
        print(
            f"  {point.at:>5}: {1e3 * took['median'] / tasks:9.2f} ms a task, "
            f"{memory[str(index)] / 2**20:8.1f} MiB",
            flush=True,
        )
    return rows


def verdict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Fits of a curve, and the exponent that the counted operations have on the same points."""
    at = [row["at"] for row in rows]
    time = [row["seconds_per_update"]["median"] for row in rows]
    memory = [row["memory_bytes"] for row in rows]
    tasks = [t / row["seconds_per_task"] for t, row in zip(time, rows, strict=True)]
    flops = [row["gflop_per_task"] * t for row, t in zip(rows, tasks, strict=True)]
    return {
        "time": {
            "exponent": fits.exponent(at, time),
            "expected": fits.exponent(at, flops),
            "line": fits.affine(at, time)._asdict(),
        },
        "time_per_gflop": {
            "first": time[0] / flops[0],
            "last": time[-1] / flops[-1],
            "exponent": fits.exponent(flops, time),
            "expected": 1.0,
        },
        "memory": {
            "exponent": fits.exponent(at, memory),
            "line": fits.affine(at, memory)._asdict(),
        },
    }


def expected_memory(name: str) -> str:
    """What theory says of the memory of a curve."""
    carry = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(recipes.params(BASE)))
    return {
        "steps, plain": "a line: every step keeps what its reverse pass reads",
        "steps, remat": f"a line whose slope is the parameters of a step, {carry} bytes",
        "steps, first order": "constant: nothing is kept",
        "tasks": "constant but for the outputs: one task at a time",
        "ways": "a line: parameters and their gradients, and arrays of every image",
        "image side": "its square, beside parameters and their gradients",
    }[name]


# Devices: a process for each number, since it is fixed when JAX starts.


def worker(devices: int, filters: int) -> None:
    """Compile, then answer each line of standard input with the seconds of an update."""
    jax.config.update("jax_num_cpu_devices", devices)
    workload = BASE._replace(tasks=4 * devices, filters=filters)
    compiled, arguments = program(workload, devices=devices)
    bench.once(lambda: compiled(*arguments))
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(bench.once(lambda: compiled(*arguments), int(line))), flush=True)


def scaling(
    counts: tuple[int, ...], *, filters: int, updates: int, repeats: int
) -> list[dict[str, Any]]:
    """Weak scaling: 4 tasks a device, the processes in turns."""
    command = [sys.executable, __file__, "--filters", str(filters), "--worker"]
    running = {}
    times: dict[int, list[float]] = {count: [] for count in counts}
    try:
        for count in counts:
            running[count] = subprocess.Popen(
                [*command, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            _answer(running[count])
        for _ in range(repeats):
            for count, process in running.items():
                print(updates, file=process.stdin, flush=True)
                times[count].append(float(_answer(process)))
    finally:
        for process in running.values():
            process.communicate()  # an end of input ends it
    return [_scaled(count, taken, times[counts[0]]) for count, taken in times.items()]


def _answer(process: subprocess.Popen) -> str:
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the device curve stopped: {process.args}")
    return line


def _scaled(count: int, taken: list[float], single: list[float]) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    took = bench.summary(taken)
    alone = bench.summary(single)["median"]
    print(f"  {count:>5}: {1e3 * took['median'] / (4 * count):9.2f} ms a task", flush=True)
    return {
        "at": count,
        "seconds_per_update": took,
        "seconds_per_task": took["median"] / (4 * count),
        "speedup": count * alone / took["median"],
        "expected": f"1 to {min(count, cores)}: one device already uses all {cores} cores in part",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two points a curve, kept nowhere")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--filters", type=int, default=BASE.filters, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker, options.filters)
    quick, curves, fitted = options.quick, {}, {}
    for name, points in plans(quick).items():
        print(name, flush=True)
        seconds, repeats = (0.05, 2) if quick else (0.3, 5)
        curves[name] = measure(points, seconds=seconds, repeats=repeats)
        fitted[name] = {**verdict(curves[name]), "expected_memory": expected_memory(name)}
        found = fitted[name]["time"]
        print(f"  time ~ x^{found['exponent']:.2f}; operations ~ x^{found['expected']:.2f}")
    print("devices (4 tasks each)", flush=True)
    counts = DEVICES[:2] if quick else DEVICES
    filters, updates, repeats = (4, 1, 2) if quick else (BASE.filters, 4, 5)
    curves["devices"] = scaling(counts, filters=filters, updates=updates, repeats=repeats)
    record = {"base": BASE._asdict(), "curves": curves, "fits": fitted}
    if quick:
        return curves_plot.draw(curves, common.RUNS / "curves-quick.png")
    common.write("curves", record)
    curves_plot.draw(curves, curves_plot.PLOT)


if __name__ == "__main__":
    main()

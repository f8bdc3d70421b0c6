"""How an update scales over devices and over processes, and what is lost: benchmarks/scaling.py

    python benchmarks/scaling.py

MAML with a convolutional network (64 filters, 5-way 1-shot, 1 step) on tasks that are drawn from
the built-in glyphs inside the update, one task at a time on a device. Strong scaling: 32 tasks an
update, whatever the devices. Weak scaling: 8 tasks a device. The devices are virtual ones of this
machine, so more of them than it has cores can win nothing; what is then lost is the cost of sharing
itself. Its parts are timed alone beside the update: the all-reduce of a gradient, and the outer
optimizer, which every device repeats. Processes hold one device and one core each.

The record also holds the memory of an update of 4,096 tasks beside that of an update of one chunk.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
from typing import Any

import common
import jax
import optax
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import jmeta
from jmeta import bench, data, nn
from jmeta.losses import cross_entropy

DEVICES, PROCESSES = (1, 2, 4, 8), (1, 2, 4)
TOTAL, EACH = 32, 8  # tasks of an update, and of a device
MANY = 4096


class Workload:
    """MAML on the glyphs: its parameters, its optimizer, and its update over any mesh."""

    def __init__(self, filters: int) -> None:
        net = nn.Conv4(outputs=5, filters=filters, norm="batch")
        learner = jmeta.maml(net, cross_entropy, jmeta.unrolled(optax.sgd(0.4), 1))
        self.loss = jmeta.episodic(learner, cross_entropy)
        self.pool = data.load("glyphs").train
        self.tx = optax.adam(1e-3)
        self.params = jax.jit(learner.init)(jax.random.key(0), self.sample(jax.random.key(0)))

    def sample(self, key: jax.Array) -> jmeta.Task:
        return data.sample_episode(key, self.pool, ways=5, shots=1, queries=1)

    def update(self, mesh: Mesh | None, chunk: int | None = 1) -> Any:
        step = jmeta.step(self.loss, self.tx, sample=self.sample, chunk=chunk, mesh=mesh)
        return jax.jit(step)

    def state(self) -> jmeta.TrainState:
        return jmeta.train_state(self.params, self.tx)


def keys(tasks: int) -> jax.Array:
    return jax.random.split(jax.random.key(1), tasks)


def calls(workload: Workload, mesh: Mesh) -> dict[str, Any]:
    """The update under both kinds of scaling, and the parts that do not shrink with devices."""
    state, size = workload.state(), mesh.size
    update = workload.update(mesh)
    axis = mesh.axis_names[0]

    def reduce(params: Any) -> Any:
        return lax.pmean(lax.pcast(params, axis, to="varying"), axis)

    def apply(state: jmeta.TrainState) -> Any:
        changes, kept = workload.tx.update(state.params, state.opt_state, state.params)
        return optax.apply_updates(state.params, changes), kept

    everywhere = jax.sharding.NamedSharding(mesh, P())
    reduced = jax.jit(jax.shard_map(reduce, mesh=mesh, in_specs=P(), out_specs=P()))
    applied = jax.jit(apply, out_shardings=everywhere)
    state = replicated(state, everywhere)
    many = {"strong": keys(TOTAL), "weak": keys(EACH * size)}
    given = {name: replicated(each, everywhere) for name, each in many.items()}
    return {
        "strong": lambda: update(state, given["strong"])[1].loss,
        "weak": lambda: update(state, given["weak"])[1].loss,
        "all_reduce": lambda: reduced(state.params),
        "optimizer": lambda: applied(state),
    }


def replicated(tree: Any, everywhere: jax.sharding.NamedSharding) -> Any:
    """A copy on every device; all processes have computed the same values."""
    return jax.jit(lambda tree: tree, out_shardings=everywhere)(tree)


def tables(found: dict[int, dict[str, float]]) -> list[dict[str, Any]]:
    """Seconds of each number of devices, and tasks per second over what one device does."""
    rows, one = [], found[1]
    for size, seconds in found.items():
        rate = {"strong": TOTAL / seconds["strong"], "weak": EACH * size / seconds["weak"]}
        first = {"strong": TOTAL / one["strong"], "weak": EACH / one["weak"]}
        row: dict[str, Any] = {"devices": size, "seconds": seconds, "tasks_per_second": rate}
        row["efficiency"] = {name: rate[name] / first[name] / size for name in rate}
        cores = min(size, os.cpu_count() or 1)
        row["efficiency_of_cores"] = {name: rate[name] / first[name] / cores for name in rate}
        rows.append(row)
    return rows


def over_devices(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Meshes of 1 to 8 virtual devices, each in a process with as many devices and no more.

    XLA starts a thread for each device. With more threads than a program has devices, the programs
    of small networks take up to twice as long.
    """
    found = {}
    for count in DEVICES:
        command = [*child(options), "--devices", str(count)]
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        found[count] = json.loads(said.splitlines()[-1])
        print(f"{count} devices: {found[count]}", flush=True)
    return tables(found)


def child(options: argparse.Namespace) -> list[str]:
    """The command of a process that measures."""
    command = [sys.executable, __file__, "--filters", str(options.filters)]
    return [*command, "--rounds", str(options.rounds), "--seconds", str(options.seconds)]


def over_processes(options: argparse.Namespace) -> list[dict[str, Any]]:
    """1, 2 and 4 processes of a core each; more processes than cores share them."""
    found = {}
    for count in PROCESSES:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        command = [*child(options), "--of", str(count), "--port", str(port)]
        workers = [
            subprocess.Popen([*command, "--worker", str(i)], stdout=subprocess.PIPE, text=True)
            for i in range(count)
        ]
        said = [worker.communicate()[0] for worker in workers]
        if any(worker.returncode for worker in workers):
            raise SystemExit(f"a worker of {count} has failed")
        found[count] = json.loads(said[0].splitlines()[-1])
        print(f"{count} processes: {found[count]}", flush=True)
    return tables(found)


def work(options: argparse.Namespace) -> None:
    """One process of several, or one with several devices; the first one prints the medians."""
    if options.devices is None and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[options.worker % len(cores)]})
    jax.config.update("jax_num_cpu_devices", options.devices or 1)
    if options.of > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"localhost:{options.port}", options.of, options.worker)
    found = {}
    for name, call in calls(Workload(options.filters), jmeta.task_mesh()).items():
        bench.once(call)
        count = max(1, round(options.seconds / options.expected[name]))  # alike on all processes
        # One at a time: several collectives in flight may meet in another order elsewhere.
        times = [[bench.once(call) for _ in range(count)] for _ in range(options.rounds)]
        found[name] = bench.summary([statistics.mean(each) for each in times])
    if options.worker == 0:
        print(json.dumps({name: times["median"] for name, times in found.items()}))


def memory(workload: Workload) -> dict[str, Any]:
    """Bytes that an update works in, compiled and not run, by tasks and chunk."""

    def needed(tasks: int, chunk: int | None) -> int:
        compiled = workload.update(None, chunk).lower(workload.state(), keys(tasks)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    return {
        "a chunk of 1 task": needed(2, 1),
        f"{MANY} tasks, chunk 1": needed(MANY, 1),
        "a chunk of 8 tasks": needed(16, 8),
        f"{MANY} tasks, chunk 8": needed(MANY, 8),
        "64 tasks at once": needed(64, None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each program in a round")
    for name, default in {"--worker": 0, "--of": 1, "--port": 0, "--devices": None}.items():
        parser.add_argument(name, type=int, default=default, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.expected = {"strong": 0.3, "weak": 0.1, "all_reduce": 0.05, "optimizer": 0.05}
    if options.port or options.devices:
        return work(options)
    workload = Workload(options.filters)
    size = sum(leaf.size for leaf in jax.tree.leaves(workload.params))
    record = {
        "workload": f"MAML, glyphs, 5-way 1-shot, Conv4 of {options.filters} filters, 1 step",
        "tasks": {"strong": TOTAL, "weak": f"{EACH} a device"},
        "parameters": size,
        "all_reduced_bytes": 4 * size,
        "cores": os.cpu_count(),
        "rounds": options.rounds,
        "memory_bytes": memory(workload),
    }
    print(json.dumps(record), flush=True)
    record["processes"] = over_processes(options)
    common.write("scaling", record)
    record["devices"] = over_devices(options)
    for row in record["devices"]:
        print(json.dumps(row), flush=True)
    common.write("scaling", record)


if __name__ == "__main__":
    main()

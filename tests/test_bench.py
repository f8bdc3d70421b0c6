"""`jmeta bench`: all systems do the same work, and the runner times them in turn."""

import os

import jax
import numpy as np
import pytest

from jmeta import bench, cli
from jmeta.bench import client, recipes, system, systems, workloads
from jmeta.bench.client import Client, Failed
from jmeta.bench.systems import flax_vmap, public
from jmeta.bench.workloads import SAMPLER, WORKLOADS

SMALL = {"filters": 8, "tasks": 2, "inner_steps": 2}
TINY = {
    "maml": WORKLOADS["A"]._replace(**SMALL),
    "maml-flattened": WORKLOADS["C"]._replace(**SMALL | {"image": (32, 48, 3), "queries": 1}),
    "fomaml": WORKLOADS["E"]._replace(**SMALL),
    "reptile": WORKLOADS["E-reptile"]._replace(**SMALL),
    "protonet": WORKLOADS["F"]._replace(filters=8, ways=4),
    "resnet": WORKLOADS["G"]._replace(**SMALL | {"filters": 10, "image": (16, 16, 3)}),
    "sinusoid": WORKLOADS["S"],
}
IN_JAX = ("maml", "fomaml", "reptile", "protonet", "sinusoid")  # resnet by hand: a minute
PEERS = {
    "torch-loop": "torch",
    "learn2learn": "learn2learn",
    "higher": "higher",
    "torchopt": "torchopt",
    "torch-func": "torch",
}
_FOUND: dict[tuple[str, str], system.Weights] = {}


def gradient(name: str, kind: str) -> system.Weights:
    """The meta-gradient at the shared weights."""
    if (name, kind) not in _FOUND:
        _FOUND[name, kind] = systems.build(name, TINY[kind]).gradient()
    return _FOUND[name, kind]


def difference(found: system.Weights, wanted: system.Weights) -> float:
    """Over all weights: |a - b| / |b|."""
    assert list(found) == list(wanted)
    a, b = (np.concatenate([w.ravel() for w in weights.values()]) for weights in (found, wanted))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def bound(kind: str) -> float:
    """Reptile's Adam divides a tiny gradient by its own size, and rounding shows."""
    return 5e-2 if kind == "reptile" else 1e-4


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """Devices that wait for one another take minutes on a busy machine."""
    monkeypatch.setattr(public, "most_devices", lambda tasks: 1)


@pytest.fixture
def in_float64(monkeypatch):
    """Rounding decides which of two nearly equal pixels is the maximum, or what Adam's sign is."""
    tasks, initial = workloads.tasks, system.initial

    def double(arrays):
        return [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]

    def weights(workload):
        found = initial(workload)
        return dict(zip(found, double(found.values()), strict=True))

    monkeypatch.setattr(
        workloads, "tasks", lambda *a, **k: workloads.Arrays(*double(tasks(*a, **k)))
    )
    for module in (recipes, flax_vmap):
        monkeypatch.setattr(module, "initial", weights)
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("kind", IN_JAX)
def test_plain_flax_computes_the_same(kind, in_float64):
    found = [systems.build(name, TINY[kind]).gradient() for name in ("flax-vmap", "jmeta")]
    assert difference(*found) < bound(kind) / 1e3


@pytest.mark.slow
def test_updates_are_the_same(in_float64):
    later = []
    for name in ("jmeta", "flax-vmap"):
        built = systems.build(name, TINY["maml"]._replace(filters=2, inner_steps=1))
        built.advance(2)
        later.append(built.gradient())
    assert difference(*later) < 1e-9


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("name", PEERS)
@pytest.mark.filterwarnings("ignore")  # theirs
def test_peers_compute_the_same(name, kind, monkeypatch):
    pytest.importorskip(PEERS[name], reason=f"{name} is not installed", exc_type=ImportError)
    if name not in systems.entries(TINY[kind]):
        pytest.skip(f"{name} has no {kind}")
    # Threads that wait for one another take minutes on a busy machine.
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    reference = "torch-loop" if kind == "resnet" else "jmeta"
    assert difference(gradient(name, kind), gradient(reference, kind)) < bound(kind)


def fake(rates: dict[str, float], calls: list[str]) -> client.Start:
    """Systems that need a fixed time a task; an infinite one fails at the start."""

    def start(name: str, workload: workloads.Workload) -> Client:
        if name not in rates:
            raise Failed("nothing not installed")

        def advance(steps: int) -> float:
            calls.append(name)
            if rates[name] < 0:
                raise Failed("its process ended")
            return steps * workload.tasks / rates[name]

        ready = {"device": "none", "versions": {name: "1"}, "first_step_seconds": 0.5}
        return Client(ready, advance, lambda: calls.append(f"stop {name}"))

    return start


def test_rounds_are_interleaved_and_recorded():
    calls: list[str] = []
    rates = {"jmeta": 320.0, "torch-loop": 32.0, "torch-func": -1.0}
    names = ["jmeta", "torch-loop", "higher", "torch-func"]
    said: list[str] = []
    record = bench.run(
        [WORKLOADS["A"], WORKLOADS["F"]],
        names,
        protocol=bench.Protocol(rounds=3, seconds=1.0),
        start=fake(rates, calls),
        say=said.append,
    )
    assert set(record) == {"schema", "rows", "left_out", "machine", "protocol"}
    assert record["schema"] == 1 and record["protocol"]["rounds"] == 3
    rows = {row["system"]: row for row in record["rows"] if row["workload"] == "A"}
    assert set(rows) == {"jmeta", "torch-loop"}
    assert rows["torch-loop"]["tasks_per_second"] == pytest.approx(32)
    assert rows["torch-loop"]["low"] <= 32.001 and rows["torch-loop"]["high"] >= 31.999
    assert rows["torch-loop"]["jmeta_ratio"] == pytest.approx(10)
    assert rows["jmeta"]["steps_a_round"] == 10
    left = {(row["system"], row["workload"]): row["reason"] for row in record["left_out"]}
    assert left["higher", "A"] == "nothing not installed"
    assert left["torch-func", "A"] == "its process ended"
    assert "does not do this" in left["higher", "F"]
    first = calls[: calls.index("stop jmeta")]
    tail = ["jmeta", "torch-loop", "torch-loop", "jmeta", "jmeta", "torch-loop"]
    assert first[-6:] == tail
    assert record["machine"]["versions"] == {"jmeta": "1", "torch-loop": "1"}
    assert any("left out" in line for line in said)
    bench.show(record)


def test_a_slow_system_runs_in_few_rounds():
    calls: list[str] = []
    record = bench.run(
        [WORKLOADS["A"]],
        ["jmeta", "flax-vmap"],
        protocol=bench.Protocol(rounds=6, seconds=1.0),
        start=fake({"jmeta": 100.0, "flax-vmap": 1.0}, calls),
        say=lambda line: None,
    )
    assert [len(row["rounds"]) for row in record["rows"]] == [6, 3]


def test_a_real_worker_answers_and_is_stopped():
    record = bench.run(
        [SAMPLER],
        ["meta-dataset-style"],
        protocol=bench.Protocol(rounds=2, seconds=0.05),
        say=lambda line: None,
    )
    (row,) = record["rows"]
    assert row["unit"] == "episodes per second" and row["low"] > 0
    assert row["versions"]["numpy"]


def test_a_missing_interpreter_is_left_out():
    start = client.starter("/no/such/python")
    with pytest.raises(Failed, match="cannot be started"):
        start("torch-loop", WORKLOADS["A"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--workload", "Z"], "unknown workload 'Z': choose some of A, B,"),
        (["--workload", "A,Z"], "unknown workload 'Z'"),
        (["--systems", "jmeta,tensorflow"], "unknown system 'tensorflow': choose some of jmeta,"),
        (["--rounds", "0"], "got 0 rounds"),
        (["--chunk", "5"], "--chunk 5 does not divide the 32 tasks of A"),
    ],
)
def test_mistakes_are_one_line(words, says, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["bench", *words])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and says in said and said.count("\n") == 1


def test_names_of_workloads():
    chosen = [w.name for w in workloads.chosen(["E", "sampler", "A", "E"])]
    assert chosen == ["E", "E-reptile", "sampler", "A"]
    assert len(workloads.chosen(["all"])) == len(WORKLOADS) + 1


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_has_weights_and_tasks(name):
    workload = WORKLOADS[name]
    shapes = system.shapes(workload)
    assert {n: w.shape for n, w in system.initial(workload).items()} == shapes
    arrays = workloads.tasks(workload, count=1)
    assert arrays.support_x.shape[1] == workload.ways * workload.shots
    assert arrays.query_x.shape[1] == workload.ways * workload.queries

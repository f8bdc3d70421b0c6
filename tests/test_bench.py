"""The comparison with the peers: every system does the same work, and they are timed in turns."""

import doctest
import importlib
import json
import os
import pkgutil
import subprocess
import sys

import comparing  # before comparison, which it makes importable
import comparison
import jax
import numpy as np
import pytest
from comparison import client, command, recipes, system, systems, worker, workloads
from comparison.client import Client, Failed
from comparison.systems import flax_vmap, public
from comparison.workloads import SAMPLER, WORKLOADS
from quick import few

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
    "parallel-metalearn": "metalearn",
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
    """Reptile's Adam divides a tiny gradient by its own size, which enlarges rounding errors."""
    return 5e-2 if kind == "reptile" else 1e-4


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """On a busy machine, devices that wait for each other take minutes."""
    monkeypatch.setattr(public, "most_devices", lambda count: 1)


@pytest.fixture
def in_float64(monkeypatch):
    """In float32, rounding decides between nearly equal pixels, and the sign of Adam's step."""
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


@pytest.mark.parametrize("kind", few(IN_JAX))
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
@pytest.mark.filterwarnings("ignore")  # of the peers
def test_peers_compute_the_same(name, kind, monkeypatch):
    pytest.importorskip(PEERS[name], reason=f"{name} is not installed", exc_type=ImportError)
    if name not in systems.entries(TINY[kind]):
        pytest.skip(f"{name} has no {kind}")
    # On a busy machine, threads that wait for each other take minutes.
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    reference = "torch-loop" if kind == "resnet" else "jmeta"
    assert difference(gradient(name, kind), gradient(reference, kind)) < bound(kind)


def fake(rates: dict[str, float], calls: list[str]) -> client.Start:
    """Systems with fixed rates. One without a rate does not start; one below 0 ends later."""

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
    record = comparison.run(
        [WORKLOADS["A"], WORKLOADS["F"]],
        names,
        protocol=comparison.Protocol(rounds=3, seconds=1.0),
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
    comparison.show(record)


def test_a_slow_system_runs_in_few_rounds():
    calls: list[str] = []
    record = comparison.run(
        [WORKLOADS["A"]],
        ["jmeta", "flax-vmap"],
        protocol=comparison.Protocol(rounds=6, seconds=1.0),
        start=fake({"jmeta": 100.0, "flax-vmap": 1.0}, calls),
        say=lambda line: None,
    )
    assert [len(row["rounds"]) for row in record["rows"]] == [6, 3]


def test_a_real_worker_answers_and_is_stopped():
    record = comparison.run(
        [SAMPLER],
        ["meta-dataset-style"],
        protocol=comparison.Protocol(rounds=2, seconds=0.05),
        say=lambda line: None,
    )
    (row,) = record["rows"]
    assert row["unit"] == "episodes per second" and row["low"] > 0
    assert row["versions"]["numpy"]


def test_a_worker_finds_its_packages_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "comparison").mkdir()  # does not hide the real one
    (tmp_path / "comparison" / "__init__.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    found = client.starter()("meta-dataset-style", SAMPLER)
    found.stop()
    assert found.ready["ready"]


def test_packages_have_the_names_that_pip_knows(monkeypatch):
    monkeypatch.setitem(sys.modules, "metalearn", None)  # its import fails
    assert worker.missing_packages(("metalearn",)) == ["parallel-metalearn"]


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
        (["--rounds", "two"], "argument --rounds: invalid int value"),
        (["--way", "5"], "unrecognized arguments: --way 5"),
        (["--json", "no/such/folder.json"], "the folder of --json no/such/folder.json"),
    ],
)
def test_mistakes_are_one_line(words, says, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(words)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.startswith("peers: error: ")
    assert says in said and said.count("\n") == 1


def test_the_command_writes_its_record(tmp_path):
    words = ["--workload", "sampler", "--systems", "meta-dataset-style"]
    words += ["--rounds", "1", "--seconds", "0.01", "--json", "found.json"]
    script = [sys.executable, str(comparing.BENCHMARKS / "peers.py"), *words]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "found.json").read_text())
    assert [row["system"] for row in record["rows"]] == ["meta-dataset-style"]
    assert "meta-dataset-style" in done.stdout


def test_the_timing_process_loads_no_framework():
    code = "import sys, comparison.command; print({'jax', 'torch', 'jmeta'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=comparing.BENCHMARKS, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()", done.stderr


MODULES = [m.name for m in pkgutil.walk_packages(comparison.__path__, "comparison.")]


@pytest.mark.parametrize("module", MODULES)
def test_examples(module):
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


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

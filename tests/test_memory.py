"""The memory of a run: estimated before it starts, refused with the chunk that would fit."""

import re

import jax
import numpy as np
import pytest

from jmeta.runs import _memory as memory
from jmeta.runs import _programs as programs
from jmeta.runs import _room
from jmeta.train import Experiment, evaluate_run, experiment, run

pytestmark = pytest.mark.usefixtures("no_pictures")
SINUSOID = experiment(
    "maml",
    dataset="sinusoid",
    shots=1,
    queries=1,
    train_queries=1,
    network="mlp",
    hidden=(64, 64),
    steps=2,
    tasks=8,
    devices=1,
    chunk=8,
    norm="none",
    validate_every=2,
    validation_episodes=2,
    log_every=1,
    episodes=2,
)


@pytest.fixture
def images(tmp_path) -> Experiment:
    """A small set, all eight tasks at once."""
    x = np.random.default_rng(0).integers(0, 255, (24, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", x=x, y=np.repeat(np.arange(12), 2))
    name = f"arrays:{tmp_path}/set.npz"
    options = {"split": "0.5,0.25,0.25", "ways": 2, "network": "mlp", "norm": "none"}
    return experiment("protonet", start=SINUSOID, dataset=name, **options)


def size_of(one: Experiment) -> int:
    """The estimate for an experiment."""
    parts = programs.parts(one)
    state = programs.initial_state(parts)
    found = memory.check(parts, programs.dispatch(parts), state, length=1)
    assert found is not None
    return found


def test_the_estimate_is_told_and_kept(tmp_path):
    events: list[dict] = []
    result = run(SINUSOID, tmp_path / "run", progress=events.append)
    (start,) = [event for event in events if event["event"] == "start"]
    parameters = 4 * start["parameters"]
    assert start["memory"] == result["throughput"]["memory_bytes"] > 6 * parameters


def test_what_is_estimated_is_what_runs(tmp_path):
    """One compilation of the updates, not two."""
    parts = programs.parts(SINUSOID)
    state = programs.initial_state(parts)
    compiled: list[str] = []

    def heard(name: str, _: float, **about) -> None:
        if name.endswith("backend_compile_duration"):
            compiled.append(name)

    jax.monitoring.register_event_duration_secs_listener(heard)
    try:
        advance = programs.dispatch(parts)
        memory.check(parts, advance, state, length=1)
        before = len(compiled)
        jax.block_until_ready(advance(state, pool=parts.domain.train, length=1))
        assert len(compiled) == before > 0
    finally:
        jax.monitoring.unregister_event_duration_listener(heard)


@pytest.mark.slow
def test_memory_grows_with_the_chunk_and_with_devices():
    sizes = [size_of(experiment(start=SINUSOID, chunk=chunk)) for chunk in (1, 8)]
    assert sizes[0] < sizes[1]
    assert size_of(experiment(start=SINUSOID, chunk=1, devices=2)) > 1.5 * sizes[0]


@pytest.mark.parametrize("fitting", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_run_that_cannot_fit_names_the_chunk_that_would(images, fitting, tmp_path, monkeypatch):
    images = experiment(start=images, network="conv4", filters=8)
    room = (size_of(experiment(start=images, chunk=fitting)) + size_of(images)) // 2
    monkeypatch.setattr(_room, "available", lambda mesh: room)
    with pytest.raises(ValueError, match=r"GB of memory .* --chunk \d+ should fit") as refusal:
        run(images, tmp_path / "run")
    named = int(re.search(r"--chunk (\d+)", str(refusal.value)).group(1))
    assert named >= fitting
    assert size_of(experiment(start=images, chunk=named)) <= room  # and so it starts


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (0.0, r"the parameters and the state of the outer optimizer need .*: choose a smaller net"),
        (3.5, r"this run needs .*: not even one task at a time would fit; set --remat"),
    ],
)
def test_a_run_that_cannot_fit_at_all_says_so(share, says, images, tmp_path, monkeypatch):
    leaves = jax.tree.leaves(programs.initial_state(programs.parts(images)).params)
    size = int(share * sum(leaf.nbytes for leaf in leaves))
    monkeypatch.setattr(_room, "available", lambda mesh: size)
    with pytest.raises(ValueError, match=says):
        run(images, tmp_path / "run")


def test_a_validation_and_a_test_that_cannot_fit_say_so(tmp_path, monkeypatch):
    fits, large = experiment(start=SINUSOID, episodes=8), 10**6
    room = 2 * size_of(fits)
    monkeypatch.setattr(_room, "available", lambda mesh: room)
    with pytest.raises(ValueError, match=r"validation needs .*: ask for fewer episodes"):
        run(experiment(start=fits, validation_episodes=large), tmp_path / "other")
    run(fits, tmp_path / "run")
    with pytest.raises(ValueError, match=r"the test needs .*: ask for fewer episodes"):
        evaluate_run(tmp_path / "run", episodes=large)


def test_the_memory_of_this_machine_is_known():
    parts = programs.parts(SINUSOID)
    found = _room.available(parts.mesh)
    assert found is None or 2**26 < found < 2**50


def test_a_run_without_compilation_is_refused(tmp_path):
    with jax.disable_jit(), pytest.raises(ValueError, match="unset JAX_DISABLE_JIT"):
        run(SINUSOID, tmp_path / "run")

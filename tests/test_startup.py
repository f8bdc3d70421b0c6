"""How a run starts: what it imports, and how many programs it makes before the first update."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from jmeta.data import load
from jmeta.runs import _programs as programs
from jmeta.train import experiment

LATE = ("matplotlib", "orbax", "rich.progress", "safetensors", "PIL", "tensorflow_datasets")
TINY = experiment("maml", network="mlp", hidden=(8,), steps=4, tasks=2, queries=1, log_every=2)


def fresh(code: str) -> str:
    """What a new interpreter prints; a failure shows its stderr."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_command_imports_nothing_that_it_may_not_need():
    code = f"import sys, jmeta.cli; print([name for name in {LATE!r} if name in sys.modules])"
    assert fresh(code) == "[]"


def test_matplotlib_is_not_imported_for_the_fonts_of_glyphs_that_were_drawn_before():
    load("glyphs")  # drawn
    code = "import sys; from jmeta import data; data.load('glyphs'); print([*sys.modules])"
    assert "'matplotlib'" not in fresh(code)


@pytest.fixture
def lowered():
    """The names of the programs that are lowered meanwhile."""
    names: list[str] = []

    def heard(name: str, _: float, **about) -> None:
        if name.endswith("jaxpr_to_mlir_module_duration"):
            names.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(heard)
    yield names
    jax.monitoring.unregister_event_duration_listener(heard)


def test_data_are_loaded_and_keys_are_made_without_small_programs(lowered):
    jax.clear_caches()
    parts = programs.parts(TINY)
    assert lowered == []
    programs.initial_state(parts)
    assert lowered == ["jit(_keys)", "jit(initial)"]


def test_the_keys_of_a_seed_stay_as_they_are():
    for seed in (0, 7, 2**32 - 1):
        told = [jax.random.key_data(key) for key in programs.keys(seed)]
        split = jax.random.key_data(jax.random.split(jax.random.key(seed), 5))
        assert np.array_equal(np.stack(told), split)

"""Strict settings for every test: two CPU devices, no silent rank promotion, a cache of its own."""

import gc
import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# Most of the time goes into compiling small programs once: compile them plainly.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if metadata.version("jaxlib").startswith("0.10."):  # elsewhere an unknown flag ends the process
    # With --xla_cpu_parallel_codegen_split_count=1 besides, XLA 0.10.2 compiles wrong numbers.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # which no program here shows
# Equal programs are compiled once, by whichever worker or subprocess needs them first.
if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers start with these variables
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jmeta-tests-compiled-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import pytest

gc.set_threshold(50_000, 20, 100)  # jax makes many small objects, and few circles of them
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Files that take long go first, so that no worker is left alone with one at the end. Those that
# read the same drawings or train the same run stand apart: the second finds what the first made.
LONG = (
    *("test_layers", "test_learning", "test_experiments", "test_train", "test_few"),
    *("test_serve", "test_compare_runs", "test_contract", "test_cli", "test_family"),
    *("test_distributed", "test_gradients", "test_docs_pages", "test_docs_making"),
    *("test_memory", "test_one_writer", "test_nn", "test_run_data", "test_omniglot"),
    *("test_neural_processes", "test_padding", "test_precision", "test_episodes"),
    *("test_heads", "test_own_parts", "test_pictures", "test_serve_page", "test_steps"),
)

_scratch = None if "JMETA_CACHE" in os.environ else tempfile.mkdtemp(prefix="jmeta-tests-")
if _scratch is not None:
    os.environ["JMETA_CACHE"] = _scratch


@pytest.hookimpl(tryfirst=True)  # before those that are slow are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first, where the order within a file stays; mark those of slow.txt."""
    lines = Path(__file__).with_name("slow.txt").read_text().splitlines()
    for item in items:
        if item.nodeid.split("/")[-1] in lines:
            item.add_marker("slow")
    items.sort(key=lambda item: LONG.index(name) if (name := item.path.stem) in LONG else len(LONG))


def pytest_unconfigure() -> None:
    """Leave nothing behind: data and programs prepared by the tests go with them."""
    if _scratch is not None:
        shutil.rmtree(_scratch, ignore_errors=True)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


@pytest.fixture
def no_pictures(monkeypatch):
    """Runs that draw nothing, for they are quicker."""
    from quick import without_pictures  # which imports jmeta: after the settings above

    without_pictures(monkeypatch)

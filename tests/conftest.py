"""Strict settings for every test: two CPU devices, no silent rank promotion, a cache of its own."""

import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# Most of the time goes into compiling small programs once: compile them plainly.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

_scratch = None if "JMETA_CACHE" in os.environ else tempfile.mkdtemp(prefix="jmeta-tests-")
if _scratch is not None:
    os.environ["JMETA_CACHE"] = _scratch


def pytest_unconfigure() -> None:
    """Leave nothing behind: data prepared by the tests goes with them."""
    if _scratch is not None:
        shutil.rmtree(_scratch, ignore_errors=True)

"""The backend of a command: all cores of a CPU, and compiled programs that are kept."""

import os

import jax

from jmeta import data


def start() -> None:
    """Set up the backend, once the words have been read."""
    use_all_cores()
    keep_compiled()


def use_all_cores() -> None:
    """On a CPU, one virtual device a core: each scans its own tasks. A number set before stays."""
    if jax.config.jax_num_cpu_devices > 0:  # type: ignore[attr-defined]
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    jax.config.update("jax_num_cpu_devices", cores or 1)


def keep_compiled() -> None:
    """Keep compiled programs in the cache folder, so that a command starts faster the next time.

    A folder named before, by $JAX_COMPILATION_CACHE_DIR, stays.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    folder = data.cache_dir() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home: compile each time
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

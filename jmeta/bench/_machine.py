"""What the machine is, and the rates it reaches: the two limits of a roofline."""

import math
import os
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.bench import _timing as timing

PACKAGES = ("jmeta", "jax", "jaxlib", "flax", "optax", "numpy")
# (side of the squares, or images, side, channels)
MATRICES = {"cpu": (256, 512, 1024, 2048), "other": (1024, 2048, 4096, 8192)}
CONVOLUTIONS = ((25, 28, 64), (75, 42, 32))
MEBIBYTES = {"cpu": 128, "other": 1024}  # of each array of the memory rates


class Kernel(NamedTuple):
    """A program whose rate is measured."""

    run: Callable[..., jax.Array]
    arguments: tuple[jax.Array, ...]
    work: float  # operations or bytes a call
    unit: str  # GFLOP/s or GB/s


def describe() -> dict[str, Any]:
    """Describe the machine, and the versions of what computes, in values that JSON can hold.

    >>> sorted(describe())[:4]
    ['backend', 'cores', 'device', 'devices']
    """
    device = jax.devices()[0]
    return {
        "backend": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory(),
        "system": platform.system(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions of Python, of jmeta and of the packages that it computes with.

    >>> list(versions())
    ['python', 'jmeta', 'jax', 'jaxlib', 'flax', 'optax', 'numpy']
    """
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # jmeta, run from a checkout that is not installed
        return "unknown"


def _processor() -> str:
    """The processor's name where the system tells it, otherwise its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()


def _memory() -> float | None:
    """The memory of the host in GiB, where the system tells it."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return round(total / 2**30, 1)


def rates(*, seconds: float = 3.0, repeats: int = 7, only: str = "") -> dict[str, dict[str, Any]]:
    """Measure the rates that the first device of the default backend reaches.

    Matrix products and convolutions give the limit of arithmetic, in GFLOP/s; passes over large
    arrays give that of memory, in GB/s.

    Args:
        seconds: time for each rate, in total.
        repeats: rounds. In each round every program runs in turn.
        only: the start of the names of the rates to measure, see `best`; all of them by default.

    Returns:
        name -> {"rate", "low", "high", "unit"}: the median over rounds and its quartiles.
    """
    found = {}
    for every in (_products(), _convolutions(), _memory_passes()):
        group = {name: kernel for name, kernel in every.items() if name.startswith(only)}
        calls = {name: _call(kernel) for name, kernel in group.items()}
        times = timing.interleaved(calls, seconds=seconds / (repeats + 1), repeats=repeats)
        for name, kernel in group.items():
            took = timing.summary([1e9 * t / kernel.work for t in times[name]])
            found[name] = {
                "rate": 1 / took["median"],
                "low": 1 / took["high"],
                "high": 1 / took["low"],
                "unit": kernel.unit,
            }
    return found


def best(found: dict[str, dict[str, Any]], prefix: str) -> float:
    """The highest of the rates whose names start with a prefix.

    Args:
        found: from `rates`.
        prefix: "matrix", "bfloat16 matrix", "convolution" or "memory".

    Raises:
        ValueError: no name starts so.

    >>> best({"matrix 1": {"rate": 2.0}, "matrix 2": {"rate": 3.0}}, "matrix")
    3.0
    """
    matches = [float(row["rate"]) for name, row in found.items() if name.startswith(prefix)]
    if not matches:
        raise ValueError(f"no rate starts with {prefix!r}; there are {', '.join(found)}.")
    return max(matches)


def _call(kernel: Kernel) -> timing.Call:
    run = jax.jit(kernel.run)
    return lambda: run(*kernel.arguments)


def _sizes(table: dict[str, Any]) -> Any:
    return table["cpu" if jax.default_backend() == "cpu" else "other"]


def _products() -> dict[str, Kernel]:
    """Square matrix products. The bfloat16 rate shows that XLA:CPU has no fast bfloat16."""
    found = {}
    for dtype in (jnp.float32, jnp.bfloat16):
        sides = _sizes(MATRICES) if dtype == jnp.float32 else _sizes(MATRICES)[1:3]
        for side in sides:
            square = jnp.ones((side, side), dtype)
            name = f"{'matrix' if dtype == jnp.float32 else 'bfloat16 matrix'} {side}"
            found[name] = Kernel(jnp.matmul, (square, square), 2.0 * side**3, "GFLOP/s")
    return found


def _convolutions() -> dict[str, Kernel]:
    """Forward 3x3 convolutions, by XLA's own operation."""

    def run(x: jax.Array, kernel: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)

    found = {}
    for images, side, channels in CONVOLUTIONS:
        shapes = (images, side, side, channels), (3, 3, channels, channels)
        work = 2.0 * math.prod(shapes[0]) * 9 * channels
        arguments = jnp.ones(shapes[0]), jnp.ones(shapes[1])
        name = f"convolution {images}x{side}x{side}, {channels} channels"
        found[name] = Kernel(run, arguments, work, "GFLOP/s")
    return found


def _memory_passes() -> dict[str, Kernel]:
    """Repeated passes over arrays that are far larger than a cache, in place.

    With a new result for each pass, this would measure how fast the system provides fresh pages.
    """
    count, sweeps = _sizes(MEBIBYTES) * 2**20 // 4, 8

    def scale(a: jax.Array) -> jax.Array:
        return lax.fori_loop(0, sweeps, lambda _, a: a * 0.5 + 1, a)[0]

    def triad(a: jax.Array, b: jax.Array) -> jax.Array:
        return lax.fori_loop(0, sweeps, lambda _, a: a * 0.5 + b, a)[0]

    one, two = jnp.ones(count), jnp.full(count, 2.0)
    passes = 4.0 * count * sweeps
    return {
        "memory scale": Kernel(scale, (one,), 2 * passes, "GB/s"),
        "memory triad": Kernel(triad, (one, two), 3 * passes, "GB/s"),
    }

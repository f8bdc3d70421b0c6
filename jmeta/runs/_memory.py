"""Does a run fit? What its compiled program takes, against what the machine has."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from jmeta.core import TrainState
from jmeta.runs import _programs as programs
from jmeta.runs._programs import Parts


def needed(compiled: Any, parts: Parts) -> int | None:
    """Bytes that a compiled program takes while it runs; None where the compiler does not say.

    Of one device; on a CPU, of all virtual devices of this process, which share its memory.
    """
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    held = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    devices = parts.mesh.local_devices
    sharing = len(devices) if devices[0].platform == "cpu" else 1
    return sharing * (held + stats.temp_size_in_bytes)


def available(parts: Parts) -> int | None:
    """Bytes that a device has, or this machine for a CPU; None where nobody says."""
    device = parts.mesh.local_devices[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    found = [size for size in (_free(), _group()) if size is not None]
    return min(found, default=None)


def _free() -> int | None:
    """Memory of the machine that is not taken, on Linux."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration, ValueError):
        return None


def _group() -> int | None:
    """What a container's limit leaves, where it has one."""
    try:
        limit, used = (
            int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current")
        )
    except (OSError, ValueError):  # no control group, or "max": no limit
        return None
    return max(limit - used, 0)


def check(parts: Parts, advance: Any, state: TrainState, *, length: int) -> int | None:
    """Compile the updates of a run before they start, and refuse those that cannot fit.

    Args:
        parts: what the run is made of.
        advance: from `programs.dispatch(parts)`; what is compiled here is what it then runs.
        state: its state, replicated.
        length: updates a dispatch.

    Returns:
        Bytes needed, of a device or on a CPU of this machine; None where unknown.

    Raises:
        ValueError: more is needed than there is; it names the largest `chunk` that fits.
    """
    room, pool = available(parts), parts.domain.train
    size = needed(advance.lower(state, pool=pool, length=length).compile(), parts)
    if size is None or room is None or size <= room:
        return size
    chunk = _largest_chunk(parts, state, length=length, room=room)
    advice = (
        f"--chunk {chunk} fits"
        if chunk
        else "no chunk of tasks fits; set --remat, fewer filters, shots or queries"
    )
    raise ValueError(
        f"this run needs {_gigabytes(size)} of memory and there are {_gigabytes(room)}: {advice}."
    )


def _largest_chunk(parts: Parts, state: TrainState, *, length: int, room: int) -> int | None:
    """The largest number of tasks at once that fits, by bisection; None if even one does not."""
    each = parts.experiment.budget.tasks // parts.mesh.size
    now = programs.chunk_for(parts.experiment) or each
    smaller = [n for n in range(1, min(now, each + 1)) if each % n == 0]
    fitting = None
    while smaller:
        middle = len(smaller) // 2 if fitting else 0  # one task decides whether any fits
        device = replace(parts.experiment.device, chunk=smaller[middle])
        experiment = replace(parts.experiment, device=device)
        advance = programs.dispatch(parts._replace(experiment=experiment))
        lowered = advance.lower(state, pool=parts.domain.train, length=length)
        size = needed(lowered.compile(), parts)
        if size is None or size > room:
            smaller = smaller[:middle]
        else:
            fitting, smaller = smaller[middle], smaller[middle + 1 :]
    return fitting


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"

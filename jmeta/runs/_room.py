"""Is there room? What a compiled program takes, against the memory of a device or this machine."""

from pathlib import Path
from typing import Any

from jax.sharding import Mesh


def needed(compiled: Any, mesh: Mesh) -> int | None:
    """Bytes that a compiled program takes while it runs; None where the compiler does not say.

    Of one device; on a CPU, of all virtual devices of this process, which share its memory.
    """
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    held = stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
    return sharing(mesh) * (held + stats.temp_size_in_bytes)


def working(compiled: Any, mesh: Mesh) -> int:
    """Of those bytes, the ones that hold neither its arguments nor its outputs."""
    return sharing(mesh) * compiled.memory_analysis().temp_size_in_bytes


def sharing(mesh: Mesh) -> int:
    """How many devices of a mesh have one memory: on a CPU, all of this process."""
    devices = mesh.local_devices
    return len(devices) if devices[0].platform == "cpu" else 1


def available(mesh: Mesh) -> int | None:
    """Bytes that a device has, or this machine for a CPU; None where nobody says."""
    device = mesh.local_devices[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    found = [size for size in (_free(), _group()) if size is not None]
    return min(found, default=None)


def require(size: int | None, mesh: Mesh, *, what: str, advice: str) -> None:
    """Refuse what cannot fit.

    Args:
        size: bytes, as `needed` counts them; None where nobody says.
        mesh: the devices.
        what: what needs the memory, such as "this run needs".
        advice: what would need less.

    Raises:
        ValueError: more is needed than there is.
    """
    room = available(mesh)
    if size is not None and room is not None and size > room:
        raise ValueError(refusal(size, room, what=what, advice=advice))


def fitting(program: Any, mesh: Mesh, *arguments: Any, what: str) -> Any:
    """A jitted function of episodes, compiled for some arguments.

    Args:
        program: the jitted function.
        mesh: the devices.
        *arguments: of the function, or others of their shapes.
        what: what it is for, as the subject of a sentence.

    Raises:
        ValueError: it needs more memory than there is.
    """
    compiled = program.lower(*arguments).compile()
    advice = "ask for fewer episodes, queries or shots"
    require(needed(compiled, mesh), mesh, what=f"{what} needs", advice=advice)
    return compiled


def refusal(size: int, room: int, *, what: str, advice: str) -> str:
    """The sentence about what does not fit.

    >>> refusal(5 * 10**9, 10**9, what="this run needs", advice="set --remat")
    'this run needs 5 GB of memory and there are 1 GB: set --remat.'
    """
    return f"{what} {size / 1e9:.3g} GB of memory and there are {room / 1e9:.3g} GB: {advice}."


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

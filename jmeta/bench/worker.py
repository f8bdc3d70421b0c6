"""One system in a process of its own: it advances when told to, and sleeps in between.

    python -m jmeta.bench.worker SYSTEM WORKLOAD [CHUNK]

It answers in lines of JSON. First {"ready": true, "versions": ..., "device": ...,
"first_step_seconds": ...}; then {"seconds": s} to each line {"steps": n} on stdin. What cannot be
done is {"error": "..."}, and the end.
"""

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

from jmeta.bench import systems, workloads

PACKAGES = (
    *("jmeta", "jax", "jaxlib", "flax", "optax", "numpy"),
    *("torch", "learn2learn", "higher", "torchopt"),
)
Answer = Callable[[dict[str, Any]], None]


def main() -> None:
    """Serve one system until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to stderr

    def answer(record: dict[str, Any]) -> None:
        answers.write(json.dumps(record) + "\n")
        answers.flush()

    name, workload_name, *chunk = sys.argv[1:]
    (workload,) = [w for w in workloads.chosen([workload_name]) if w.name == workload_name]
    if chunk:
        workload = workload._replace(chunk=int(chunk[0]))
    try:
        serve(name, workload, answer)
    except Exception as error:
        lines = [*str(error).strip().splitlines(), ""]
        answer({"error": f"{type(error).__name__}: {lines[0]}"[:300]})
        raise


def serve(name: str, workload: workloads.Workload, answer: Answer) -> None:
    """Build, make the first update, then advance at every line on stdin."""
    missing = missing_packages(systems.entries(workload)[name].needs)
    if missing:
        return answer({"error": f"{' and '.join(missing)} not installed"})
    if name == "jmeta":
        use_cores(workload.tasks)
    start = time.perf_counter()
    system = systems.build(name, workload)
    system.advance(1)
    ready = {"ready": True, "device": system.device, "versions": versions()}
    answer({**ready, "first_step_seconds": time.perf_counter() - start})
    for line in sys.stdin:
        start = time.perf_counter()
        system.advance(json.loads(line)["steps"])
        answer({"seconds": time.perf_counter() - start})


def missing_packages(needs: tuple[str, ...]) -> list[str]:
    """Those of some packages that cannot be imported here.

    >>> missing_packages(("json", "no_such_package"))
    ['no_such_package']
    """
    missing = []
    for package in needs:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            needed = error.name or package
            missing.append(package if needed == package else f"{package} (it needs {needed})")
    return missing


def use_cores(tasks: int) -> None:
    """On a CPU, one virtual device a core, as many as divide the tasks."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = max(n for n in range(1, (cores or 1) + 1) if tasks % n == 0)
    jax.config.update("jax_num_cpu_devices", count)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that have been imported."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        if name in sys.modules:
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[name] = metadata.version(name)
    return found


if __name__ == "__main__":
    main()

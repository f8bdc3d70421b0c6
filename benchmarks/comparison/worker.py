"""One system in a process of its own, which advances when it is told to and otherwise waits.

    python -m comparison.worker SYSTEM WORKLOAD [CHUNK]

It writes lines of JSON: first {"ready": true, "versions": ..., "device": ...,
"first_step_seconds": ...}, then {"seconds": s} for each line {"steps": n} that it reads. If
something fails, it writes {"error": "..."} and ends.
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

from comparison import systems, workloads

PACKAGES = (  # as they are imported
    *("jmeta", "jax", "jaxlib", "flax", "optax", "numpy"),
    *("torch", "learn2learn", "higher", "torchopt", "metalearn"),
)
DISTRIBUTIONS = {"metalearn": "parallel-metalearn"}  # where pip knows them by another name
Answer = Callable[[dict[str, Any]], None]


def main() -> None:
    """Serve one system until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr

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
    """Build a system, make its first update, then advance for every line on stdin."""
    missing = missing_packages(systems.entries(workload)[name].needs)
    if missing:
        return answer({"error": f"{' and '.join(missing)} not installed"})
    if name == "jmeta":
        use_cores(workloads.shareable(workload)[0])
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
    """Those of some packages that cannot be imported here, by the names that pip knows.

    Args:
        needs: packages, as they are imported.

    >>> missing_packages(("json", "no_such_package"))
    ['no_such_package']
    """
    missing = []
    for package in needs:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            needed, known = error.name or package, DISTRIBUTIONS.get(package, package)
            missing.append(known if needed == package else f"{known} (it needs {needed})")
    return missing


def use_cores(whole: int) -> None:
    """Make as many virtual CPU devices as there are cores, or fewer, that divide `whole`."""
    import jax

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    count = max(n for n in range(1, (cores or 1) + 1) if whole % n == 0)
    jax.config.update("jax_num_cpu_devices", count)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that have been imported."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        if name in sys.modules:
            known = DISTRIBUTIONS.get(name, name)
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[known] = metadata.version(known)
    return found


if __name__ == "__main__":
    main()

"""What share of the machine's rates each workload reaches: counted operations over measured rates.

    python benchmarks/roofline.py [--quick]

Operations and bytes are counted by hand (`comparison/roofline.py`). The machine's rates are
measured now; jmeta's tasks per second are read from results/throughput.json. Run both scripts on
an idle machine. The memory bound is that of a machine without a cache: if the arrays of one task
fit into a cache, as 28x28 images do on a CPU, a program may exceed it.
"""

import argparse
from typing import Any

import common
import jax
from comparison import roofline
from comparison.workloads import WORKLOADS

from jmeta import bench


def measured() -> dict[str, float]:
    """jmeta's tasks per second by workload, as recorded with this version of jax."""
    path = common.RESULTS / "throughput.json"
    rows = common.read(path)["rows"] if path.exists() else []
    mine = [row for row in rows if (row["system"], row["jax"]) == ("jmeta", jax.__version__)]
    return {row["workload"]: row["tasks_per_second"] for row in mine}


def row(name: str, peak: float, memory: float, tasks: float | None) -> dict[str, Any]:
    """One workload: its counts, its bounds, and how close jmeta comes to them."""
    found = roofline.operations(WORKLOADS[name])
    moved = found.product_bytes + found.pass_bytes
    limit = roofline.bound(found, gflops=peak, gigabytes=memory)
    reached = {}
    if tasks is not None:
        gflops = tasks * found.flops / 1e9
        shares = {"share_of_peak": gflops / peak, "share_of_bound": tasks / limit}
        reached = {"tasks_per_second": tasks, "gflops": gflops, **shares}
    return {
        "workload": name,
        "title": WORKLOADS[name].title,
        "gflop_per_task": found.flops / 1e9,
        "megabytes_per_task": moved / 1e6,
        "flop_per_byte": found.flops / moved,
        "bound_tasks_per_second": {
            "compute": peak * 1e9 / found.flops,
            "memory": memory * 1e9 / moved,
            "both": limit,
        },
        "limited_by": "compute" if limit * found.flops >= 0.999e9 * peak else "memory",
        **reached,
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    print("workload   GFLOP/task   MB/task  FLOP/B   bound/s  by       tasks/s   share of peak")
    for found in rows:
        tasks, share = found.get("tasks_per_second"), found.get("share_of_peak")
        print(
            f"{found['workload']:<10} {found['gflop_per_task']:>10.4f} "
            f"{found['megabytes_per_task']:>9.2f} {found['flop_per_byte']:>7.1f} "
            f"{found['bound_tasks_per_second']['both']:>9.2f}  {found['limited_by']:<8}"
            + (f"{tasks:>8.2f}  {100 * share:>13.1f}%" if tasks else f"{'–':>8}  {'–':>14}")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="measure the rates roughly, and write nothing"
    )
    quick = parser.parse_args().quick
    rates = bench.rates(seconds=0.3 if quick else 3, repeats=3 if quick else 7)
    for name, found in rates.items():
        print(f"{name:<40} {found['rate']:>9.1f} {found['unit']}")
    matrix, convolution = bench.best(rates, "matrix"), bench.best(rates, "convolution")
    memory, tasks = bench.best(rates, "memory"), measured()
    rows = [row(name, matrix, memory, tasks.get(name)) for name in WORKLOADS]
    show(rows)
    if quick:
        return
    peaks = {"matrix_gflops": matrix, "convolution_gflops": convolution, "memory_gb_s": memory}
    common.write("roofline", {"rates": rates, "peaks": peaks, "rows": rows})


if __name__ == "__main__":
    main()

"""Tasks per second on every workload, jmeta beside each installed peer, interleaved.

    python benchmarks/throughput.py [--workload A B ...] [--rounds 7] [--python PATH]

The same runner as `jmeta bench`. The record keeps a part for each workload; a later command
replaces the parts of its own workloads and leaves the others, each with its machine and versions.
PATH is the interpreter of an environment with jmeta and PyTorch, to time the newest JAX beside a
PyTorch that is installed elsewhere; --name keeps such a record apart.
"""

import argparse

import common

from jmeta import bench
from jmeta.bench import client, workloads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", nargs="+", default=["all"])
    parser.add_argument("--systems", nargs="+", default=[])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--python")
    parser.add_argument("--name", default="throughput", help="of the record")
    options = parser.parse_args()
    path = common.RESULTS / f"{options.name}.json"
    parts = common.read(path)["workloads"] if path.exists() else {}
    names = [name for words in options.workload for name in words.split(",")]
    for workload in workloads.chosen(names):
        found = bench.run(
            [workload],
            options.systems,
            protocol=bench.Protocol(options.rounds, options.seconds),
            start=client.starter(options.python),
        )
        bench.show(found)
        parts[workload.name] = {"title": workload.title, **found}
        common.write(options.name, {"schema": 1, "workloads": parts})


if __name__ == "__main__":
    main()

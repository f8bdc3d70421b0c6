"""Time jmeta beside its peers: tasks per second on the same workloads, in turns.

    python benchmarks/peers.py --workload A,B [--systems jmeta,torch-loop] [--rounds 7]
        [--seconds 2] [--chunk 1] [--python PATH] [--json FILE]

Without --systems, every system that is installed takes part. PATH is the interpreter of another
environment, for the systems that need PyTorch; NumPy and the peers are all that it must have. The
checkout's own jmeta is timed, whether it is installed or not. See `--help` for the options, and
`comparison/workloads.py` for the workloads.
"""

from comparison.command import main

if __name__ == "__main__":
    main()

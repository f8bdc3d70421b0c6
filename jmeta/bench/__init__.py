"""Tasks per second: jmeta and its peers on the same workloads, interleaved."""

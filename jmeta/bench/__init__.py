"""Tasks per second: jmeta and its peers on the same workloads, interleaved."""

from jmeta.bench.run import Protocol as Protocol
from jmeta.bench.run import compare as compare
from jmeta.bench.run import run as run
from jmeta.bench.table import show as show

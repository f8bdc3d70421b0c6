"""The tables of parts: one line for each algorithm, network and source."""

from jmeta.experiments import (
    _fine_tuning,
    _gradient,
    _memory,
    _metric,
    _networks,
    _pretrained,
    _regression,
    _sources,
    _supervised,
)
from jmeta.experiments._algorithm import Algorithm
from jmeta.experiments._networks import Network
from jmeta.experiments._source import Source

ALGORITHMS: dict[str, type[Algorithm]] = {
    kind.name: kind
    for kind in (
        *_gradient.TABLE,
        *_metric.TABLE,
        *_memory.TABLE,
        *_supervised.TABLE,
        *_fine_tuning.TABLE,
    )
}
NETWORKS: dict[str, type[Network]] = {
    kind.name: kind for kind in (*_networks.TABLE, *_pretrained.TABLE)
}
SOURCES: dict[str, type[Source]] = {
    kind.name: kind for kind in (*_sources.TABLE, *_regression.TABLE)
}

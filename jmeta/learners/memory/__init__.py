"""Learners that encode the support set: as a sequence, as fast weights, or as a set of points."""

from jmeta.learners.memory._meta_network import MetaNetworkParams, meta_network
from jmeta.learners.memory._neural_process import (
    Points,
    neural_process,
    neural_process_loss,
    random_size,
)
from jmeta.learners.memory._sequence import amortised

__all__ = [
    "MetaNetworkParams",
    "Points",
    "amortised",
    "meta_network",
    "neural_process",
    "neural_process_loss",
    "random_size",
]

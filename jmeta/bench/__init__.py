"""What a program costs and what the machine could do: operations, rates, and times."""

from jmeta.bench._count import operations
from jmeta.bench._machine import best, describe, rates, versions
from jmeta.bench._measure import measure, show
from jmeta.bench._timing import interleaved, once, summary

__all__ = [
    "best",
    "describe",
    "interleaved",
    "measure",
    "once",
    "operations",
    "rates",
    "show",
    "summary",
    "versions",
]

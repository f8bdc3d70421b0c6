"""Losses of predictions and of embeddings, with miners and reducers for the latter.

`with_source` adds what is known from a source, such as `l2_sp` or `feature_matching`, to a loss.
"""

from jmeta.losses._embedding import contrastive, n_pairs, ntxent, sup_con, triplet_margin
from jmeta.losses._gaussian import Gaussian, gaussian_kl, gaussian_nll
from jmeta.losses._mining import (
    all_pairs,
    all_triplets,
    avg_non_zero_reducer,
    hard_pairs,
    hard_triplets,
    mean_reducer,
    semihard_triplets,
    sum_reducer,
)
from jmeta.losses._objectives import cross_entropy, mean_squared_error, relation_error
from jmeta.losses._source import feature_matching, l2_sp, with_source

__all__ = [
    "Gaussian",
    "all_pairs",
    "all_triplets",
    "avg_non_zero_reducer",
    "contrastive",
    "cross_entropy",
    "feature_matching",
    "gaussian_kl",
    "gaussian_nll",
    "hard_pairs",
    "hard_triplets",
    "l2_sp",
    "mean_reducer",
    "mean_squared_error",
    "n_pairs",
    "ntxent",
    "relation_error",
    "semihard_triplets",
    "sum_reducer",
    "sup_con",
    "triplet_margin",
    "with_source",
]

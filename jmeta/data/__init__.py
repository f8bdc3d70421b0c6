"""Data: pools of classes, samplers of tasks, and the sets that fill the pools."""

from jmeta.data._arrays import load_npz
from jmeta.data._batches import sample_batch
from jmeta.data._clusters import cactus, load_embeddings
from jmeta.data._episodes import sample_episode, sample_varied_episode
from jmeta.data._families import (
    FAMILIES,
    FORMULAS,
    sample_damped,
    sample_harmonic,
    sample_sinusoid_or_line,
    sample_step,
)
from jmeta.data._fitting import default_split, fitting_sizes
from jmeta.data._folder import load_folder
from jmeta.data._functions import sample_sinusoid
from jmeta.data._gaussian import (
    Posterior,
    gaussian_process_posterior,
    matern,
    periodic,
    sample_gaussian_process,
    squared_exponential,
)
from jmeta.data._glyphs import draw_characters, load_glyphs
from jmeta.data._listing import Entry, available, describe, prepare
from jmeta.data._omniglot import load_omniglot, omniglot_dataset, omniglot_images
from jmeta.data._paths import cache_dir, data_root
from jmeta.data._pool import (
    Dataset,
    Pool,
    join_pools,
    pool_from_arrays,
    pool_from_classes,
    split_hash,
)
from jmeta.data._registry import example_shape, load
from jmeta.data._tables import load_table, sample_table_task
from jmeta.data._tfds import load_tfds, prepare_tfds
from jmeta.data._unlabelled import sample_cactus, sample_umtra

__all__ = [
    "FAMILIES",
    "FORMULAS",
    "Dataset",
    "Entry",
    "Pool",
    "Posterior",
    "available",
    "cache_dir",
    "cactus",
    "data_root",
    "default_split",
    "describe",
    "draw_characters",
    "example_shape",
    "fitting_sizes",
    "gaussian_process_posterior",
    "join_pools",
    "load",
    "load_embeddings",
    "load_folder",
    "load_glyphs",
    "load_npz",
    "load_omniglot",
    "load_table",
    "load_tfds",
    "matern",
    "omniglot_dataset",
    "omniglot_images",
    "periodic",
    "pool_from_arrays",
    "pool_from_classes",
    "prepare",
    "prepare_tfds",
    "sample_batch",
    "sample_cactus",
    "sample_damped",
    "sample_episode",
    "sample_gaussian_process",
    "sample_harmonic",
    "sample_sinusoid",
    "sample_sinusoid_or_line",
    "sample_step",
    "sample_table_task",
    "sample_umtra",
    "sample_varied_episode",
    "split_hash",
    "squared_exponential",
]

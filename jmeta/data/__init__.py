"""Data: pools of classes, samplers of episodes, and the sets that fill the pools."""

from jmeta.data.arrays import load_npz as load_npz
from jmeta.data.episodes import sample_episode as sample_episode
from jmeta.data.episodes import sample_varied_episode as sample_varied_episode
from jmeta.data.folder import load_folder as load_folder
from jmeta.data.functions import sample_sinusoid as sample_sinusoid
from jmeta.data.glyphs import load_glyphs as load_glyphs
from jmeta.data.omniglot import load_omniglot as load_omniglot
from jmeta.data.omniglot import omniglot_dataset as omniglot_dataset
from jmeta.data.omniglot import omniglot_images as omniglot_images
from jmeta.data.paths import cache_dir as cache_dir
from jmeta.data.paths import data_root as data_root
from jmeta.data.pool import Dataset as Dataset
from jmeta.data.pool import Pool as Pool
from jmeta.data.pool import pool_from_arrays as pool_from_arrays
from jmeta.data.pool import pool_from_classes as pool_from_classes
from jmeta.data.pool import split_hash as split_hash
from jmeta.data.registry import Entry as Entry
from jmeta.data.registry import available as available
from jmeta.data.registry import describe as describe
from jmeta.data.registry import load as load
from jmeta.data.registry import prepare as prepare
from jmeta.data.tfds import load_tfds as load_tfds
from jmeta.data.tfds import prepare_tfds as prepare_tfds

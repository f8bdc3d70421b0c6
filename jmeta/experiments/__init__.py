"""What an experiment is: its parts, the tables of them, and presets."""

from jmeta.experiments._algorithm import Algorithm, Method
from jmeta.experiments._domain import Domain, example_task
from jmeta.experiments._experiment import Experiment, completed, differences, open_experiment
from jmeta.experiments._features import embed_source, save_features
from jmeta.experiments._fine_tuning import FineTuning
from jmeta.experiments._gradient import (
    Anil,
    Boil,
    Cavia,
    Fomaml,
    Imaml,
    Maml,
    MamlPlusPlus,
    MetaSgd,
    ProtoMaml,
    Reptile,
)
from jmeta.experiments._memory import Anp, Cnp, Mann, MetaNetwork, Np, Snail
from jmeta.experiments._metric import (
    LRD2,
    R2D2,
    Feat,
    Matching,
    MatchingFullContext,
    MetaBaseline,
    MetaOptNet,
    ProtoNet,
    Relation,
    Siamese,
)
from jmeta.experiments._names import experiment
from jmeta.experiments._networks import (
    MLP,
    Conv4,
    Conv4Strided,
    Identity,
    Network,
    NoNetwork,
    ResNet12,
)
from jmeta.experiments._options import Part, option
from jmeta.experiments._parts import Budget, Device, Episode, Outer, Points
from jmeta.experiments._presets import PRESETS, preset
from jmeta.experiments._pretrained import EfficientNetLite0, ViT
from jmeta.experiments._regression import Functions, Table
from jmeta.experiments._source import Source
from jmeta.experiments._sources import Arrays, Folder, Glyphs, Omniglot, Tfds
from jmeta.experiments._stored import from_json, to_json
from jmeta.experiments._supervised import Pretrain
from jmeta.experiments._tables import ALGORITHMS, NETWORKS, SOURCES

__all__ = [
    "ALGORITHMS",
    "LRD2",
    "MLP",
    "NETWORKS",
    "PRESETS",
    "R2D2",
    "SOURCES",
    "Algorithm",
    "Anil",
    "Anp",
    "Arrays",
    "Boil",
    "Budget",
    "Cavia",
    "Cnp",
    "Conv4",
    "Conv4Strided",
    "Device",
    "Domain",
    "EfficientNetLite0",
    "Episode",
    "Experiment",
    "Feat",
    "FineTuning",
    "Folder",
    "Fomaml",
    "Functions",
    "Glyphs",
    "Identity",
    "Imaml",
    "Maml",
    "MamlPlusPlus",
    "Mann",
    "Matching",
    "MatchingFullContext",
    "MetaBaseline",
    "MetaNetwork",
    "MetaOptNet",
    "MetaSgd",
    "Method",
    "Network",
    "NoNetwork",
    "Np",
    "Omniglot",
    "Outer",
    "Part",
    "Points",
    "Pretrain",
    "ProtoMaml",
    "ProtoNet",
    "Relation",
    "Reptile",
    "ResNet12",
    "Siamese",
    "Snail",
    "Source",
    "Table",
    "Tfds",
    "ViT",
    "completed",
    "differences",
    "embed_source",
    "example_task",
    "experiment",
    "from_json",
    "open_experiment",
    "option",
    "preset",
    "save_features",
    "to_json",
]

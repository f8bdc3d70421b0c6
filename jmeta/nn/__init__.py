"""Networks for few-shot learning: Flax Linen backbones, their layers, and adapters.

A network is any object with two pure functions, `init(key, *inputs) -> params` and
`apply(params, *inputs) -> outputs`. Every Flax Linen module is one as it stands; `from_functions`,
`from_nnx`, `from_equinox`, `with_dropout` and `with_bottlenecks` make one of other things.

Use `Conv` and `Conv1D` instead of Flax's `nn.Conv` in networks that are adapted on a CPU. Inside
an inner loop (a scan, under `vmap` with a kernel for each task), `nn.Conv` is 5 to 40 times slower.
"""

from jmeta.nn._adapters import Network, from_equinox, from_functions, with_dropout
from jmeta.nn._attend import attention
from jmeta.nn._bottleneck import with_bottlenecks
from jmeta.nn._context import FullContext
from jmeta.nn._conv import Conv, conv2d
from jmeta.nn._conv1d import Conv1D, conv1d
from jmeta.nn._conv4 import Conv4
from jmeta.nn._efficientnet import EfficientNetLite
from jmeta.nn._mann import MANN
from jmeta.nn._metanet import GradientLSTM, GradientMLP, SlowFast, slow_and_fast
from jmeta.nn._mlp import MLP
from jmeta.nn._neural_process import NeuralProcess
from jmeta.nn._nnx import from_nnx
from jmeta.nn._norm import Norm, population_statistics
from jmeta.nn._pool import max_pool, mean_pool
from jmeta.nn._precision import products
from jmeta.nn._pretrained import load_efficientnet_lite, load_vit, with_weights
from jmeta.nn._relation import RelationConv, RelationMLP
from jmeta.nn._resnet import ResNet12, drop_block
from jmeta.nn._set_attention import SetAttention
from jmeta.nn._snail import SNAIL
from jmeta.nn._vit import ViT
from jmeta.nn._weights import read_tensors

__all__ = [
    "MANN",
    "MLP",
    "SNAIL",
    "Conv",
    "Conv1D",
    "Conv4",
    "EfficientNetLite",
    "FullContext",
    "GradientLSTM",
    "GradientMLP",
    "Network",
    "NeuralProcess",
    "Norm",
    "RelationConv",
    "RelationMLP",
    "ResNet12",
    "SetAttention",
    "SlowFast",
    "ViT",
    "attention",
    "conv1d",
    "conv2d",
    "drop_block",
    "from_equinox",
    "from_functions",
    "from_nnx",
    "load_efficientnet_lite",
    "load_vit",
    "max_pool",
    "mean_pool",
    "population_statistics",
    "products",
    "read_tensors",
    "slow_and_fast",
    "with_bottlenecks",
    "with_dropout",
    "with_weights",
]

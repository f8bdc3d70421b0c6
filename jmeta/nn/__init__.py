"""Networks: Flax Linen backbones, normalisation, pooling and a fast convolution."""

from jmeta.nn.attend import attention as attention
from jmeta.nn.attend import encode_decode as encode_decode
from jmeta.nn.context import FullContext as FullContext
from jmeta.nn.conv import Conv as Conv
from jmeta.nn.conv import conv2d as conv2d
from jmeta.nn.conv4 import Conv4 as Conv4
from jmeta.nn.mann import MANN as MANN
from jmeta.nn.metanet import GradientLSTM as GradientLSTM
from jmeta.nn.metanet import GradientMLP as GradientMLP
from jmeta.nn.metanet import SlowFast as SlowFast
from jmeta.nn.metanet import slow_and_fast as slow_and_fast
from jmeta.nn.mlp import MLP as MLP
from jmeta.nn.neural_process import NeuralProcess as NeuralProcess
from jmeta.nn.nnx import from_nnx as from_nnx
from jmeta.nn.norm import Norm as Norm
from jmeta.nn.norm import population_statistics as population_statistics
from jmeta.nn.pool import max_pool as max_pool
from jmeta.nn.pool import mean_pool as mean_pool
from jmeta.nn.relation import RelationConv as RelationConv
from jmeta.nn.relation import RelationMLP as RelationMLP
from jmeta.nn.resnet import ResNet12 as ResNet12
from jmeta.nn.resnet import drop_block as drop_block
from jmeta.nn.snail import SNAIL as SNAIL

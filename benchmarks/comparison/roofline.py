"""Floating-point operations and memory traffic of each workload, counted by hand.

A convolution is a trilinear form T(image, kernel, out) = <out, image * kernel>, and a linear layer
is one with a 1x1 window. The forward pass, the gradient with respect to the image and that with
respect to the kernel are its derivatives in the three places. Each is a product of

    2 N H' W' kh kw C F   floating-point operations,

which include the multiplications by the zeros of the padding. Only these products are counted:

* A forward pass has 1 in each layer.
* A gradient has 3: out(x, k), kernel(x, d), image(k, d). The first layer has 2, because the
  gradient with respect to the data is not needed.
* The reverse pass through a gradient, which second-order MAML needs for each inner step, has 6:
  each of the three products is bilinear and has a derivative in each of its two operands. The
  first layer has 2: out(x, k) in k and kernel(x, d) in d.

A second-order inner step therefore has 9 products in each layer (4 in the first). A first-order
inner step and the gradient of the query loss have 3 (2 in the first). Reptile has no query loss. A
layer with c operations per image costs, for K inner steps on S images and the query loss on Q,

    MAML c (9 K S + 3 Q),   first order c (3 K S + 3 Q),   Reptile 3 c K S,   prototypes 3 c (S + Q)

with 9 -> 4 and 3 -> 2 in the first layer. The prototypical head adds its two small products. With
`remat`, the reverse pass of a second-order inner step first computes the forward pass and the
gradients with respect to the image again: 2 products in each layer (1 in the first).

Memory traffic is that of perfectly fused passes without a cache. A product reads and writes each of
its three arrays once, whatever its role. Batch normalisation reads its input twice (moments; then
affine, pooling and ReLU in one pass), and twice more in the reverse pass. The transpose of a pass
moves as much as the pass. If the arrays of a layer stay in a cache, a program needs less traffic.
"""

from itertools import pairwise
from typing import NamedTuple

from comparison.system import widths
from comparison.workloads import Workload

BYTES = 4  # of a float32


class Operations(NamedTuple):
    """What one task of a meta-training step costs."""

    flops: int  # of convolutions and matrix products
    product_bytes: int  # their operands and results
    pass_bytes: int  # normalisation, pooling, activation, parameter updates


class Layer(NamedTuple):
    """A product of a network and the passes that follow it; sizes in elements per example."""

    flops: int  # of one product, per example
    image: int
    kernel: int  # elements in all
    out: int
    kept: int  # what the passes that follow write: less than `out` after pooling
    normalised: bool
    data: bool  # whether its image is the data


class Pass(NamedTuple):
    """An evaluation of the whole network."""

    examples: int
    data_products: int  # products of the layer whose image is the data
    products: int  # products of any other layer
    sweeps: int  # forward and backward sweeps of elementwise passes, in pairs


def layers(workload: Workload) -> list[Layer]:
    """The products of one forward pass, in order."""
    if workload.network == "mlp":
        sizes = (1, workload.filters, workload.filters, workload.ways)
        pairs = pairwise(sizes)
        return [_linear(*pair, data=index == 0) for index, pair in enumerate(pairs)]
    assert workload.image is not None
    build = _resnet12 if workload.network == "resnet12" else _conv4
    found, features = build(workload, *workload.image)
    head = [] if workload.algorithm == "protonet" else [_linear(features, workload.ways)]
    return found + head


def _conv4(workload: Workload, high: int, wide: int, channels: int) -> tuple[list[Layer], int]:
    found, filters = [], workload.filters
    for index in range(4):
        found.append(_conv((high, wide), 3, channels, filters, pooled=True, data=index == 0))
        high, wide, channels = high // 2, wide // 2, filters
    return found, high * wide * channels


def _resnet12(workload: Workload, high: int, wide: int, channels: int) -> tuple[list[Layer], int]:
    found = []
    for index, width in enumerate(widths(workload)):
        size, data = (high, wide), index == 0
        shortcut = _conv(size, 1, channels, width, data=data)
        found += [
            shortcut._replace(kept=0),  # the last pass of the block reads it too
            _conv(size, 3, channels, width, data=data),
            _conv(size, 3, width, width),
            _conv(size, 3, width, width, pooled=True),
        ]
        high, wide, channels = high // 2, wide // 2, width
    return found, channels


def _conv(
    size: tuple[int, int],
    window: int,
    channels: int,
    filters: int,
    *,
    pooled: bool = False,
    data: bool = False,
) -> Layer:
    """Stride 1 and padding "SAME"."""
    pixels, kernel = size[0] * size[1], window * window * channels * filters
    kept = (size[0] // 2) * (size[1] // 2) if pooled else pixels
    out = pixels * filters
    return Layer(2 * pixels * kernel, pixels * channels, kernel, out, kept * filters, True, data)


def _linear(inputs: int, outputs: int, *, data: bool = False) -> Layer:
    return Layer(2 * inputs * outputs, inputs, inputs * outputs, outputs, outputs, False, data=data)


def passes(workload: Workload, *, remat: bool = False) -> list[Pass]:
    """The evaluations of the network in the gradient of one task's loss."""
    shots, queries = workload.ways * workload.shots, workload.ways * workload.queries
    if workload.algorithm == "protonet":
        return [Pass(shots, 2, 3, 1), Pass(queries, 2, 3, 1)]
    second = workload.algorithm == "maml"
    again = 1 if remat else 0
    inner = Pass(shots, 4 + again, 9 + 2 * again, 2 + again) if second else Pass(shots, 2, 3, 1)
    query = [] if workload.algorithm == "reptile" else [Pass(queries, 2, 3, 1)]
    return [inner] * workload.inner_steps + query


def operations(workload: Workload, *, remat: bool = False) -> Operations:
    """Operations and bytes of one task: a sum over passes and layers, with head and updates.

    Args:
        workload: a row of the table, or one like it.
        remat: whether the inner steps are computed again in the backward pass.

    >>> from comparison.workloads import WORKLOADS
    >>> round(operations(WORKLOADS["A"]).flops / 1e9, 2)
    1.15
    """
    net = layers(workload)
    flops = product_bytes = pass_bytes = 0
    for evaluation in passes(workload, remat=remat):
        for layer in net:
            times = evaluation.data_products if layer.data else evaluation.products
            arrays = evaluation.examples * (layer.image + layer.out) + layer.kernel
            flops += times * evaluation.examples * layer.flops
            product_bytes += times * arrays * BYTES
            swept = evaluation.sweeps * evaluation.examples * _swept(layer)
            pass_bytes += swept * BYTES
    return Operations(flops + _head(workload), product_bytes, pass_bytes + _updates(workload, net))


def _swept(layer: Layer) -> int:
    """Elements that the passes after a product move in one forward and one backward sweep."""
    reads = 2 if layer.normalised else 1
    forward = reads * layer.out + layer.kept
    backward = reads * (layer.out + layer.kept) + layer.out
    return forward + backward


def _head(workload: Workload) -> int:
    """Operations of the class means, and of their inner products with the query embeddings."""
    if workload.algorithm != "protonet":
        return 0
    features = layers(workload)[-1].kept
    support, queries = workload.ways * workload.shots, workload.ways * workload.queries
    means = 2 * workload.ways * support * features  # 2 products: labels have no gradient
    distances = 2 * workload.ways * queries * features  # 3 products
    return 2 * means + 3 * distances


def _updates(workload: Workload, net: list[Layer]) -> int:
    """Bytes of the inner updates, and of adding the task's gradient to the sum."""
    weights = sum(layer.kernel for layer in net)
    arrays = 7 if workload.inner_optimizer == "adam" else 3  # read φ, g, write φ; two moments
    reverse = 2 if workload.algorithm == "maml" else 1
    return (workload.inner_steps * arrays * reverse + 3) * weights * BYTES


def bound(found: Operations, *, gflops: float, gigabytes: float) -> float:
    """The most tasks per second that both arithmetic and memory allow.

    Args:
        found: the operations of one task.
        gflops: the machine's rate of matrix products, in 10⁹ operations per second.
        gigabytes: its memory rate, in 10⁹ bytes per second.

    >>> bound(Operations(10**9, 10**8, 10**8), gflops=100, gigabytes=10)
    50.0
    """
    moved = found.product_bytes + found.pass_bytes
    return min(gflops * 1e9 / found.flops, gigabytes * 1e9 / moved)

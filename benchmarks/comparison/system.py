"""What every timed system provides, and the weights that all of them start from."""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from comparison.workloads import Workload

# "conv0.kernel" [kh, kw, C, F], "norm0.scale" [F], "norm0.bias" [F], "dense0.kernel" [D, F], ...
Weights = dict[str, np.ndarray]
RESNET_LAYERS = 4  # of a block: the shortcut, then three 3x3 convolutions


class System(NamedTuple):
    """A workload as one system computes it."""

    advance: Callable[[int], None]  # makes this many outer updates and returns when they are done
    gradient: Callable[[], Weights]  # the meta-gradient at the current weights
    device: str  # what computes, in words


def shapes(workload: Workload) -> dict[str, tuple[int, ...]]:
    """The shape of every weight, in the order of the layers.

    >>> from comparison.workloads import WORKLOADS
    >>> list(shapes(WORKLOADS["S"]).items())[-2:]
    [('dense2.kernel', (40, 1)), ('dense2.bias', (1,))]
    """
    found: dict[str, tuple[int, ...]] = {}
    for index, (window, channels, filters) in enumerate(_convolutions(workload)):
        found[f"conv{index}.kernel"] = (window, window, channels, filters)
        found[f"norm{index}.scale"] = (filters,)
        found[f"norm{index}.bias"] = (filters,)
    for index, (inputs, outputs) in enumerate(_linears(workload)):
        found[f"dense{index}.kernel"] = (inputs, outputs)
        found[f"dense{index}.bias"] = (outputs,)
    return found


def initial(workload: Workload, *, seed: int = 0) -> Weights:
    """The weights that every system starts from: normal, with deviation 1/√inputs."""
    random = np.random.default_rng(seed)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name.endswith("kernel"):
            return random.normal(0, np.prod(shape[:-1]) ** -0.5, shape).astype(np.float32)
        return np.full(shape, 1 if name.endswith("scale") else 0, np.float32)

    return {name: draw(name, shape) for name, shape in shapes(workload).items()}


def widths(workload: Workload) -> tuple[int, ...]:
    """Channels of the four blocks of a ResNet-12, in the usual proportions.

    >>> from comparison.workloads import WORKLOADS
    >>> widths(WORKLOADS["G"])
    (64, 160, 320, 640)
    """
    return tuple(workload.filters * tenths // 10 for tenths in (10, 25, 50, 100))


def pixels(workload: Workload) -> tuple[int, int]:
    """Height and width after the four poolings of a Conv4; (1, 1) if nothing is flattened."""
    if workload.network != "conv4" or workload.image is None:
        return 1, 1
    return workload.image[0] // 16, workload.image[1] // 16


def _convolutions(workload: Workload) -> list[tuple[int, int, int]]:
    """(window, channels in, channels out) of each convolution."""
    if workload.image is None:
        return []
    channels = workload.image[2]
    if workload.network == "conv4":
        return [(3, channels if i == 0 else workload.filters, workload.filters) for i in range(4)]
    found = []
    for width in widths(workload):
        found += [(1, channels, width), (3, channels, width), (3, width, width), (3, width, width)]
        channels = width
    return found


def _linears(workload: Workload) -> list[tuple[int, int]]:
    """(inputs, outputs) of each linear layer."""
    if workload.network == "mlp":
        sizes = (1, workload.filters, workload.filters, 1)
        return list(pairwise(sizes))
    if workload.algorithm == "protonet":
        return []
    height, width = pixels(workload)
    last = widths(workload)[-1] if workload.network == "resnet12" else workload.filters
    return [(last * height * width, workload.ways)]

"""The networks in PyTorch: convolution, batch norm, ReLU, max-pool, in the usual order."""

from collections.abc import Callable
from typing import Any

from comparison.system import pixels, widths
from comparison.workloads import Workload

Norm = Callable[[int], Any]  # channels -> a module that normalises them


def network(workload: Workload, *, norm: Norm | None = None) -> Any:
    """A `torch.nn.Sequential` whose parameters come in the order of `comparison.system.shapes`.

    Args:
        workload: what to compute.
        norm: makes the batch normalisation; None for `BatchNorm2d` with the batch's own moments.
            Its second derivative under `torch.func.vmap` is wrong in torch 2.13; there,
            `plain_norm` is right.
    """
    from torch import nn

    if workload.image is None:
        width = workload.filters
        layers = (nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        return nn.Sequential(*layers, nn.Linear(width, 1))
    channels = workload.image[2]
    if workload.network == "resnet12":
        sizes = widths(workload)
        pairs = zip((channels, *sizes), sizes, strict=False)
        blocks = [_residual_block(before, after, norm) for before, after in pairs]
        body = [*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        last = sizes[-1]
    else:
        body = []
        for before in (channels, *[workload.filters] * 3):
            body += [*_layer(before, workload.filters, 3, norm), nn.ReLU(), nn.MaxPool2d(2)]
        body.append(nn.Flatten())
        height, width = pixels(workload)
        last = workload.filters * height * width
    if workload.algorithm != "protonet":
        body.append(nn.Linear(last, workload.ways))
    return nn.Sequential(*body)


def _layer(before: int, after: int, window: int, norm: Norm | None) -> tuple[Any, Any]:
    """A convolution without a bias, and batch normalisation by the batch's own moments."""
    from torch import nn

    conv = nn.Conv2d(before, after, window, padding=window // 2, bias=False)
    if norm is not None:
        return conv, norm(after)
    return conv, nn.BatchNorm2d(after, track_running_stats=False)


def plain_norm(channels: int) -> Any:
    """Batch normalisation in plain operations."""
    import torch

    class Norm(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(channels))
            self.bias = torch.nn.Parameter(torch.zeros(channels))

        def forward(self, x: Any) -> Any:
            variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
            factor = torch.rsqrt(variance + 1e-5) * self.weight.view(1, -1, 1, 1)
            return (x - mean) * factor + self.bias.view(1, -1, 1, 1)

    return Norm()


def _residual_block(before: int, after: int, norm: Norm | None) -> Any:
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shortcut = nn.Sequential(*_layer(before, after, 1, norm))
            first = _layer(before, after, 3, norm)
            second, third = (_layer(after, after, 3, norm) for _ in range(2))
            slope = 0.1
            self.path = nn.Sequential(
                *(*first, nn.LeakyReLU(slope), *second, nn.LeakyReLU(slope), *third)
            )
            self.end = nn.Sequential(nn.LeakyReLU(slope), nn.MaxPool2d(2))

        def forward(self, x: Any) -> Any:
            return self.end(self.path(x) + self.shortcut(x))

    return Block()

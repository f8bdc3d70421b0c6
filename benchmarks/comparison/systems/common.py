"""What the PyTorch systems share: the network, the tasks and the outer loop."""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from comparison import workloads
from comparison.system import System, Weights, initial, pixels, shapes
from comparison.systems.networks import Norm, network
from comparison.workloads import Workload


class Prepared(NamedTuple):
    """A workload in PyTorch."""

    workload: Workload
    net: Any  # the module; its parameters are θ
    tasks: list[tuple[Any, ...]]  # (support x, support y, query x, query y) of each task
    criterion: Callable[[Any, Any], Any]  # (outputs, targets) -> mean loss
    device: Any


def prepare(workload: Workload, *, norm: Norm | None = None) -> Prepared:
    """The network with the shared weights, and the tasks; on the GPU if there is one.

    Args:
        workload: what to compute.
        norm: makes the batch normalisation, see `networks.network`.
    """
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if hasattr(os, "sched_getaffinity"):
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    net = network(workload, norm=norm).to(device)
    values = _torch_layout(workload, initial(workload)).values()
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    arrays = [torch.from_numpy(_channels_first(a)).to(device) for a in workloads.tasks(workload)]
    arrays = [a if a.is_floating_point() else a.long() for a in arrays]
    criterion = torch.nn.MSELoss() if workload.image is None else torch.nn.CrossEntropyLoss()
    return Prepared(workload, net, list(zip(*arrays, strict=True)), criterion, device)


def system(prepared: Prepared, accumulate: Callable[[], None]) -> System:
    """Make the outer loop around `accumulate`, which adds the meta-gradient to each `.grad`."""
    import torch

    net = prepared.net
    optimizer = torch.optim.Adam(net.parameters(), lr=prepared.workload.outer_rate)
    cuda = prepared.device.type == "cuda"

    def advance(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            accumulate()
            optimizer.step()
        if cuda:
            torch.cuda.synchronize()

    def gradient() -> Weights:
        optimizer.zero_grad()
        accumulate()
        found = [parameter.grad.detach().cpu().numpy().copy() for parameter in net.parameters()]
        return _jax_layout(prepared.workload, found)

    name = torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} threads"
    return System(advance, gradient, name)


def add_gradients(net: Any, gradients: Any, *, scale: float) -> None:
    """Add scaled gradients to each parameter's `.grad`."""
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        scaled = gradient.detach() * scale
        parameter.grad = scaled if parameter.grad is None else parameter.grad.add_(scaled)


def prototype_loss(embed: Callable[[Any], Any], workload: Workload, task: Any) -> Any:
    """The loss of a prototypical network: squared distances to class means as logits."""
    import torch

    support_x, _, query_x, query_y = task
    means = embed(support_x).reshape(workload.ways, workload.shots, -1).mean(dim=1)
    gaps = embed(query_x).unsqueeze(1) - means.unsqueeze(0)
    return torch.nn.functional.cross_entropy(-(gaps**2).sum(dim=2), query_y)


def _channels_first(x: np.ndarray) -> np.ndarray:
    """Images [T, N, H, W, C] to [T, N, C, H, W]; other arrays stay as they are."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 2)) if x.ndim == 5 else x


def _torch_layout(workload: Workload, weights: Weights) -> Weights:
    """Kernels as [F, C, kh, kw] and [out, in], with channels first in flattened inputs."""
    return {name: _turn(workload, value) for name, value in weights.items()}


def _turn(workload: Workload, value: np.ndarray) -> np.ndarray:
    if value.ndim == 4:
        return value.transpose(3, 2, 0, 1)
    if value.ndim == 2:
        split = value.reshape(*pixels(workload), -1, value.shape[1])
        return split.transpose(3, 2, 0, 1).reshape(value.shape[1], -1)
    return value


def _jax_layout(workload: Workload, values: list[np.ndarray]) -> Weights:
    """The inverse of `_torch_layout`."""
    named = dict(zip(shapes(workload), values, strict=True))
    return {name: _turn_back(workload, value) for name, value in named.items()}


def _turn_back(workload: Workload, value: np.ndarray) -> np.ndarray:
    if value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    if value.ndim == 2:
        split = value.reshape(value.shape[0], -1, *pixels(workload))
        return split.transpose(2, 3, 1, 0).reshape(-1, value.shape[0])
    return value

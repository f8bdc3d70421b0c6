"""PCGrad and learned uncertainties beside torchjd's, on the same random gradients and losses.

    python benchmarks/multi_task.py [--draws 300]

For each number of tasks and of parameters, gradients are drawn at random in float64. torchjd draws
the order in which PCGrad visits the tasks from torch's generator; the same permutations are drawn
here and given to `jmeta.transfer.pcgrad` as its `order`. `apart` is the largest difference of the
results, relative to the largest entry of the gradients; `conflicts` the share of draws in which the
result is not the plain sum. For uncertainties it is relative to the largest entry of torchjd's
value and derivatives, by the losses and by the log variances. torchjd's UW takes every loss for a
squared error. torchjd needs PyTorch; install both beside jmeta.
"""

import argparse
import sys
from importlib import metadata
from typing import Any

import common
import jax
import numpy as np

from jmeta import transfer

TASKS, WIDTHS, TOLERANCE = (2, 3, 5, 10), (1, 2, 10, 1000), 1e-9


def surgery(tasks: int, width: int, draws: int) -> dict[str, Any]:
    """PCGrad of both, over random gradients."""
    import torch
    from torchjd.aggregation import PCGrad

    theirs, ours = PCGrad(), jax.jit(lambda rows, order: transfer.pcgrad(rows, order=order))
    apart, conflicts = 0.0, 0
    for seed in range(draws):
        rows = np.random.default_rng(seed).normal(size=(tasks, width))
        torch.manual_seed(seed)
        order = np.stack([torch.randperm(tasks).numpy() for _ in range(tasks)])
        torch.manual_seed(seed)
        wanted = theirs(torch.tensor(rows)).numpy()
        found = np.asarray(ours(rows, order))
        apart = max(apart, float(np.abs(found - wanted).max() / np.abs(rows).max()))
        conflicts += not np.allclose(wanted, rows.sum(0))
    row = {"tasks": tasks, "parameters": width, "draws": draws}
    return {**row, "conflicts": conflicts / draws, "apart": apart}


def noises(tasks: int, draws: int) -> dict[str, Any]:
    """The loss of learned uncertainties, and its derivatives."""
    import torch
    from torchjd.scalarization import UW

    def both(losses: jax.Array, logs: jax.Array) -> jax.Array:
        return transfer.uncertainty(losses, logs, squared=True)

    ours, apart = jax.jit(jax.value_and_grad(both, (0, 1))), 0.0
    for seed in range(draws):
        losses, logs = np.random.default_rng(seed).uniform(0.1, 3.0, size=(2, tasks))
        theirs = UW(tasks).double()
        (parameter,) = theirs.parameters()
        with torch.no_grad():
            parameter.copy_(torch.tensor(logs))
        given = torch.tensor(losses, requires_grad=True)
        value = theirs(given)
        value.backward()
        wanted = np.concatenate([[value.item()], given.grad.numpy(), parameter.grad.numpy()])
        mine, by = ours(losses, logs)
        found = np.concatenate([[mine], *map(np.asarray, by)])
        apart = max(apart, float(np.abs(found - wanted).max() / np.abs(wanted).max()))
    return {"tasks": tasks, "draws": draws, "apart": apart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=300)
    options = parser.parse_args()
    try:
        libraries = {name: metadata.version(name) for name in ("torch", "torchjd")}
    except metadata.PackageNotFoundError as error:
        parser.error(f"{error.name} is not installed; install torch and torchjd beside jmeta.")
    jax.config.update("jax_enable_x64", True)
    pcgrad = [surgery(tasks, width, options.draws) for tasks in TASKS for width in WIDTHS]
    uncertainty = [noises(tasks, options.draws) for tasks in TASKS]
    for row in (*pcgrad, *uncertainty):
        print(row)
    record = {"schema": 1, "libraries": libraries, "tolerance": TOLERANCE}
    common.write("multi_task", {**record, "pcgrad": pcgrad, "uncertainty": uncertainty})
    if max(row["apart"] for row in (*pcgrad, *uncertainty)) > TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    main()

"""Why float32 meta-gradients of some workloads differ from float64 by a percent: kinks.

    python benchmarks/rounding.py [--workload A D F] [--seeds 8]

For each workload, on a few tasks of its shapes, all relative to the gradient in float64:

* "float32": the meta-gradient computed in float32.
* "moved": the one computed in float64 after every weight was multiplied by 1 + 2⁻²⁰ u, with u
  uniform in -1 ... 1: by as much as some roundings of float32. The median and the largest of so
  many moves.
* both again for the same network without kinks: softplus in the place of ReLU, and the mean of each
  window in the place of its maximum.

Where the largest "moved" is like "float32", the error is that of the question and not of the
arithmetic: an activation or a maximum stands so near to a tie that rounding decides it, and then
the exact gradient jumps as well.
"""

import argparse
import contextlib
from functools import partial
from typing import Any
from unittest import mock

import common
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from accelerator import errors, programs
from comparison import recipes
from comparison.workloads import Workload

import jmeta

TASKS = {"A": 1, "D": 1, "F": 1, "C": 1}  # C compiles for a quarter of an hour
MOVES = 8


def without_kinks() -> contextlib.ExitStack:
    """Exchange the functions of `Conv4` that have kinks, inside a `with` statement."""
    exchanged = contextlib.ExitStack()
    mean = partial(nn.avg_pool, window_shape=(2, 2), strides=(2, 2))
    exchanged.enter_context(mock.patch("jmeta.nn._norm.max_pool", mean))
    exchanged.enter_context(mock.patch("jmeta.nn._conv.defers", lambda *_: False))
    exchanged.enter_context(mock.patch("flax.linen.relu", nn.softplus))
    return exchanged


def errors_of(asked: Workload, seeds: int) -> list[dict[str, float]]:
    """For each seed of the tasks, relative errors of the gradients in float32 and at moved weights.

    Both programs are compiled once.
    """
    gradient = jmeta.meta_gradient(recipes.loss(asked))
    given = [
        jax.device_get((recipes.params(asked), recipes.batch(asked, seed=seed)))
        for seed in range(seeds)
    ]
    short = programs.lowered(gradient, given[0], "float32").compile()
    found = [errors._flat(asked, short(*each)[0]) for each in given]
    rows = []
    with jax.enable_x64(True):
        doubles = [jax.tree.map(errors._double, each) for each in given]
        long = programs.lowered(gradient, doubles[0], "float32").compile()
        for seed, (params, tasks) in enumerate(doubles):
            rng = np.random.default_rng(seed)
            moved = [jax.tree.map(partial(move, rng), params) for _ in range(MOVES)]
            exact, *others = (errors._flat(asked, long(p, tasks)[0]) for p in (params, *moved))
            gaps = [
                np.linalg.norm(g - exact) / np.linalg.norm(exact) for g in (found[seed], *others)
            ]
            row = {"float32": gaps[0], "moved": np.median(gaps[1:]), "moved_most": max(gaps[1:])}
            rows.append({name: float(gap) for name, gap in row.items()})
    return rows


def move(rng: np.random.Generator, leaf: jax.Array) -> jax.Array:
    """Weights that differ by some roundings of float32."""
    return leaf * (1 + 2.0**-20 * jnp.asarray(rng.uniform(-1, 1, leaf.shape)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.workload:
        asked = programs.workload(name, TASKS[name], smoke=False)
        for kinks in (True, False):
            with contextlib.nullcontext() if kinks else without_kinks():
                found = errors_of(asked, options.seeds)
            for seed, row in enumerate(found):
                head = {"workload": name, "tasks": asked.tasks, "kinks": kinks, "seed": seed}
                rows.append({**head, **row})
                print(rows[-1], flush=True)
            common.write("rounding", {"schema": 1, "rows": rows})


if __name__ == "__main__":
    main()

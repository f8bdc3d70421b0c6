"""Why float32 meta-gradients of some workloads differ from float64 by a percent: kinks.

    python benchmarks/rounding.py [--workload D F C A] [--seeds 3]

For each workload, on a few tasks of its shapes, all relative to the gradient in float64:

* "float32": the meta-gradient computed in float32.
* "moved": the one computed in float64 after every weight was multiplied by 1 + 2⁻²⁴ u, with u
  uniform in -1 ... 1: less than the rounding of the weights to float32. What is computed exactly
  from such weights is what the best float32 program could hope for.
* both again for the same network without kinks: softplus in the place of ReLU, and the mean of each
  window in the place of its maximum.

Where "moved" is as large as "float32", the error is that of the question and not of the arithmetic:
some activation or maximum stands so near to a tie that rounding decides it, and the gradient jumps.
"""

import argparse
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

TASKS = {"A": 4, "C": 1, "D": 1, "F": 1}


def smooth_pool(x: jax.Array, *, relu: bool = False) -> jax.Array:
    """The mean of each 2x2 window, then softplus: `max_pool` without its kinks."""
    x = nn.avg_pool(x, (2, 2), (2, 2))
    return nn.softplus(x) if relu else x


def errors_of(asked: Workload, seed: int) -> dict[str, float]:
    """Relative errors of the float32 gradient, and of the float64 one at moved weights."""
    given = jax.device_get((recipes.params(asked), recipes.batch(asked, seed=seed)))
    gradient = jmeta.meta_gradient(recipes.loss(asked))
    low = programs.lowered(gradient, given, "float32")
    found = errors._flat(asked, low.compile()(*given)[0])
    with jax.enable_x64(True):
        params, tasks = jax.tree.map(errors._double, given)
        rng = np.random.default_rng(seed)

        def move(leaf: jax.Array) -> jax.Array:
            return leaf * (1 + 2.0**-24 * jnp.asarray(rng.uniform(-1, 1, leaf.shape)))

        compiled = programs.lowered(gradient, (params, tasks), "float32").compile()
        exact = errors._flat(asked, compiled(params, tasks)[0])
        moved = errors._flat(asked, compiled(jax.tree.map(move, params), tasks)[0])
    length = np.linalg.norm(exact)
    gaps = {"float32": found, "moved": moved}
    return {name: float(np.linalg.norm(g - exact) / length) for name, g in gaps.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.workload:
        asked = programs.workload(name, TASKS[name], smoke=False)
        for kinks in (True, False):
            for seed in range(options.seeds):
                if kinks:
                    found = errors_of(asked, seed)
                else:
                    with mock.patch("jmeta.nn._conv4.max_pool", smooth_pool):
                        found = errors_of(asked, seed)
                row = {"workload": name, "tasks": asked.tasks, "kinks": kinks, "seed": seed}
                rows.append({**row, **found})
                print(rows[-1], flush=True)
    common.write("rounding", {"schema": 1, "rows": rows})


if __name__ == "__main__":
    main()

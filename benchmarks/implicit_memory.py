"""iMAML's memory against inner steps beside MAML's, and its gradient beside a dense solve's.

    python benchmarks/implicit_memory.py

Memory: the compiler's figure for one update of workload A (28x28, 64 filters, 5-way 1-shot), one
task at a time; nothing is run. Gradient: for a small network in float64 at its minimum, the
implicit gradient with several tolerances of the conjugate gradients, against a dense solve of
(I + H / λ) x = ∇L_query.
"""

from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
import optax
from comparison import recipes, workloads
from jax.flatten_util import ravel_pytree

import jmeta
from jmeta import losses, nn

STEPS, STRENGTH = (5, 10, 20, 50, 100), 2.0
TOLERANCES = (1e-2, 1e-4, 1e-6, 1e-10)


def megabytes(steps: int, kind: str) -> float:
    """Temporary and output memory of one compiled update, in MB."""
    workload = workloads.WORKLOADS["A"]
    sgd = optax.sgd(0.1)
    solver = (
        jmeta.implicit(sgd, steps, strength=STRENGTH)
        if kind == "implicit"
        else jmeta.unrolled(sgd, steps)
    )
    learner = jmeta.maml(recipes.network(workload), losses.cross_entropy, solver)
    tx = recipes.optimizer(workload)
    update = jax.jit(jmeta.step(jmeta.episodic(learner, losses.cross_entropy), tx, chunk=1))
    tasks, state = recipes.batch(workload), jmeta.train_state(recipes.params(workload), tx)
    stats = update.lower(state, tasks).compile().memory_analysis()
    return (stats.temp_size_in_bytes + stats.output_size_in_bytes) / 1e6


def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """The outputs of a network with 43 parameters."""
    return jnp.tanh(x @ params["in"]) @ params["out"] + params["bias"][None]


def gradient_errors() -> dict[str, float]:
    """Relative error of the implicit gradient for each tolerance."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = {
        "in": jax.random.normal(keys[0], (5, 5)),
        "out": jax.random.normal(keys[1], (5, 3)),
        "bias": jnp.zeros(3),
    }
    net = nn.from_functions(lambda key, x: params, apply)
    labels = jnp.arange(15) % 3
    support, query = (jmeta.Batch(jax.random.normal(k, (15, 5)), labels) for k in keys[2:])
    found: dict[str, float] = {}
    for tolerance in TOLERANCES:
        cg = jmeta.core.conjugate_gradient(100, tolerance=tolerance)
        solver = jmeta.implicit(optax.sgd(0.3), 2000, strength=STRENGTH, linear_solve=cg)
        learner = jmeta.maml(net, losses.cross_entropy, solver)
        loss = jmeta.episodic(learner, losses.cross_entropy)
        task = jmeta.Task(support, query)
        implicit = ravel_pytree(jax.jit(jax.grad(lambda p: loss(p, task)[0]))(params))[0]  # noqa: B023
        dense = _dense(jax.jit(learner.adapt)(params, support).params, task)
        found[f"{tolerance:g}"] = float(np.linalg.norm(implicit - dense) / np.linalg.norm(dense))
    return found


def _dense(adapted: Any, task: jmeta.Task) -> np.ndarray:
    flat, unravel = ravel_pytree(adapted)

    def of(batch: jmeta.Batch) -> Any:
        return lambda v: losses.cross_entropy(apply(unravel(v), batch.x), batch.y)

    hessian = jax.jit(jax.hessian(of(task.support)))(flat)
    gradient = jax.jit(jax.grad(of(task.query)))(flat)
    return np.linalg.solve(np.eye(flat.size) + np.asarray(hessian) / STRENGTH, gradient)


def main() -> None:
    found: dict[str, dict[int, float]] = {"implicit": {}, "unrolled": {}}
    for kind, rows in found.items():
        for steps in STEPS:
            rows[steps] = megabytes(steps, kind)
            print(f"{kind:9} {steps:3} steps  {rows[steps]:8.1f} MB", flush=True)
    jax.config.update("jax_enable_x64", True)
    errors = gradient_errors()
    for tolerance, error in errors.items():
        print(f"tolerance {tolerance}: relative error {error:.1e}")
    record = {"workload": "A", "strength": STRENGTH, "megabytes": found}
    common.write("implicit_memory", {**record, "gradient_error_by_tolerance": errors})


if __name__ == "__main__":
    main()

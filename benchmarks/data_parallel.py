"""Eight virtual devices give the single-device meta-gradient, with one all-reduce.

    python benchmarks/data_parallel.py

Second-order MAML with a convolutional network on 16 tasks of the built-in glyphs. The gradients are
compared in float64: in float32, rounding can decide whether a unit near zero is active, and all
tasks at once round differently from one at a time.
"""

import re

import common
import jax
import jax.numpy as jnp
import optax

import jmeta
from jmeta import data, nn
from jmeta.losses import cross_entropy

DEVICES = 8


def double(leaf: jax.Array) -> jax.Array:
    """The same in float64, if it is of floating-point numbers."""
    return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def main() -> None:
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_enable_x64", True)
    model = nn.Conv4(outputs=5, filters=32, norm="batch", form="strided")
    learner = jmeta.maml(model, cross_entropy, jmeta.unrolled(optax.sgd(0.4), 3))
    loss = jmeta.episodic(learner, cross_entropy)
    pool = data.load("glyphs").train
    sample = jax.vmap(lambda key: data.sample_episode(key, pool, ways=5, shots=1, queries=3))
    tasks = jax.jit(sample)(jax.random.split(jax.random.key(1), 16))
    params = learner.init(jax.random.key(0), jax.tree.map(lambda leaf: leaf[0], tasks))
    params, tasks = jax.tree.map(double, (params, tasks))

    single = jmeta.meta_gradient(loss)
    shared = jmeta.core.data_parallel(jmeta.meta_gradient(loss, chunk=1), jmeta.task_mesh(DEVICES))
    compiled = jax.jit(shared).lower(params, tasks).compile()
    wanted, found = jax.jit(single)(params, tasks)[0], compiled(params, tasks)[0]
    flat = jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(wanted)])
    other = jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(found)])
    error = float(jnp.linalg.norm(flat - other) / jnp.linalg.norm(flat))
    program = compiled.as_text()
    names = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
    counts = {n: len(re.findall(rf"= .*\b{n}(?:-start)?\(", program)) for n in names}
    print(f"{DEVICES} devices: relative difference {error:.1e}, collectives {counts}")
    assert error < 1e-12 and counts["all-reduce"] == 1 and sum(counts.values()) == 1
    common.write(
        "data_parallel",
        {
            "devices": DEVICES,
            "relative_difference": error,
            "collectives": counts,
            "dtype": "float64",
        },
    )


if __name__ == "__main__":
    main()

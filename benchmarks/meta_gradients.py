"""Meta-gradients in float64 against central finite differences.

    python benchmarks/meta_gradients.py

MAML, first-order MAML, Reptile and prototypical networks, with the convolutional network that
they are used with (small, so that every parameter can be perturbed). The reference for first-order
MAML is the derivative of the query loss at φ with the inner gradients held fixed; that for Reptile
is the derivative of ½|θ − φ|² with φ held fixed.
"""

import common
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import jmeta
from jmeta import nn
from jmeta.losses import cross_entropy

WAYS = 3


def network(outputs: int | None) -> nn.Conv4:
    return nn.Conv4(outputs=outputs, filters=3, norm="batch", form="strided")


def task(key: jax.Array) -> jmeta.Task:
    def batch(key: jax.Array, each: int) -> jmeta.Batch:
        y = jnp.repeat(jnp.arange(WAYS), each)
        return jmeta.Batch(jax.random.uniform(key, (WAYS * each, 16, 16, 1)), y)

    one, two = jax.random.split(key)
    return jmeta.Task(batch(one, 2), batch(two, 3))


def finite_differences(f, params, eps: float = 1e-5) -> np.ndarray:
    flat, unravel = ravel_pytree(params)
    at = jax.jit(lambda v: f(unravel(v)))
    steps = np.eye(flat.size) * eps
    return np.array([float(at(flat + d) - at(flat - d)) / (2 * eps) for d in steps])


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    objective = cross_entropy
    classify, embed = network(WAYS), network(None)
    one = task(jax.random.key(1))

    def maml(tx: optax.GradientTransformation) -> jmeta.Learner:
        return jmeta.maml(classify, objective, jmeta.unrolled(tx, 3))

    second = maml(optax.sgd(0.1))
    first = maml(optax.chain(jmeta.first_order(), optax.sgd(0.1)))
    proto = jmeta.metric(embed, jmeta.prototypical(WAYS))
    cases = {
        "maml": (second, jmeta.episodic),
        "fomaml": (first, jmeta.episodic),
        "reptile": (second, jmeta.reptile),
        "protonet": (proto, jmeta.episodic),
    }
    rows = []
    for name, (learner, make) in cases.items():
        params = learner.init(jax.random.key(0), one)
        double = jax.tree.map(lambda x: x.astype(float), params)
        loss = make(learner, objective)
        gradient = jax.jit(jax.grad(lambda p, loss=loss: loss(p, one)[0]))
        exact = ravel_pytree(gradient(double))[0]
        adapted = jax.jit(learner.adapt)(double, one.support)
        phi = None if name == "protonet" else adapted.params
        reference = {
            "fomaml": lambda p, phi=phi, at=double: objective(
                classify.apply(jax.tree.map(lambda a, b, c: a + b - c, p, phi, at), one.query.x),
                one.query.y,
            ),
            "reptile": lambda p, phi=phi: (
                jnp.sum((ravel_pytree(p)[0] - ravel_pytree(phi)[0]) ** 2) / 2
            ),
        }.get(name, lambda p, loss=loss: loss(p, one)[0])
        numeric = finite_differences(reference, double)
        error = float(np.linalg.norm(exact - numeric) / np.linalg.norm(numeric))
        rows.append({"algorithm": name, "relative_error": error, "parameters": int(numeric.size)})
        print(f"{name:<9} {numeric.size} parameters: relative error {error:.1e}")
        assert error < 1e-6
    common.write("meta_gradients", {"dtype": "float64", "rows": rows})


if __name__ == "__main__":
    main()

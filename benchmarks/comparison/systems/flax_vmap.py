"""What a JAX user writes today: Flax layers, `jax.vmap` over tasks, an unrolled inner loop."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from comparison import workloads
from comparison.system import System, Weights, initial, shapes, widths
from comparison.workloads import Arrays, Workload


class _Norm(nn.Module):
    """Batch normalisation by the batch's own moments."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        mean, variance = x.mean((0, 1, 2), keepdims=True), x.var((0, 1, 2), keepdims=True)
        scale, bias = scale[None, None, None], bias[None, None, None]
        return (x - mean) / jnp.sqrt(variance + 1e-5) * scale + bias


class _Network(nn.Module):
    workload: Workload

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.workload.network == "mlp":
            for index in range(2):
                x = nn.relu(nn.Dense(self.workload.filters, name=f"dense{index}")(x))
            return nn.Dense(1, name="dense2")(x)
        if self.workload.network == "resnet12":
            x = self._residual(x).mean((1, 2))
        else:
            for index in range(4):
                x = _pool(nn.relu(self._layer(x, index, self.workload.filters, 3)))
            x = x.reshape(len(x), -1)
        if self.workload.algorithm == "protonet":
            return x
        return nn.Dense(self.workload.ways, name="dense0")(x)

    def _residual(self, x: jax.Array) -> jax.Array:
        for block, width in enumerate(widths(self.workload)):
            shortcut = self._layer(x, 4 * block, width, 1)
            for index in (1, 2):
                x = nn.leaky_relu(self._layer(x, 4 * block + index, width, 3), 0.1)
            x = self._layer(x, 4 * block + 3, width, 3) + shortcut
            x = _pool(nn.leaky_relu(x, 0.1))
        return x

    def _layer(self, x: jax.Array, index: int, width: int, window: int) -> jax.Array:
        conv = nn.Conv(width, (window, window), use_bias=False, name=f"conv{index}")
        return _Norm(name=f"norm{index}")(conv(x))


def _pool(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (2, 2), (2, 2))


def build(workload: Workload) -> System:
    """One update is a jitted function; many of them are one dispatch, as for jmeta."""
    tasks: Any = jax.tree.map(jnp.asarray, workloads.tasks(workload))
    tx = optax.adam(workload.outer_rate)
    gradient = jax.jit(_meta_gradient(workload))

    def update(_: Any, state: tuple, tasks: Arrays) -> tuple:
        params, opt_state = state
        updates, opt_state = tx.update(gradient(params, tasks), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    @jax.jit
    def many(state: tuple, tasks: Arrays, steps: int) -> tuple:
        return jax.lax.fori_loop(0, steps, lambda i, state: update(i, state, tasks), state)

    params = _params(workload)
    held = [(params, tx.init(params))]

    def advance(steps: int) -> None:
        held[0] = jax.block_until_ready(many(held[0], tasks, steps))

    def meta_gradient() -> Weights:
        return _weights(workload, gradient(held[0][0], tasks))

    return System(advance, meta_gradient, f"1 x {jax.devices()[0].device_kind}")


def _meta_gradient(workload: Workload) -> Callable[[Any, Arrays], Any]:
    """`gradient(params, tasks) -> gradient` of the mean query loss (or of Reptile)."""
    apply: Callable[..., Any] = _Network(workload).apply

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        if workload.image is None:
            return jnp.mean((apply(params, x) - y) ** 2)
        return optax.softmax_cross_entropy_with_integer_labels(apply(params, x), y).mean()

    def task_loss(params: Any, support_x: Any, support_y: Any, query_x: Any, query_y: Any) -> Any:
        if workload.algorithm == "protonet":
            means = apply(params, support_x).reshape(workload.ways, workload.shots, -1).mean(1)
            gaps = apply(params, query_x)[:, None] - means[None]
            rows = optax.softmax_cross_entropy_with_integer_labels(-(gaps**2).sum(-1), query_y)
            return rows.mean()
        adapted = _adapt(workload, params, lambda phi: loss(phi, support_x, support_y))
        return loss(adapted, query_x, query_y)

    def mean_loss(params: Any, tasks: Arrays) -> jax.Array:
        return jax.vmap(task_loss, in_axes=(None, 0, 0, 0, 0))(params, *tasks).mean()

    def moved(params: Any, support_x: Any, support_y: Any, *_: Any) -> Any:
        adapted = _adapt(workload, params, lambda phi: loss(phi, support_x, support_y))
        return jax.tree.map(jnp.subtract, params, adapted)

    def reptile(params: Any, tasks: Arrays) -> Any:
        moves = jax.vmap(moved, in_axes=(None, 0, 0, 0, 0))(params, *tasks)
        return jax.tree.map(lambda leaf: leaf.mean(0), moves)

    return reptile if workload.algorithm == "reptile" else jax.grad(mean_loss)


def _adapt(workload: Workload, params: Any, loss: Callable[[Any], jax.Array]) -> Any:
    """The inner loop, written out."""
    rate = workload.inner_rate
    tx = optax.adam(rate, b1=0.0) if workload.inner_optimizer == "adam" else optax.sgd(rate)
    state = tx.init(params)
    for _ in range(workload.inner_steps):
        grads = jax.grad(loss)(params)
        if workload.algorithm == "fomaml":
            grads = jax.lax.stop_gradient(grads)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def _params(workload: Workload) -> Any:
    tree: dict[str, dict] = {}
    for name, value in initial(workload).items():
        layer, _, leaf = name.partition(".")
        tree.setdefault(layer, {})[leaf] = jnp.asarray(value)
    return {"params": tree}


def _weights(workload: Workload, tree: Any) -> Weights:
    split = {name: name.partition(".") for name in shapes(workload)}
    return {n: np.asarray(tree["params"][layer][leaf]) for n, (layer, _, leaf) in split.items()}

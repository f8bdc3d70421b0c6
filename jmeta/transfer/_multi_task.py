"""Several tasks at once: weights of their losses, and gradients that do not work against them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jmeta.core import Key, PyTree, Scalar
from jmeta.core._numbers import at_least_float32, product, require_positive, require_weight
from jmeta.core._tree import leading_axis


def weighted(losses: jax.Array, weights: jax.Array | Sequence[float]) -> Scalar:
    """The sum of the losses of several tasks with fixed weights.

        L = Σ_t w_t L_t

    Args:
        losses: L [T].
        weights: w [T].

    Raises:
        ValueError: there is not one weight for each loss.

    >>> float(weighted(jnp.array([1.0, 2.0]), [1.0, 0.5]))
    2.0
    """
    weights = jnp.asarray(weights)
    _require_tasks(losses, of="weighted", weights=weights)
    return product(weights, losses)


def uncertainty(
    losses: jax.Array, log_variances: jax.Array, *, squared: bool | Sequence[bool] = False
) -> Scalar:
    """Weights that are learned: the noise of each task.

        L = Σ_t c_t exp(−s_t) L_t + s_t / 2

    s_t = log σ_t² is learned beside the network. c_t is ½ where L_t is a squared error, whose
    noise has the variance σ_t², and 1 where it is a cross entropy of logits divided by σ_t². The
    loss may become negative. The best s_t is log(2 c_t L_t).

    Args:
        losses: L [T].
        log_variances: s [T], which begin at 0.
        squared: which losses are mean squared errors: one answer for all, or one for each.

    Raises:
        ValueError: there is not one log variance, or answer, for each loss.

    Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics (Kendall,
    Gal, Cipolla, 2018, arXiv:1705.07115), equations 7 and 10.

    >>> float(uncertainty(jnp.array([1.0, 2.0]), jnp.zeros(2), squared=[True, False]))
    2.5
    """
    kinds = np.broadcast_to(squared, losses.shape) if np.ndim(squared) == 0 else np.array(squared)
    _require_tasks(losses, of="uncertainty", log_variances=log_variances, squared=kinds)
    scale = jnp.where(kinds, 0.5, 1.0).astype(losses.dtype)
    return jnp.sum(scale * jnp.exp(-log_variances) * losses + log_variances / 2)


def gradnorm(
    weights: jax.Array,
    gradients: PyTree,
    losses: jax.Array,
    first_losses: jax.Array,
    *,
    alpha: float = 1.5,
) -> Scalar:
    """The loss of the tasks' weights that makes all tasks learn at similar rates.

        L_grad(w) = Σ_t |G_t − stop(Ḡ r_t^α)|,   G_t = w_t ‖∇_W L_t‖,
        r_t = (L_t / L_t(0)) / mean_t (L_t / L_t(0))

    Only the weights get a gradient. After each update of them the paper scales the weights so that
    they sum up to T: `weights * len(weights) / weights.sum()`. The network descends
    `weighted(losses, stop_gradient(weights))`.

    Args:
        weights: w [T], which begin at 1.
        gradients: of the losses by the parameters W that the tasks share, a pytree of leaves
            [T, ...], as `jax.jacrev(losses_of)(shared)` gives. The paper takes the last layer that
            is shared.
        losses: L [T], now.
        first_losses: L(0) [T], before training, each above 0.
        alpha: α, how much slower tasks are favoured. 0: all gradients get the same norm.

    Raises:
        ValueError: the numbers of tasks differ, a first loss is not above 0, or α is negative.

    GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks (Chen,
    Badrinarayanan, Lee, Rabinovich, 2018, arXiv:1711.02257).

    >>> value = lambda w: gradnorm(w, jnp.array([[3.0], [1.0]]), jnp.ones(2), jnp.ones(2))
    >>> jax.grad(value)(jnp.ones(2)).tolist()  # the first task's weight falls, the other's rises
    [3.0, -1.0]
    """
    _require_tasks(losses, of="gradnorm", weights=weights, first_losses=first_losses)
    _require_gradients(gradients, len(losses), of="gradnorm")
    require_positive(first_losses, name="first_losses", of="gradnorm")
    require_weight(alpha, name="alpha", of="gradnorm")
    norms = jnp.sqrt(jnp.diagonal(_products(gradients)))
    left = losses / first_losses
    rates = left / jnp.mean(left)
    norms, rates = lax.stop_gradient((norms, rates))
    own = weights * norms
    return jnp.sum(jnp.abs(own - lax.stop_gradient(jnp.mean(own) * rates**alpha)))


def pcgrad(gradients: PyTree, key: Key | None = None, *, order: jax.Array | None = None) -> PyTree:
    """The sum of the tasks' gradients, each without what works against another task.

        g_t ← g_t − (g_t · g_u / |g_u|²) g_u   where g_t · g_u < 0, for each other task u in turn;
        the result is Σ_t g_t

    The g_u on the right are the gradients as they came. With three tasks or more the order in
    which the others are visited matters, and is drawn anew for each task.

    Args:
        gradients: of each task's loss, a pytree of leaves [T, ...], as `jax.jacrev(losses_of)` of a
            function that returns losses [T] gives.
        key: a random key for the orders. Two tasks need none.
        order: the orders themselves, in place of the key: [T, T] integers whose row t is a
            permutation of all tasks, in which t itself is passed over.

    Returns:
        A pytree of leaves [...], for any optimizer.

    Raises:
        ValueError: the leaves differ in T; there are neither or both of `key` and `order` for three
            tasks or more; or the order has another shape.

    Gradient Surgery for Multi-Task Learning (Yu, Kumar, Gupta, Levine, Hausman, Finn, 2020,
    arXiv:2001.06782), algorithm 1.

    >>> pcgrad(jnp.array([[1.0, 0.0], [-1.0, 1.0]])).tolist()
    [0.5, 1.5]
    """
    tasks = leading_axis(gradients, what="gradients")
    if key is not None and order is not None:
        raise ValueError("pcgrad takes a key or an order of the tasks, but got both.")
    if order is None and key is None and tasks > 2:
        raise ValueError(
            f"pcgrad needs a key for the order in which it visits {tasks} tasks, or the order "
            f"[{tasks}, {tasks}] itself."
        )
    if order is None and key is not None:
        permuted = lambda own: jax.random.permutation(own, tasks)  # noqa: E731
        order = jax.vmap(permuted)(jax.random.split(key, tasks))
    if order is None:
        order = jnp.broadcast_to(jnp.arange(tasks)[None], (tasks, tasks))
    if jnp.shape(order) != (tasks, tasks):
        raise ValueError(
            f"pcgrad expects an order [{tasks}, {tasks}] for {tasks} tasks, but got one of shape "
            f"{jnp.shape(order)}."
        )
    gram = _products(gradients)

    def projected(task: jax.Array, others: jax.Array) -> jax.Array:
        """The share of every gradient in what becomes of one: [T]."""

        def visit(shares: jax.Array, other: jax.Array) -> tuple[jax.Array, None]:
            along = product(gram[other], shares)
            against = (along < 0) & (other != task)
            length = jnp.where(against, gram[other, other], 1)
            return shares.at[other].add(-jnp.where(against, along, 0) / length), None

        return lax.scan(visit, jax.nn.one_hot(task, tasks, dtype=gram.dtype), others)[0]

    shares = jnp.sum(jax.vmap(projected)(jnp.arange(tasks), jnp.asarray(order)), 0)

    def mixed(leaf: jax.Array) -> jax.Array:
        rows = at_least_float32(leaf).reshape(tasks, -1)
        return product(shares, rows).reshape(leaf.shape[1:]).astype(leaf.dtype)

    return jax.tree.map(mixed, gradients)


def _products(gradients: PyTree) -> jax.Array:
    """The inner products of the gradients of every two tasks, over all leaves: [T, T]."""
    leaves = [at_least_float32(leaf) for leaf in jax.tree.leaves(gradients)]
    rows = [leaf.reshape(len(leaf), -1) for leaf in leaves]
    return sum((product(leaf, leaf.T) for leaf in rows[1:]), start=product(rows[0], rows[0].T))


def _require_tasks(losses: jax.Array, *, of: str, **others: jax.Array | np.ndarray) -> None:
    """Refuse losses that are not [T], and what has not one entry for each of them.

    Raises:
        ValueError: a shape is another.
    """
    if jnp.ndim(losses) != 1:
        raise ValueError(f"{of} expects losses [T], but got {jnp.shape(losses)}; stack them.")
    for name, value in others.items():
        if jnp.shape(value) != losses.shape:
            raise ValueError(
                f"{of} expects {name.replace('_', ' ')} [{len(losses)}], one for each loss, but "
                f"got {jnp.shape(value)}."
            )


def _require_gradients(gradients: PyTree, tasks: int, *, of: str) -> None:
    """Refuse gradients of another number of tasks.

    Raises:
        ValueError: the number is another, or the leaves differ in it.
    """
    found = leading_axis(gradients, what="gradients")
    if found != tasks:
        raise ValueError(
            f"{of} got gradients of {found} tasks and losses of {tasks}; stack one for each."
        )

"""Neural processes as a learner and a loss; where a task carries its mask and its key."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core.gaussian import Gaussian, gaussian_kl, gaussian_nll
from jmeta.core.types import Adapted, Apply, Batch, Learner, Loss, Params, PyTree, Scalar, Task


class Context(NamedTuple):
    """Support inputs with which of them are there, and a key: randomness is data."""

    x: jax.Array  # [S, D]
    mask: jax.Array  # [S] bool
    key: jax.Array  # a random key, for the latent


def random_context(key: jax.Array, task: Task, *, smallest: int = 1) -> Task:
    """Keep a random number of the support points, uniform in smallest..S, and give the task a key.

    Neural processes train on contexts of many sizes; arrays keep their shape, a mask says what
    is there.

    Raises:
        ValueError: `smallest` is not in 0..S.

    >>> points = Batch(jnp.ones((3, 1)), jnp.ones((3, 1)))
    >>> random_context(jax.random.key(0), Task(points, points), smallest=3).support.x.mask.tolist()
    [True, True, True]
    """
    x, y = task.support
    if not 0 <= smallest <= len(x):
        raise ValueError(
            f"random_context got smallest={smallest} for {len(x)} support points; give a number "
            "from 0 to that."
        )
    size_key, latent_key = jax.random.split(key)
    size = jax.random.randint(size_key, (), smallest, len(x) + 1)
    return task._replace(support=Batch(Context(x, jnp.arange(len(x)) < size, latent_key), y))


def neural_process(encode: Apply, decode: Apply, *, samples: int = 0) -> Learner:
    """Predict a function from a set of its points: CNP, NP and ANP, by the network.

        memory, z = encode(θ, x_S, y_S),   p(y | x) = N(μ(memory, z, x), σ(memory, z, x)²)

    Args:
        encode: `encode(params, (x [S, D], y [S, E], mask [S])) -> (memory, latent)`, latent being
            (mean [Z], deviation [Z]) or None.
        decode: `decode(params, ((memory, z), x [Q, D])) -> (mean [Q, E], deviation [Q, E])`; both
            come from `jmeta.nn.NeuralProcess` through `jmeta.nn.encode_decode`.
        samples: 0 predicts at the latent's mean and needs no key; L > 0 draws L latents with the
            key in support.x, which must then be a `Context`.

    Returns:
        A learner whose outputs are `Gaussian`, [Q, E] or, with samples, [Q, L, E]. Its support.x
        is an array [S, D] or a `Context`.

    Raises:
        ValueError: a negative number of samples, or samples without a key or without a latent.

    Neural Processes (Garnelo et al., 2018, arXiv:1807.01622).

    >>> mean = lambda params, support: (support[1].mean(0), None)
    >>> same = lambda params, pair: (pair[0][0][None], jnp.ones((1, 1)))
    >>> learner = neural_process(mean, same)
    >>> adapted = learner.adapt((), Batch(jnp.ones((2, 1)), jnp.array([[1.0], [3.0]])))
    >>> float(learner.predict(adapted, jnp.ones((1, 1))).mean[0, 0])
    2.0
    """
    if samples < 0:
        raise ValueError(f"neural_process expects samples >= 0, but got {samples}.")

    def adapt(params: Params, support: Batch) -> Adapted:
        memory, latent = encode(params, _points(support))
        if samples == 0:
            return params, memory, None if latent is None else latent[0]
        if latent is None:
            raise ValueError("samples > 0 needs a network with a latent path; take samples=0.")
        draw = jax.vmap(lambda key: _draw(key, Gaussian(*latent)))
        return params, memory, draw(jax.random.split(_key(support), samples))

    def predict(adapted: Adapted, x: PyTree) -> Gaussian:
        params, memory, z = adapted
        if samples == 0:
            return Gaussian(*decode(params, ((memory, z), x)))
        many = jax.vmap(lambda z: decode(params, ((memory, z), x)), out_axes=1)
        return Gaussian(*many(z))

    return Learner(adapt, predict)


def neural_process_loss(encode: Apply, decode: Apply) -> Loss:
    """The negative evidence bound a query; without a latent path, the negative log likelihood.

        −(1/Q) (E_{z ~ q(z|S∪Q)} Σ_q log p(y_q | x_q, S, z) − KL(q(z | S∪Q) ‖ q(z | S)))

    One latent is drawn, with the key in support.x, from what support and query together say.

    Args:
        encode, decode: as in `neural_process`.

    Returns:
        `loss(params, task) -> (scalar, Gaussian [Q, E])`.

    Raises:
        ValueError: a network with a latent path, and a support.x that is no `Context`.

    Neural Processes (Garnelo et al., 2018, arXiv:1807.01622), section 2; Attentive Neural Processes
    (Kim et al., 2019, arXiv:1901.05761), section 2.
    """

    def loss(params: Params, task: Task) -> tuple[Scalar, Gaussian]:
        points = _points(task.support)
        memory, latent = encode(params, points)
        if latent is None:
            outputs = Gaussian(*decode(params, ((memory, None), task.query.x)))
            return gaussian_nll(outputs, task.query.y), outputs
        query = (task.query.x, task.query.y, jnp.ones(len(task.query.y), bool))
        both = [jnp.concatenate(pair) for pair in zip(points, query, strict=True)]
        posterior = Gaussian(*encode(params, tuple(both))[1])
        z = _draw(_key(task.support), posterior)
        outputs = Gaussian(*decode(params, ((memory, z), task.query.x)))
        divergence = gaussian_kl(posterior, Gaussian(*latent)) / len(task.query.y)
        return gaussian_nll(outputs, task.query.y) + divergence, outputs

    return loss


def _points(support: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x [S, D], y [S, E] and the mask [S]: all there, unless a `Context` says otherwise."""
    if isinstance(support.x, Context):
        return support.x.x, support.y, support.x.mask
    return support.x, support.y, jnp.ones(len(support.x), bool)


def _key(support: Batch) -> jax.Array:
    if not isinstance(support.x, Context):
        raise ValueError(
            f"a latent is drawn with the key in support.x, but that is a "
            f"{type(support.x).__name__}; make it a Context(x, mask, key), or pass the task "
            "through random_context."
        )
    return support.x.key


def _draw(key: jax.Array, latent: Gaussian) -> jax.Array:
    noise = jax.random.normal(key, latent.mean.shape, latent.mean.dtype)
    return latent.mean + latent.scale * noise

"""Neural processes: a learner and its training loss."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core import (
    Adapted,
    Batch,
    Key,
    Learner,
    Loss,
    MethodNet,
    Params,
    PyTree,
    Scalar,
    Task,
)
from jmeta.core._networks import require_net
from jmeta.losses import Gaussian, gaussian_kl, gaussian_nll


class Points(NamedTuple):
    """Inputs of a regression with a mask of those that belong to the support set."""

    x: jax.Array  # [S, D]
    mask: jax.Array  # [S] bool: the point belongs to the support set


def random_size(key: Key, task: Task, *, smallest: int = 1) -> Task:
    """Keep a random number of support points, uniform in smallest..S.

    Neural processes train on support sets of many sizes. The arrays keep their shapes, and a mask
    marks the points that are kept.

    Args:
        key: determines the number of points and the new key of the support set.
        task: a regression task with support inputs [S, D].
        smallest: the smallest number of points.

    Returns:
        The task, in which `support.x` is a `Points` and `support.key` is a key for the latent.

    Raises:
        ValueError: `smallest` is not in 0..S.

    >>> batch = Batch(jnp.ones((3, 1)), jnp.ones((3, 1)))
    >>> random_size(jax.random.key(0), Task(batch, batch), smallest=3).support.x.mask.tolist()
    [True, True, True]
    """
    x, y, _ = task.support
    if not 0 <= smallest <= len(x):
        raise ValueError(
            f"random_size got smallest={smallest} for {len(x)} support points; give a number "
            "from 0 to that."
        )
    size_key, latent_key = jax.random.split(key)
    size = jax.random.randint(size_key, (), smallest, len(x) + 1)
    return task._replace(support=Batch(Points(x, jnp.arange(len(x)) < size), y, latent_key))


def neural_process(net: MethodNet, *, samples: int = 0) -> Learner:
    """Predict a function from a set of its points: CNP, NP or ANP, depending on the network.

        memory, z = encode(θ, x_S, y_S),   p(y | x) = N(μ(memory, z, x), σ(memory, z, x)²)

    Args:
        net: a network with the methods `encode((x [S, D], y [S, E], mask [S])) -> (memory,
            latent)`, where latent is (mean [Z], deviation [Z]) or None, and `decode((memory, z),
            x [Q, D]) -> (mean [Q, E], deviation [Q, E])`, such as `jmeta.nn.NeuralProcess`.
        samples: L, the number of latents that are drawn with `support.key`. With 0 the prediction
            is that at the mean of the latent, and no key is needed.

    Returns:
        A learner whose outputs are `Gaussian`, [Q, E] or, with samples, [Q, L, E]. Its support
        inputs are an array [S, D] or `Points`.

    Raises:
        ValueError: `samples` is negative, or it is positive and there is no key or no latent.

    Neural Processes (Garnelo et al., 2018, arXiv:1807.01622).

    >>> from jmeta.nn import NeuralProcess
    >>> learner = neural_process(NeuralProcess(width=8))
    >>> batch = Batch(jnp.ones((2, 1)), jnp.array([[1.0], [3.0]]))
    >>> params = learner.init(jax.random.key(0), Task(batch, batch))
    >>> learner.predict(learner.adapt(params, batch), jnp.ones((5, 1))).mean.shape
    (5, 1)
    """
    require_net(net, of="neural_process")
    if samples < 0:
        raise ValueError(f"neural_process expects samples >= 0, but got {samples}.")

    def init(key: Key, task: Task) -> Params:
        return net.init(key, _points(task.support), task.query.x)

    def adapt(params: Params, support: Batch) -> Adapted:
        memory, latent = net.apply(params, _points(support), method="encode")
        if samples == 0:
            return params, memory, None if latent is None else latent[0]
        if latent is None:
            raise ValueError("samples > 0 needs a network with a latent path; use samples=0.")
        draw = jax.vmap(lambda key: _draw(key, Gaussian(*latent)))
        return params, memory, draw(jax.random.split(_key(support), samples))

    def predict(adapted: Adapted, x: PyTree) -> Gaussian:
        params, memory, z = adapted

        def decode(z: jax.Array | None) -> tuple[jax.Array, jax.Array]:
            return net.apply(params, (memory, z), x, method="decode")

        return Gaussian(*(decode(z) if samples == 0 else jax.vmap(decode, out_axes=1)(z)))

    return Learner(init, adapt, predict)


def neural_process_loss(net: MethodNet) -> Loss:
    """The negative evidence lower bound per query, in nats: the training loss of neural processes.

        −(1/Q) (E_{z ~ q(z|S∪Q)} Σ_q log p(y_q | x_q, S, z) − KL(q(z | S∪Q) ‖ q(z | S)))

    One latent is drawn from q(z | S∪Q) with `support.key`. For a network without a latent path the
    loss is the negative log likelihood.

    Args:
        net: the network of the learner `neural_process`, whose parameters the loss takes.

    Returns:
        `loss(params, task) -> (scalar, Gaussian [Q, E])`.

    Raises:
        ValueError: the network has a latent path, and the support set has no key.

    Neural Processes (Garnelo et al., 2018, arXiv:1807.01622), section 2; Attentive Neural Processes
    (Kim et al., 2019, arXiv:1901.05761), section 2.
    """

    require_net(net, of="neural_process_loss")

    def decode(params: Params, state: PyTree, x: PyTree) -> Gaussian:
        return Gaussian(*net.apply(params, state, x, method="decode"))

    def loss(params: Params, task: Task) -> tuple[Scalar, Gaussian]:
        points = _points(task.support)
        memory, latent = net.apply(params, points, method="encode")
        if latent is None:
            outputs = decode(params, (memory, None), task.query.x)
            return gaussian_nll(outputs, task.query.y), outputs
        query = (task.query.x, task.query.y, jnp.ones(len(task.query.y), bool))
        both = tuple(jnp.concatenate(pair) for pair in zip(points, query, strict=True))
        posterior = Gaussian(*net.apply(params, both, method="encode")[1])
        z = _draw(_key(task.support), posterior)
        outputs = decode(params, (memory, z), task.query.x)
        divergence = gaussian_kl(posterior, Gaussian(*latent)) / len(task.query.y)
        return gaussian_nll(outputs, task.query.y) + divergence, outputs

    return loss


def _points(support: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """x [S, D], y [S, E] and the mask [S], which is true everywhere unless x is a `Points`."""
    if isinstance(support.x, Points):
        return support.x.x, support.y, support.x.mask
    return support.x, support.y, jnp.ones(support.x.shape[0], bool)


def _key(support: Batch) -> Key:
    if support.key is None:
        raise ValueError(
            "a latent is drawn with the key of the support set, which has none; give it one, "
            "Batch(x, y, key), as the samplers of jmeta.data and random_size do."
        )
    return support.key


def _draw(key: Key, latent: Gaussian) -> jax.Array:
    noise = jax.random.normal(key, latent.mean.shape, latent.mean.dtype)
    return latent.mean + latent.scale * noise

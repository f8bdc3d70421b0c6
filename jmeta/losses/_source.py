"""What is known from a source, as a term beside the loss of a target: transfer learning."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jmeta.core._numbers import require_weight
from jmeta.core._padding import blanked, real_examples
from jmeta.core._tree import is_fixed, paths_of
from jmeta.core._types import Loss, Outputs, Params, PyTree, Scalar, Task


def with_source(target: Loss, source: Loss, weight: float | jax.Array) -> Loss:
    """Add a term that a source contributes to the loss of a target.

        L(θ) = L_target(θ) + λ L_source(θ)

    Both are losses of one task, (params, task) -> (scalar, outputs): `l2_sp`, `feature_matching`,
    or any loss of the library, such as `episodic(learner, objective)` on the tasks of the source.
    Where the two have tasks of their own, let each take its part of a pair:
    `with_source(lambda p, both: target(p, both[0]), lambda p, both: source(p, both[1]), 0.1)`.
    The sum is a loss, so a third term is added by a second call.

    Args:
        target: L_target.
        source: L_source, whose outputs are not used.
        weight: λ ≥ 0, which may be traced, such as a schedule of the number of updates.

    Returns:
        `loss(params, task) -> (scalar, outputs of the target)`.

    Raises:
        ValueError: one of the losses is not a function, or the weight is negative.

    A Survey on Transfer Learning (Pan, Yang, 2010, IEEE Transactions on Knowledge and Data
    Engineering 22), which names what is transferred: instances, features, parameters.

    >>> near = l2_sp({"w": jnp.zeros(2)}, alpha=1.0)
    >>> loss = with_source(lambda p, task: (jnp.sum(p["w"]), task), near, 0.5)
    >>> float(loss({"w": jnp.ones(2)}, None)[0])
    2.5
    """
    for name, term in {"target": target, "source": source}.items():
        if not callable(term):
            raise ValueError(
                f"with_source expects losses, functions (params, task) -> (scalar, outputs), but "
                f"the {name} is {type(term).__name__}."
            )
    require_weight(weight, name="weight", of="with_source")

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        value, outputs = target(params, task)
        return value + weight * source(params, task)[0], outputs

    return loss


def l2_sp(start: Params, *, alpha: float | jax.Array = 0.1, beta: float | jax.Array = 0.01) -> Loss:
    """Hold parameters near a starting point, and those that it has not near zero: L²-SP.

        L(w) = α/2 Σ_shared |w − w⁰|² + β/2 Σ_new |w|²

    A leaf is shared if `start` has one of the same path, such as "params/Conv_0/kernel". A fresh
    head is new. Collections that are not learned, such as running statistics, are left out.

    Args:
        start: w⁰, the parameters of the source, or the part of them that is shared.
        alpha: α ≥ 0. The paper chooses it by validation, among powers of ten.
        beta: β ≥ 0, which is 0.01 throughout the paper.

    Returns:
        `loss(params, task) -> (scalar, ())`, which does not read the task.

    Raises:
        ValueError: a strength is negative. When the loss meets parameters: they share no leaf with
            `start`, or leaves of one path have different shapes.

    Explicit Inductive Bias for Transfer Learning with Convolutional Networks (Li, Grandvalet,
    Davoine, 2018, arXiv:1802.01483), equation 3.

    >>> loss = l2_sp({"body": jnp.ones(2)}, alpha=2.0, beta=4.0)
    >>> float(loss({"body": jnp.zeros(2), "head": jnp.ones(3)}, None)[0])
    8.0
    """
    require_weight(alpha, name="alpha", of="l2_sp")
    require_weight(beta, name="beta", of="l2_sp")
    wanted = _learned(start)

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        del task
        here = _learned(params)
        _require_alike(here, wanted)
        shared = [jnp.sum((w - wanted[path]) ** 2) for path, w in here.items() if path in wanted]
        new = [jnp.sum(w**2) for path, w in here.items() if path not in wanted]
        zero = jnp.zeros(())
        return alpha / 2 * sum(shared, zero) + beta / 2 * sum(new, zero), ()

    return loss


def feature_matching(
    features: Callable[[Params, PyTree], PyTree], source: Callable[[PyTree], PyTree]
) -> Loss:
    """Keep the features of a network like those of the network that it started from.

        L(w) = Σ_l mean (f_l(w, x) − f⁰_l(x))²,   over the real query inputs x of a task

    Args:
        features: `(params, inputs [N, ...]) -> features`, an array [N, ...] or a pytree of some,
            one for each layer l; `net.apply`, or a method of it.
        source: `inputs -> features` of the network of the source, of the same structure and shapes;
            no gradient goes through it. `functools.partial(net.apply, start)` where the network is
            the same.

    Returns:
        `loss(params, task) -> (scalar, features [Q, ...])`.

    Raises:
        ValueError: an argument is not a function; from the loss, the features of the two are not
            alike.

    FitNets: Hints for Thin Deep Nets (Romero et al., 2015, arXiv:1412.6550); DELTA: Deep Learning
    Transfer using Feature Map with Attention (Li et al., 2019, arXiv:1901.09229), without its
    weights for channels.

    >>> from jmeta.core import Batch
    >>> loss = feature_matching(lambda w, x: w * x, lambda x: x)
    >>> one = Batch(jnp.array([[2.0], [9.0]]), jnp.array([0, -1]))
    >>> float(loss(jnp.array(2.0), Task(one, one))[0])
    4.0
    """
    if not (callable(features) and callable(source)):
        raise ValueError(
            "feature_matching expects two functions, features(params, inputs) and source(inputs), "
            f"but got {type(features).__name__} and {type(source).__name__}."
        )

    def loss(params: Params, task: Task) -> tuple[Scalar, Outputs]:
        x, real = task.query.x, real_examples(task.query.y)
        x = x if real is None else blanked(x, real)
        here, there = features(params, x), jax.lax.stop_gradient(source(x))
        found, wanted = (jax.tree.map(jnp.shape, tree) for tree in (here, there))
        if found != wanted:
            raise ValueError(
                f"feature_matching got features of shape {found} and, of the source, {wanted}; "
                "compare layers of one shape, through a projection if need be."
            )
        terms = jax.tree.map(lambda a, b: _mean((a - b) ** 2, real), here, there)
        return jax.tree.reduce(jnp.add, terms, jnp.zeros(())), here

    return loss


def _mean(values: jax.Array, real: jax.Array | None) -> Scalar:
    """The mean over real examples [N] and all that each of them has."""
    each = jnp.mean(values.reshape(values.shape[0], -1), axis=1)
    if real is None:
        return jnp.mean(each)
    return jnp.sum(jnp.where(real, each, 0)) / jnp.maximum(jnp.sum(real), 1)


def _learned(params: Params) -> dict[str, jax.Array]:
    """The leaves that are learned, by path."""
    fixed = [is_fixed(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    named = paths_of(params).items()
    return {path: leaf for (path, leaf), out in zip(named, fixed, strict=True) if not out}


def _require_alike(here: dict[str, jax.Array], wanted: dict[str, jax.Array]) -> None:
    """Refuse parameters that have nothing in common, or leaves of one path and two shapes."""
    if not here.keys() & wanted.keys():
        raise ValueError(
            f"l2_sp shares no leaf with its start: the parameters are {', '.join(here)}, and the "
            f"start has {', '.join(wanted)}."
        )
    unlike = [
        f"{path} of shape {np.shape(leaf)} and {np.shape(wanted[path])} at the start"
        for path, leaf in here.items()
        if path in wanted and np.shape(leaf) != np.shape(wanted[path])
    ]
    if unlike:
        raise ValueError(
            f"l2_sp got leaves of different shapes: {'; '.join(unlike)}; leave these out of the "
            "start, and they count as new."
        )

"""Heads: classifiers over embeddings that are fitted to a support set; and class means."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta.core import Outputs, PyTree
from jmeta.distances import Distance, squared_euclidean, unit

Features = Literal["UN", "L2N", "CL2N"]


class Head(NamedTuple):
    """Two pure functions over embeddings; usable with no learner at all.

    Labels of -1 are padding and count for nothing. A class without a support example can never
    be predicted: its logit is the least finite number.
    """

    fit: Callable[[PyTree, jax.Array], PyTree]  # embeddings [S, D], labels [S] -> state
    predict: Callable[[PyTree, PyTree], Outputs]  # state, embeddings [Q, D] -> logits [Q, N]


class Prototypes(NamedTuple):
    """One mean embedding a class."""

    means: PyTree  # [N, D]
    present: jax.Array  # [N] bool: the class has a support example


def membership(labels: jax.Array, ways: int, dtype: jax.typing.DTypeLike) -> jax.Array:
    """One row an example, one column a class: [S] -> [S, N], zeros where the label is -1.

    Raises:
        ValueError: labels that are no integers [S].

    >>> membership(jnp.array([1, -1]), 2, jnp.float32).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    dtype_of = getattr(labels, "dtype", type(labels).__name__)
    if not hasattr(labels, "ndim") or not np.issubdtype(dtype_of, np.integer) or labels.ndim != 1:
        raise ValueError(
            f"a head expects an array of integer labels [S], but got {dtype_of} of shape "
            f"{np.shape(labels)}; number the classes 0 to N - 1 (numpy.unique with "
            "return_inverse does that). A batch of tasks goes through jax.vmap."
        )
    return jax.nn.one_hot(labels, ways, dtype=dtype)


def class_sums(embeddings: PyTree, labels: jax.Array, *, ways: int) -> PyTree:
    """Σ of the embeddings of each class, leaf by leaf: [S, ...], [S] -> [N, ...].

    Raises:
        ValueError: labels that are no integers [S].

    >>> class_sums(jnp.array([[1.0], [2.0], [4.0]]), jnp.array([0, 1, 1]), ways=2).tolist()
    [[1.0], [6.0]]
    """

    def leaf(z: jax.Array) -> jax.Array:
        return jnp.tensordot(membership(labels, ways, z.dtype), z, (0, 0))

    return jax.tree.map(leaf, embeddings)


def class_means(embeddings: PyTree, labels: jax.Array, *, ways: int) -> Prototypes:
    """The mean embedding of each class, leaf by leaf; 0 for a class without examples.

    Raises:
        ValueError: labels that are no integers [S].

    >>> class_means(jnp.array([[1.0], [2.0], [4.0]]), jnp.array([0, 1, 1]), ways=3).means.tolist()
    [[1.0], [3.0], [0.0]]
    """
    counts = membership(labels, ways, jnp.int32).sum(0)

    def leaf(sums: jax.Array) -> jax.Array:
        size = jnp.maximum(counts, 1).astype(sums.dtype)
        return sums / size.reshape(-1, *(1,) * (sums.ndim - 1))

    means = jax.tree.map(leaf, class_sums(embeddings, labels, ways=ways))
    return Prototypes(means, counts > 0)


def only_present(logits: jax.Array, present: jax.Array) -> jax.Array:
    """Logits [Q, N] with the least finite number where a class is not `present` [N].

    >>> only_present(jnp.zeros((1, 2)), jnp.array([True, False]))[0, 1] < -3e38
    Array(True, dtype=bool)
    """
    return jnp.where(present[None, :], logits, jnp.finfo(logits.dtype).min)


def check_ways(ways: int, *, name: str) -> None:
    """Refuse fewer than one class.

    Raises:
        ValueError: `ways` is less than 1.

    >>> check_ways(5, name="prototypical")
    """
    if ways < 1:
        raise ValueError(
            f"{name} expects ways >= 1, but got {ways}; give the number of classes of an episode."
        )


def require_head(head: Any, *, of: str) -> None:
    """Refuse what is not a head.

    Raises:
        ValueError: `head` has no `fit` and `predict`.
    """
    if not (callable(getattr(head, "fit", None)) and callable(getattr(head, "predict", None))):
        raise ValueError(
            f"{of} expects a head such as jmeta.prototypical(ways), but got "
            f"{type(head).__name__}; check the order of the arguments."
        )


def prototypical(
    ways: int, *, distance: Distance = squared_euclidean, scale: float | jax.Array = 1.0
) -> Head:
    """Nearest class mean: logits_n(z) = −s d(z, c_n), c_n = mean of class n's embeddings.

    Args:
        ways: N, the number of classes of an episode (static, never read off the labels).
        distance: d, from `jmeta.distances`: `squared_euclidean` as in the paper, or `cosine`,
            which needs a scale of about 10. Embeddings may be pytrees; the distances of their
            leaves are added up.
        scale: s, the inverse temperature; may be a traced, learned array.

    Raises:
        ValueError: `ways` is less than 1, or a distance that is not a function.

    Prototypical Networks for Few-shot Learning (Snell, Swersky, Zemel, 2017,
    arXiv:1703.05175).

    >>> head = prototypical(2)
    >>> state = head.fit(jnp.array([[0.0], [2.0], [4.0]]), jnp.array([0, 1, 1]))
    >>> head.predict(state, jnp.array([[1.0]])).tolist()
    [[-1.0, -4.0]]
    """
    check_ways(ways, name="prototypical")
    if not callable(distance):
        raise ValueError(
            f"prototypical expects a function of jmeta.distances, such as squared_euclidean or "
            f"cosine, but got distance={distance!r}."
        )

    def fit(embeddings: PyTree, labels: jax.Array) -> Prototypes:
        return class_means(embeddings, labels, ways=ways)

    def predict(state: Prototypes, embeddings: PyTree) -> jax.Array:
        logits = -scale * distance(embeddings, state.means)
        return only_present(logits, state.present)

    return Head(fit, predict)


def transformed(head: Head, transform: Callable[[PyTree], PyTree]) -> Head:
    """The same head over transformed embeddings, support and query alike.

    Raises:
        ValueError: something that is not a head.

    >>> head = transformed(prototypical(2), lambda z: z * 0)
    >>> state = head.fit(jnp.array([[1.0], [2.0]]), jnp.array([0, 1]))
    >>> float(head.predict(state, jnp.array([[5.0]]))[0, 1])
    -0.0
    """
    require_head(head, of="transformed")

    def fit(embeddings: PyTree, labels: jax.Array) -> PyTree:
        return head.fit(transform(embeddings), labels)

    def predict(state: PyTree, embeddings: PyTree) -> Outputs:
        return head.predict(state, transform(embeddings))

    return Head(fit, predict)


def nearest_centroid(
    ways: int,
    *,
    features: Features = "CL2N",
    base_mean: PyTree | None = None,
    distance: Distance = squared_euclidean,
    scale: float | jax.Array = 1.0,
) -> Head:
    """SimpleShot: nearest class mean of features that are centred and scaled to length 1.

        UN: z      L2N: z / |z|      CL2N: (z − m) / |z − m|

    Args:
        ways: N, static.
        features: "UN", "L2N" or "CL2N", the paper's names.
        base_mean: m [D], the mean feature of the base (training) classes, for "CL2N".
        distance, scale: see `prototypical`.

    Raises:
        ValueError: unknown features, "CL2N" without a mean, another one with a mean.

    SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot Learning (Wang, Chao,
    Weinberger, van der Maaten, 2019, arXiv:1911.04623).

    >>> head = nearest_centroid(2, base_mean=jnp.array([1.0, 1.0]))
    >>> state = head.fit(jnp.array([[1.0, 3.0], [3.0, 1.0]]), jnp.array([0, 1]))
    >>> head.predict(state, jnp.array([[1.0, 9.0]])).tolist()
    [[-0.0, -2.0]]
    """
    if features not in ("UN", "L2N", "CL2N"):
        raise ValueError(
            f"nearest_centroid got features={features!r}; it knows 'UN', 'L2N' and 'CL2N'."
        )
    if (base_mean is None) == (features == "CL2N"):
        raise ValueError(
            f"nearest_centroid got features={features!r} and base_mean={base_mean}; 'CL2N' needs "
            "the mean feature [D] of the training classes, the others none."
        )

    def transform(embeddings: PyTree) -> PyTree:
        if features == "CL2N":
            embeddings = jax.tree.map(lambda z, m: z - m[None], embeddings, base_mean)
        return embeddings if features == "UN" else unit(embeddings)

    return transformed(prototypical(ways, distance=distance, scale=scale), transform)

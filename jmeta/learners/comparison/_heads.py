"""Heads, which are classifiers of embeddings that are fitted to a support set, and class means."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jmeta.core import Outputs, PyTree
from jmeta.core._labels import one_hot, require_range
from jmeta.core._numbers import at_least_float32, require_positive
from jmeta.core._padding import again_marked, blanked, is_transductive, unmarked
from jmeta.distances import Distance, squared_euclidean, unit

Features = Literal["UN", "L2N", "CL2N"]


class Head(NamedTuple):
    """A classifier of embeddings as two pure functions, which need no learner.

    Examples with the label -1 are padding and are ignored. A class without a support example is
    never predicted, since its logit is the lowest finite number.

    If `transductive` is true, the logits of a query depend on the other queries of the call, and
    `predict` also takes `Padded(embeddings, real)`, which says which of them are padding.
    """

    fit: Callable[[PyTree, jax.Array], PyTree]  # embeddings [S, D], labels [S] -> state
    predict: Callable[[PyTree, PyTree], Outputs]  # state, embeddings [Q, D] -> logits [Q, N]
    transductive: bool = False

    @property
    def masked(self) -> bool:
        """Whether `predict` takes `Padded` embeddings, as transductive heads do."""
        return self.transductive


class Prototypes(NamedTuple):
    """The mean embedding of each class."""

    means: PyTree  # [N, D]
    present: jax.Array  # [N] bool: the class has a support example


def membership(labels: jax.Array, ways: int, dtype: jax.typing.DTypeLike) -> jax.Array:
    """One-hot labels: [S] -> [S, N], with zeros in the rows where the label is -1.

    Raises:
        ValueError: the labels are not integers [S], or one of them is not in -1..N - 1. Where the
            values are traced, a label out of range makes its row NaN.

    >>> membership(jnp.array([1, -1]), 2, jnp.float32).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    dtype_of = getattr(labels, "dtype", type(labels).__name__)
    if not hasattr(labels, "ndim") or not np.issubdtype(dtype_of, np.integer) or labels.ndim != 1:
        raise ValueError(
            f"a head expects an array of integer labels [S], but got {dtype_of} of shape "
            f"{np.shape(labels)}; number the classes 0 to N - 1 (numpy.unique with "
            "return_inverse does that). Use jax.vmap for a batch of tasks."
        )
    require_range(labels, ways, of="a head")
    return one_hot(labels, ways, dtype)


def class_sums(embeddings: PyTree, labels: jax.Array, *, ways: int) -> PyTree:
    """The sum of the embeddings of each class, leaf by leaf: [S, ...], [S] -> [N, ...].

    It is in float32 or wider, whatever the embeddings are.

    Args:
        embeddings: [S, ...], or a pytree of such arrays.
        labels: [S] integers, -1 for padding.
        ways: N, the number of classes (static).

    Raises:
        ValueError: the labels are not integers [S].

    >>> class_sums(jnp.array([[1.0], [2.0], [4.0]]), jnp.array([0, 1, 1]), ways=2).tolist()
    [[1.0], [6.0]]
    """

    def leaf(z: jax.Array) -> jax.Array:
        z = at_least_float32(z)
        members = membership(labels, ways, z.dtype)
        return jnp.tensordot(members, z, (0, 0), precision="highest")

    return jax.tree.map(leaf, real_rows(embeddings, labels))


def real_rows(embeddings: PyTree, labels: jax.Array) -> PyTree:
    """Embeddings [S, ...] with zeros in the padded rows, whose label is -1.

    Whatever stands in a padded row, such as a NaN, can then not reach a head.

    >>> real_rows(jnp.array([[1.0], [jnp.nan]]), jnp.array([0, -1])).tolist()
    [[1.0], [0.0]]
    """
    return blanked(embeddings, labels != -1)


def class_means(embeddings: PyTree, labels: jax.Array, *, ways: int) -> Prototypes:
    """The mean embedding of each class, leaf by leaf; 0 for a class without examples.

    Args:
        embeddings, labels, ways: see `class_sums`.

    Raises:
        ValueError: the labels are not integers [S].

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
    """Logits [Q, N], with the lowest finite number for classes that are not `present` [N].

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
    """Classify by the nearest class mean.

        logits_n(z) = −s d(z, c_n),   c_n = mean of the support embeddings of class n

    Args:
        ways: N, the number of classes of an episode. It is static and not read from the labels.
        distance: d, from `jmeta.distances`: `squared_euclidean` as in the paper, or `cosine`,
            which needs a scale of about 10. Embeddings may be pytrees, whose distances are added
            up over their leaves.
        scale: s, the inverse temperature, which may be a traced, learned array.

    Returns:
        A head.

    Raises:
        ValueError: `ways` is less than 1, `scale` is not positive, or `distance` is not a function.

    Prototypical Networks for Few-shot Learning (Snell, Swersky, Zemel, 2017,
    arXiv:1703.05175).

    >>> head = prototypical(2)
    >>> state = head.fit(jnp.array([[0.0], [2.0], [4.0]]), jnp.array([0, 1, 1]))
    >>> head.predict(state, jnp.array([[1.0]])).tolist()
    [[-1.0, -4.0]]
    """
    check_ways(ways, name="prototypical")
    require_positive(scale, name="scale", of="prototypical")
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
    """The same head with a transformation of all embeddings, of support and queries alike.

    Args:
        head: any head.
        transform: embeddings -> embeddings.

    Raises:
        ValueError: `head` is not a head.

    >>> head = transformed(prototypical(2), lambda z: z * 0)
    >>> state = head.fit(jnp.array([[1.0], [2.0]]), jnp.array([0, 1]))
    >>> float(head.predict(state, jnp.array([[5.0]]))[0, 1])
    -0.0
    """
    require_head(head, of="transformed")

    def fit(embeddings: PyTree, labels: jax.Array) -> PyTree:
        return head.fit(transform(embeddings), labels)

    def predict(state: PyTree, embeddings: PyTree) -> Outputs:
        embeddings, real = unmarked(embeddings)
        return head.predict(state, again_marked(head, transform(embeddings), real))

    return Head(fit, predict, is_transductive(head))


def nearest_centroid(
    ways: int,
    *,
    features: Features = "CL2N",
    base_mean: PyTree | None = None,
    distance: Distance = squared_euclidean,
    scale: float | jax.Array = 1.0,
) -> Head:
    """SimpleShot: the nearest class mean of features that are centred and scaled to length 1.

        UN: z      L2N: z / |z|      CL2N: (z − m) / |z − m|

    Args:
        ways: N, the number of classes (static).
        features: "UN", "L2N" or "CL2N", the paper's names.
        base_mean: m [D], the mean feature of the base (training) classes. "CL2N" needs it.
        distance, scale: see `prototypical`.

    Returns:
        A head.

    Raises:
        ValueError: `features` is unknown, or `base_mean` is missing for "CL2N" or given for
            another choice.

    SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot Learning (Wang, Chao,
    Weinberger, van der Maaten, 2019, arXiv:1911.04623).

    >>> head = nearest_centroid(2, base_mean=jnp.array([1.0, 1.0]))
    >>> state = head.fit(jnp.array([[1.0, 3.0], [3.0, 1.0]]), jnp.array([0, 1]))
    >>> head.predict(state, jnp.array([[1.0, 9.0]])).tolist()
    [[-0.0, -2.0]]
    """
    if features not in ("UN", "L2N", "CL2N"):
        raise ValueError(
            f"nearest_centroid got features={features!r}; expected 'UN', 'L2N' or 'CL2N'."
        )
    if (base_mean is None) == (features == "CL2N"):
        raise ValueError(
            f"nearest_centroid got features={features!r} and base_mean={base_mean}; 'CL2N' needs "
            "the mean feature [D] of the training classes, and the others do not use it."
        )

    def transform(embeddings: PyTree) -> PyTree:
        if features == "CL2N":
            embeddings = jax.tree.map(lambda z, m: z - m[None], embeddings, base_mean)
        return embeddings if features == "UN" else unit(embeddings)

    return transformed(prototypical(ways, distance=distance, scale=scale), transform)

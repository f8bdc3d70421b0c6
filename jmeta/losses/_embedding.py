"""Losses of a batch of embeddings and labels, made of a distance, a miner and a reducer.

Each is an `Objective`, `loss(embeddings, labels) -> scalar`; bind its options with
`functools.partial`. Names, defaults and values are those of pytorch-metric-learning (Musgrave,
Belongie, Lim, 2020, arXiv:2008.09164), except that similarities are expressed as negative
distances. Embeddings are arrays [N, D] or pytrees of them. Labels [N] are integers, and -1 marks
padding.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jmeta.core._numbers import require_positive
from jmeta.core._tree import leading_axis
from jmeta.core._types import PyTree, Scalar
from jmeta.distances import Distance, cosine, euclidean, normalized
from jmeta.losses._mining import (
    PairMiner,
    Reducer,
    TripletMiner,
    all_pairs,
    all_triplets,
    avg_non_zero_reducer,
    mean_reducer,
)

UNIT_EUCLIDEAN = normalized(euclidean)


def contrastive(
    embeddings: PyTree,
    labels: jax.Array,
    *,
    distance: Distance = UNIT_EUCLIDEAN,
    miner: PairMiner = all_pairs,
    reducer: Reducer = avg_non_zero_reducer,
    pos_margin: float = 0.0,
    neg_margin: float = 1.0,
) -> Scalar:
    """Pull pairs of the same class together and push other pairs a margin apart.

        reduce_P [d(a, p) − m₊]₊ + reduce_N [m₋ − d(a, n)]₊

    Args:
        embeddings: [N, D], or a pytree of such arrays, whose distances are added up.
        labels: [N] integers, -1 for padding.
        distance: d, one of `jmeta.distances`.
        miner: chooses the pairs, such as `all_pairs` or `hard_pairs`.
        reducer: averages the losses of positive pairs P, and those of negative pairs N.
        pos_margin: m₊, in units of the distance.
        neg_margin: m₋, in units of the distance.

    Returns:
        The loss [].

    Raises:
        ValueError: the labels are not integers [N].

    Dimensionality Reduction by Learning an Invariant Mapping (Hadsell, Chopra, LeCun, 2006,
    CVPR), which squares both terms.

    >>> z = jnp.array([[0.0], [0.5], [0.7]])
    >>> round(float(contrastive(z, jnp.array([0, 0, 1]), distance=euclidean)), 4)
    1.05
    """
    distances = _distances(embeddings, labels, distance)
    pairs = miner(distances, labels)
    pull = reducer(jax.nn.relu(distances - pos_margin), pairs.positive)
    return pull + reducer(jax.nn.relu(neg_margin - distances), pairs.negative)


def triplet_margin(
    embeddings: PyTree,
    labels: jax.Array,
    *,
    distance: Distance = UNIT_EUCLIDEAN,
    miner: TripletMiner = all_triplets,
    reducer: Reducer = avg_non_zero_reducer,
    margin: float = 0.05,
) -> Scalar:
    """Require that a positive is nearer to its anchor than a negative, by a margin.

        reduce_(a,p,n) [d(a, p) − d(a, n) + m]₊

    Args:
        embeddings, labels, distance, reducer: see `contrastive`.
        miner: `all_triplets`, `hard_triplets` or `semihard_triplets(margin)`.
        margin: m, in units of the distance.

    Returns:
        The loss [].

    Raises:
        ValueError: the labels are not integers [N].

    FaceNet: A Unified Embedding for Face Recognition and Clustering (Schroff, Kalenichenko,
    Philbin, 2015, arXiv:1503.03832).

    >>> z = jnp.array([[0.0], [1.0], [1.5]])
    >>> round(float(triplet_margin(z, jnp.array([0, 0, 1]), distance=euclidean)), 4)
    0.55
    """
    triplets = miner(_distances(embeddings, labels, distance), labels)
    return reducer(
        jax.nn.relu(triplets.positive - triplets.negative + margin),
        triplets.mask,
    )


def n_pairs(
    embeddings: PyTree,
    labels: jax.Array,
    *,
    distance: Distance = cosine,
    reducer: Reducer = mean_reducer,
) -> Scalar:
    """Compare the positive of each class with the positives of all other classes.

        reduce_c −log( e^{−d(a_c, p_c)} / Σ_k e^{−d(a_c, p_k)} )

    The anchor a_c and the positive p_c are the first two examples of class c. A class with fewer
    than two examples is left out.

    Args:
        embeddings, labels, reducer: see `contrastive`.
        distance: d. The paper has `dot`, with a penalty on the length of the embeddings.

    Returns:
        The loss [].

    Raises:
        ValueError: the labels are not integers [N].

    Improved Deep Metric Learning with Multi-class N-pair Loss Objective (Sohn, 2016, NeurIPS).

    >>> z = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    >>> round(float(n_pairs(z, jnp.array([0, 0, 1, 1]))), 4)
    0.3133
    """
    distances = _distances(embeddings, labels, distance)
    same = all_pairs(distances, labels).positive
    first = same.any(1) & ~jnp.tril(same).any(1)  # no earlier example of the class
    logits = -distances[:, jnp.argmax(same, 1)]  # column k: the positive of anchor k
    losses = _log_sum(logits, first[None, :]) - jnp.diagonal(logits)
    return reducer(losses, first)


def ntxent(
    embeddings: PyTree,
    labels: jax.Array,
    *,
    distance: Distance = cosine,
    miner: PairMiner = all_pairs,
    reducer: Reducer = mean_reducer,
    temperature: float | jax.Array = 0.07,
) -> Scalar:
    """Normalised temperature-scaled cross-entropy: a positive pair against the negatives.

        reduce_(a,p) −log( e^{−d(a,p)/τ} / (e^{−d(a,p)/τ} + Σ_n e^{−d(a,n)/τ}) )

    Args:
        embeddings, labels, distance, miner, reducer: see `contrastive`. In SimCLR, the two views
            of an example share a label.
        temperature: τ > 0, which may be a traced array.

    Returns:
        The loss [].

    Raises:
        ValueError: the labels are not integers [N], or the temperature is not positive.

    A Simple Framework for Contrastive Learning of Visual Representations (Chen, Kornblith,
    Norouzi, Hinton, 2020, arXiv:2002.05709).

    >>> z = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(float(ntxent(z, jnp.array([0, 0, 1]), temperature=1.0)), 4)
    0.3133
    """
    require_positive(temperature, name="temperature", of="ntxent")
    distances = _distances(embeddings, labels, distance)
    pairs = miner(distances, labels)
    logits = -distances / temperature
    others = _log_sum(logits, pairs.negative)[:, None]
    return reducer(jnp.logaddexp(logits, others) - logits, pairs.positive)


def sup_con(
    embeddings: PyTree,
    labels: jax.Array,
    *,
    distance: Distance = cosine,
    miner: PairMiner = all_pairs,
    reducer: Reducer = avg_non_zero_reducer,
    temperature: float | jax.Array = 0.1,
) -> Scalar:
    """Supervised contrastive loss: the positives of an anchor against all other examples.

        reduce_a −(1/|P_a|) Σ_p log( e^{−d(a,p)/τ} / Σ_{k ≠ a} e^{−d(a,k)/τ} )

    A batch without any negative pair has nothing to contrast with, and its loss is 0.

    Args:
        embeddings, labels, distance, miner, reducer: see `contrastive`.
        temperature: τ > 0, which may be a traced array.

    Returns:
        The loss [].

    Raises:
        ValueError: the labels are not integers [N], or the temperature is not positive.

    Supervised Contrastive Learning (Khosla et al., 2020, arXiv:2004.11362), equation 2.

    >>> z = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(float(sup_con(z, jnp.array([0, 0, 1]), temperature=1.0)), 4)
    0.3133
    """
    require_positive(temperature, name="temperature", of="sup_con")
    distances = _distances(embeddings, labels, distance)
    pairs = miner(distances, labels)
    logits = -distances / temperature
    total = _log_sum(logits, pairs.positive | pairs.negative)[:, None]
    losses = jnp.sum(jnp.where(pairs.positive, total - logits, 0), 1)
    count = pairs.positive.sum(1)
    return reducer(losses / jnp.maximum(count, 1), (count > 0) & pairs.negative.any())


def _distances(embeddings: PyTree, labels: jax.Array, distance: Distance) -> jax.Array:
    """The distances [N, N] between all embeddings, after a check of the labels."""
    count = leading_axis(embeddings, what="embeddings")
    dtype = getattr(labels, "dtype", None)
    if dtype is None or labels.shape != (count,) or not np.issubdtype(dtype, np.integer):
        raise ValueError(
            f"a loss over {count} embeddings expects an array of integer labels [{count}], but got "
            f"{dtype or type(labels).__name__} of shape {np.shape(labels)}; give one class number "
            "for each embedding."
        )
    return distance(embeddings, embeddings)


def _log_sum(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """log Σ_k e^{logits[:, k]} over the mask; the lowest finite number where it is empty."""
    least = jnp.finfo(logits.dtype).min
    return jax.nn.logsumexp(jnp.where(mask, logits, least), 1)

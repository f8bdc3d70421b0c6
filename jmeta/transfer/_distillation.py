"""Distillation: a student learns from a teacher's softened outputs or from its features."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jmeta.core import Key, Params, Scalar
from jmeta.core._numbers import require_positive
from jmeta.losses import cross_entropy
from jmeta.losses._objectives import masked_mean, require_arrays


def distillation(
    student: jax.Array,
    teacher: jax.Array,
    labels: jax.Array | None = None,
    *,
    temperature: float | jax.Array = 4.0,
    weight: float | jax.Array = 0.9,
) -> Scalar:
    """Match the softened outputs of a teacher, and the labels.

        L = w τ² (1/Q) Σ_q KL(softmax(t_q / τ) ‖ softmax(s_q / τ)) + (1 − w) CE(s, y)

    The factor τ² keeps the gradients of the first term as large as those of the second, whatever
    the temperature. Nothing is learned by the teacher: its logits are constants.

    Args:
        student: s [Q, N] logits.
        teacher: t [Q, N] logits.
        labels: y [Q] integers; -1 marks padding, which neither term sees. None where no labels are
            known: L is then the first term with w = 1.
        temperature: τ, above 0. Higher ones tell more of the classes that the teacher excludes.
        weight: w, the share of the first term, from 0 to 1.

    Returns:
        The loss [], in nats.

    Raises:
        ValueError: the shapes differ, a label is out of range, the temperature is not above 0, or
            the weight is not in 0..1.

    Distilling the Knowledge in a Neural Network (Hinton, Vinyals, Dean, 2015, arXiv:1503.02531).

    >>> teacher = jnp.array([[2.0, 0.0], [0.0, 1.0]])
    >>> float(distillation(teacher, teacher))
    0.0
    >>> loss = distillation(jnp.zeros((2, 2)), teacher, jnp.array([0, -1]), temperature=1.0)
    >>> round(float(loss), 4)
    0.3643
    """
    require_arrays(student, teacher, of="distillation")
    if student.ndim != 2 or student.shape != teacher.shape:
        raise ValueError(
            f"distillation expects logits [Q, N] of student and teacher, but got {student.shape} "
            f"and {teacher.shape}; use jax.vmap for a batch of tasks."
        )
    require_positive(temperature, name="temperature", of="distillation")
    if not isinstance(weight, jax.core.Tracer) and not 0 <= float(weight) <= 1:
        raise ValueError(f"distillation expects a weight from 0 to 1, but got {weight}.")
    own = jax.nn.log_softmax(student / temperature)
    other = jax.nn.log_softmax(jax.lax.stop_gradient(teacher) / temperature)
    apart = jnp.sum(jnp.exp(other) * (other - own), -1)
    if labels is None:
        return temperature**2 * jnp.mean(apart)
    known = cross_entropy(student, labels)
    softened = temperature**2 * masked_mean(apart, labels != -1)
    return weight * softened + (1 - weight) * known


def hint(student: jax.Array, teacher: jax.Array, *, labels: jax.Array | None = None) -> Scalar:
    """Match the features of one of a teacher's layers: the mean squared difference.

        L = (1/QD) Σ |z_student − z_teacher|²

    Features of another width first go through a learned linear layer, the regressor of FitNets,
    which may be any network and is trained with the student:

        regressor = flax.linen.Dense(teacher_features.shape[-1])
        loss = hint(regressor.apply(params["regressor"], z), teacher_features)

    Args:
        student: [Q, ...] features.
        teacher: [Q, ...] features, which are constants.
        labels: [Q] integers, of which only -1 matters: it marks padding. None: nothing is padding.

    Returns:
        The loss [], in squared units of the features.

    Raises:
        ValueError: the shapes differ.

    FitNets: Hints for Thin Deep Nets (Romero, Ballas, Ebrahimi Kahou, Chassang, Gatta, Bengio,
    2015, arXiv:1412.6550), equation 3 with a mean in place of half the sum.

    >>> z = jnp.array([[1.0, 3.0], [9.0, 9.0]])
    >>> float(hint(z, jnp.zeros((2, 2)), labels=jnp.array([4, -1])))
    5.0
    """
    require_arrays(student, teacher, of="hint")
    if student.ndim < 1 or student.shape != teacher.shape:
        raise ValueError(
            f"hint expects features of one shape [Q, ...], but got {student.shape} and "
            f"{teacher.shape}; put a linear layer after the student's."
        )
    if labels is not None and labels.shape != student.shape[:1]:
        raise ValueError(
            f"hint expects labels [Q] for features {student.shape}, but got {labels.shape}."
        )
    apart = jnp.square(student - jax.lax.stop_gradient(teacher))
    each = jnp.mean(apart.reshape(len(apart), -1), -1)
    return jnp.mean(each) if labels is None else masked_mean(each, labels != -1)


def born_again(
    train: Callable[[Key, Params | None], Params], key: Key, *, generations: int
) -> list[Params]:
    """Train generations of one network, each with the one before it as its teacher.

        θ_0 = train(key_0, None),   θ_g = train(key_g, θ_{g−1})

    Every generation starts afresh. Its loss is `distillation`, whose teacher is the previous
    generation; the first has only the labels. The paper's ensemble is the mean of the predicted
    probabilities of all generations.

    Args:
        train: (key, parameters of the teacher, or None) -> trained parameters.
        key: a random key; each generation gets one of its own.
        generations: how many are trained, the first included.

    Returns:
        The parameters of each generation.

    Raises:
        ValueError: fewer than one generation is asked for.

    Born-Again Neural Networks (Furlanello, Lipton, Tschannen, Itti, Anandkumar, 2018,
    arXiv:1805.04770).

    >>> born_again(lambda key, teacher: 1 if teacher is None else teacher + 1,
    ...            jax.random.key(0), generations=3)
    [1, 2, 3]
    """
    if generations < 1:
        raise ValueError(f"born_again expects at least 1 generation, but got {generations}.")
    found: list[Params] = []
    for own in jax.random.split(key, generations):
        found.append(train(own, found[-1] if found else None))
    return found

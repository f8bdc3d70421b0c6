"""Mixtures of examples and of their labels: mixup and CutMix."""

import math

import jax
import jax.numpy as jnp

from jmeta.augment._each import check_images
from jmeta.core._numbers import require_positive


def mixup(
    key: jax.Array, x: jax.Array, y: jax.Array, *, alpha: float = 0.2
) -> tuple[jax.Array, jax.Array]:
    """Mix each example of a batch with another one, and their targets likewise.

        x ← λ x + (1 − λ) x',   y ← λ y + (1 − λ) y',   λ ~ Beta(α, α)

    (x', y') is another example of a random order, and λ one number for the batch.

    Args:
        key: a random key.
        x: floats [N, ...].
        y: one-hot labels or targets [N, D].
        alpha: α > 0; the smaller it is, the more is left of one of the two.

    Raises:
        ValueError: examples that are not floats, targets that are not [N, D], or α ≤ 0.

    mixup: Beyond Empirical Risk Minimization (Zhang, Cisse, Dauphin, Lopez-Paz, 2018,
    arXiv:1710.09412).

    >>> x, y = mixup(jax.random.key(0), jnp.eye(2), jnp.eye(2))
    >>> x.sum().item(), bool((x == y).all())
    (2.0, True)
    """
    _check(x, y, alpha, of="mixup")
    share_key, order_key = jax.random.split(key)
    share = jax.random.beta(share_key, alpha, alpha)
    order = jax.random.permutation(order_key, x.shape[0])
    return _mixed(x, x[order], share), _mixed(y, y[order], share)


def cutmix(
    key: jax.Array, x: jax.Array, y: jax.Array, *, alpha: float = 1.0
) -> tuple[jax.Array, jax.Array]:
    """Paste a rectangle of another image into each image, and mix the labels by its area.

    The rectangle has the shape of the image and the share 1 − λ of its area, λ ~ Beta(α, α), about
    a centre that is uniform over the pixels. What is cut off at the edge is no part of the share.

    Args:
        key: a random key.
        x: float images [N, H, W, C].
        y: one-hot labels [N, D].
        alpha: α > 0.

    Raises:
        ValueError: see `mixup`; or x is no batch of images.

    CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features (Yun, Han,
    Oh, Chun, Choe, Yoo, 2019, arXiv:1905.04899).

    >>> x, y = cutmix(jax.random.key(0), jnp.ones((2, 4, 4, 1)), jnp.eye(2))
    >>> x.shape, y.sum(1).tolist()
    ((2, 4, 4, 1), [1.0, 1.0])
    """
    check_images(x, of="cutmix")
    _check(x, y, alpha, of="cutmix")
    share_key, place_key, order_key = jax.random.split(key, 3)
    side = jnp.sqrt(1 - jax.random.beta(share_key, alpha, alpha))
    centre = jax.random.uniform(place_key, (2,))
    rows, columns = (_segment(x.shape[n + 1], centre[n], side) for n in range(2))
    inside = rows[:, None] & columns[None]
    order = jax.random.permutation(order_key, x.shape[0])
    mixed = jnp.where(inside[None, :, :, None], x[order], x)
    return mixed, _mixed(y, y[order], 1 - inside.mean())


def _segment(length: int, centre: jax.Array, side: jax.Array) -> jax.Array:
    """Which pixels of a row lie within half a side of a centre, both as shares; [length]."""
    place = (jnp.arange(length) + 0.5) / length
    return jnp.abs(place - centre) < side / 2


def _mixed(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
    share = share.astype(a.dtype)
    return share * a + (1 - share) * b


def _check(x: jax.Array, y: jax.Array, alpha: float, *, of: str) -> None:
    if not jnp.issubdtype(x.dtype, jnp.floating) or not jnp.issubdtype(y.dtype, jnp.floating):
        raise ValueError(f"{of} expects floats, but got {x.dtype} and {y.dtype}; cast them.")
    if jnp.ndim(y) != 2 or y.shape[0] != x.shape[0]:
        raise ValueError(
            f"{of} expects targets [{x.shape[0]}, D], such as one-hot labels, but got {y.shape}."
        )
    require_positive(alpha, name="alpha", of=of)
    if not isinstance(alpha, jax.core.Tracer) and not math.isfinite(alpha):
        raise ValueError(f"{of} expects a finite alpha, but got {alpha}.")

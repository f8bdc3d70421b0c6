"""Pooling by plain slices and means, cheap to differentiate again and again."""

import jax
import jax.numpy as jnp


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of each 2x2 square, without overlap.

    A maximum of four strided slices. An odd last row or column is left out (padding "VALID").
    Max-pooling commutes with ReLU and every other monotone activation; pool first, it is cheaper.

    Args:
        x: images [N, H, W, C].

    Returns:
        [N, H // 2, W // 2, C].

    Raises:
        ValueError: fewer than 2x2 pixels.

    >>> import jax.numpy as jnp
    >>> max_pool(jnp.arange(9.0).reshape(1, 3, 3, 1)).ravel().tolist()
    [4.0]
    """
    if x.ndim != 4 or min(x.shape[1:3]) < 2:
        raise ValueError(
            f"max_pool expects images [N, H, W, C] of at least 2x2 pixels, but got {x.shape}; "
            "pool fewer times or give larger images."
        )
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    upper = jnp.maximum(x[:, 0:height:2, 0:width:2], x[:, 0:height:2, 1:width:2])
    lower = jnp.maximum(x[:, 1:height:2, 0:width:2], x[:, 1:height:2, 1:width:2])
    return jnp.maximum(upper, lower)


def mean_pool(x: jax.Array) -> jax.Array:
    """The mean over all pixels: images [N, H, W, C] to vectors [N, C].

    >>> import jax.numpy as jnp
    >>> mean_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).tolist()
    [[1.5]]
    """
    return x.mean((1, 2))

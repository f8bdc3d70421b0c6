"""Images in 0..1 as pretrained networks were given them."""

import jax
import jax.numpy as jnp

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)  # of the channels of ImageNet
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


def standardised(x: jax.Array, mean: Triple, std: Triple, *, of: str) -> jax.Array:
    """RGB images (x - mean) / std; a grey image is the same in all three channels.

    Args:
        x: images [N, H, W, 1 or 3] in 0..1.
        mean, std: of each channel.
        of: the network, for the message.

    Returns:
        Images [N, H, W, 3].

    Raises:
        ValueError: the images have another number of channels, or a deviation is not positive.

    >>> standardised(jnp.ones((1, 1, 1, 1)), (0.5, 0.5, 0.0), (0.5, 1.0, 1.0), of="x").tolist()
    [[[[1.0, 0.5, 1.0]]]]
    """
    if x.shape[-1] not in (1, 3):
        raise ValueError(
            f"{of} takes grey or RGB images [N, H, W, 1 or 3], but got {x.shape}; leave out what "
            "is no colour."
        )
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"{of} got mean={mean}, std={std}; give three of each, with std above 0.")
    centre, scale = (jnp.asarray(v, x.dtype).reshape(1, 1, 1, 3) for v in (mean, std))
    return (jnp.broadcast_to(x, (*x.shape[:-1], 3)) - centre) / scale

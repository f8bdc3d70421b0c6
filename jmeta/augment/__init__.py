"""Augmentation of images on the device, inside a jitted step, determined by a key.

An augmentation is a function `(key, images [N, H, W, C]) -> images` of the same shape and dtype,
which draws for each image on its own. `chain` composes several, `augmented` puts them between a
sampler and a learner, and `turned_classes` makes new classes. `mixup` and `cutmix` mix examples and
labels. Integers are images of 0 to 255, and floats of 0 to 1.

    from jmeta import augment

    change = augment.chain(augment.crop(4), augment.flip(), augment.colour())
    sample = augment.augmented(sample, support=change, query=change)
"""

from jmeta.augment._each import Augment
from jmeta.augment._geometry import affine, crop, flip
from jmeta.augment._mixing import cutmix, mixup
from jmeta.augment._named import named
from jmeta.augment._pixels import colour, cutout
from jmeta.augment._tasks import augmented, chain, sometimes, turned, turned_classes

__all__ = [
    "Augment",
    "affine",
    "augmented",
    "chain",
    "colour",
    "crop",
    "cutmix",
    "cutout",
    "flip",
    "mixup",
    "named",
    "sometimes",
    "turned",
    "turned_classes",
]

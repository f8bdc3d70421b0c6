"""Sets of TensorFlow Datasets (TFDS) by name, read without TensorFlow."""

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jmeta.data._dataset import dataset_from_classes
from jmeta.data._division import Split, choose_large
from jmeta.data._images import Fit, check_fit, resize_image, scale_all
from jmeta.data._limits import check_set
from jmeta.data._omniglot import check_split, omniglot_dataset
from jmeta.data._paths import cache_dir, data_root, writable_root
from jmeta.data._pool import Dataset
from jmeta.data._tfds_omniglot import SPLITS, omniglot_builder, recover_drawings

FORMAT = "array_record"  # the TFDS format that allows random access without TensorFlow


def load_tfds(
    name: str,
    *,
    size: int | None = None,
    split: Split = None,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    fit: Fit = "stretch",
    least: int = 1,
) -> Dataset:
    """Make a data set of any prepared TFDS set that has an image and a class label.

    The examples of all its TFDS splits are pooled by class. The classes are then divided, so that
    no class is in two parts. Prepare the set first with `prepare_tfds`.

    Args:
        name: the TFDS name, e.g. "cifar100" or "oxford_flowers102".
        size: height and width in pixels that every image is scaled to (Lanczos); None keeps the
            images' own.
        split: fractions of the classes for train, val, test, by default (0.64, 0.16, 0.20), or a
            folder with the class names in train.txt, val.txt and test.txt. For "omniglot" it is
            "vinyals" (the default), "lake" or "random", and the size is 28 by default.
        seed: of the shuffle that precedes a division by fractions, or of "random".
        data_dir: where TFDS keeps sets; by default `tfds` under `data_root()`, then `cache_dir()`.
        fit, least: as for `load_folder`; "omniglot" has square images and large classes.

    Raises:
        ValueError: the name is unknown, the set is not prepared, it has no image and class label,
            or the sizes of its images differ and `size` is None.

    An unknown name is one of the errors:

    >>> load_tfds("no_such_set")
    Traceback (most recent call last):
    ...
    ValueError: TFDS has no set 'no_such_set'; see https://www.tensorflow.org/datasets for names.
    """
    check_fit(fit, 28 if name == "omniglot" else size)
    builder = _builder(name, data_dir)
    if builder.name == "omniglot":
        named = "vinyals" if split is None else split
        return _load_omniglot(builder, named, seed, 28 if size is None else size)
    image, label = _find_features(builder.info)
    scale = None if size is None else partial(resize_image, size=size, fit=fit)
    classes = _pool_by_class(_source(builder, "all"), image, label, builder.info, scale)
    counts = {label: len(examples) for label, examples in classes.items()}
    parts, facts = choose_large(counts, split=split, seed=seed, least=least, source=name)
    facts["source"] = _describe_source(builder)
    return dataset_from_classes(classes, name=f"tfds:{name}", parts=parts, info=facts)


def prepare_tfds(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    source: str | os.PathLike[str] | None = None,
) -> Path:
    """Download a TFDS set, write it as array_record, and return the folder of the prepared set.

    Args:
        name: the TFDS name.
        data_dir: where TFDS keeps sets; by default `tfds` under `data_root()` if that is writable,
            else under `cache_dir()`.
        source: for "omniglot" only, a folder with images_background.zip and images_evaluation.zip,
            which are read instead of a download. TFDS's two small extra splits, which repeat
            drawings of the first, are then left out.

    Raises:
        ValueError: the name is unknown, or the download or the preparation fails.

    >>> prepare_tfds("mnist", source="/somewhere")
    Traceback (most recent call last):
    ...
    ValueError: got a source for the TFDS set 'mnist'; only 'omniglot' takes one, so leave it out.
    """
    if source is not None and name != "omniglot":
        raise ValueError(
            f"got a source for the TFDS set {name!r}; only 'omniglot' takes one, so leave it out."
        )
    target = Path(data_dir) if data_dir is not None else writable_root() / "tfds"
    if source is not None:
        builder = omniglot_builder(_tfds(), source=Path(source), data_dir=target)
    else:
        builder = _make_builder(name, target)
    try:
        builder.download_and_prepare(file_format=FORMAT)
    except Exception as error:  # every builder of TFDS has errors of its own
        raise ValueError(
            f"TFDS could not prepare {name!r} in {target} ({type(error).__name__}: {error}); "
            "check the network, the disk and the set's own page."
        ) from error
    return Path(builder.data_dir)


def tfds_dirs(data_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return the folders in which prepared TFDS sets are looked for, in order.

    >>> tfds_dirs("/data/tfds")[0].name
    'tfds'
    """
    if data_dir is not None:
        return [Path(data_dir)]
    return list(dict.fromkeys([data_root() / "tfds", cache_dir() / "tfds"]))


def _tfds() -> Any:
    """The module `tensorflow_datasets`, imported late and without its own warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets as tfds
    return tfds


def _make_builder(name: str, data_dir: Path) -> Any:
    tfds = _tfds()
    try:
        return tfds.builder(name, data_dir=str(data_dir), file_format=FORMAT, try_gcs=False)
    except tfds.core.registered.DatasetNotFoundError:
        raise ValueError(
            f"TFDS has no set {name!r}; see https://www.tensorflow.org/datasets for names."
        ) from None
    except (ImportError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"TFDS cannot open the set {name!r} here ({error}); it may need a package that is "
            "not installed."
        ) from error


def _builder(name: str, data_dir: str | os.PathLike[str] | None) -> Any:
    """A builder for the first folder that has the set prepared, else for the first folder."""
    builders = [_make_builder(name, folder) for folder in tfds_dirs(data_dir)]
    return next((builder for builder in builders if builder.is_prepared()), builders[0])


def _source(builder: Any, split: str, decoders: Any = None) -> Any:
    """One split as a random-access source of examples."""
    try:
        return builder.as_data_source(split=split, decoders=decoders)
    except (AssertionError, KeyError, NotImplementedError, ValueError) as error:
        raise ValueError(
            f"the TFDS set {builder.name!r} is not prepared as {FORMAT} under "
            f"{Path(builder.data_dir).parents[1]}; run `jmeta data prepare tfds:{builder.name}` "
            "once, with a network."
        ) from error


def _find_features(info: Any) -> tuple[str, str]:
    """Names of the image and label features: the supervised pair, else the first of each kind."""
    features = _tfds().features
    found: list[str] = []
    first = info.supervised_keys or ()
    for kind in (features.Image, features.ClassLabel):
        keys = [key for key in info.features if type(info.features[key]) is kind]
        if not keys:
            raise ValueError(
                f"the TFDS set {info.name!r} has the features {sorted(info.features)}, none of "
                f"them a {kind.__name__}; choose a set with an image and a class label."
            )
        found.append(next((key for key in keys if key in first), keys[0]))
    return found[0], found[1]


def _pool_by_class(
    source: Any,
    image: str,
    label: str,
    info: Any,
    scale: Callable[[np.ndarray], np.ndarray] | None,
) -> dict[str, np.ndarray]:
    """Class name -> its examples [n, H, W, C]. Unlabelled examples (-1) are left out."""
    names = info.features[label].names
    members: dict[int, list[np.ndarray]] = {}
    shape = None
    for index in range(len(source)):
        example = source[index]
        pixels = np.asarray(example[image])
        pixels = pixels if scale is None else scale(pixels)
        if shape is None:
            total = len(source) * pixels.nbytes
            check_set(total, what=f"the TFDS set {info.name!r} decodes to")
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise ValueError(
                f"the TFDS set {info.name!r} has images of {shape} and of {pixels.shape}; "
                f"{scale_all(shape, pixels.shape)}"
            )
        if int(example[label]) >= 0:
            members.setdefault(int(example[label]), []).append(pixels)
    return {names[number]: np.stack(members[number]) for number in sorted(members)}


def _describe_source(builder: Any) -> str:
    return f"tensorflow_datasets {builder.info.full_name}, {builder.info.homepage or 'no page'}"


def _load_omniglot(builder: Any, split: Any, seed: int, size: int) -> Dataset:
    check_split(split)
    undecoded = {"image": _tfds().decode.SkipDecoding()}
    images: dict[str, np.ndarray] = {}
    for part in SPLITS:
        source = _source(builder, part, undecoded)
        images |= recover_drawings(source, builder.info, part=part, size=size)
    return omniglot_dataset(images, split=split, seed=seed)

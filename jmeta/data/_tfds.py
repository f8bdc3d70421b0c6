"""TensorFlow Datasets by name, without TensorFlow: any classification set becomes a pool."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jmeta.data._archives import resize_image
from jmeta.data._division import DEFAULT_FRACTIONS, choose_parts, dataset_from_classes
from jmeta.data._omniglot import omniglot_dataset
from jmeta.data._paths import cache_dir, data_root
from jmeta.data._pool import Dataset
from jmeta.data._tfds_omniglot import omniglot_builder, recover_drawings

FORMAT = "array_record"  # the one TFDS format that is read at random and without TensorFlow


def load_tfds(
    name: str,
    *,
    size: int | None = None,
    split: Sequence[float] | str | os.PathLike[str] | None = None,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Make a data set of any prepared TFDS set that has an image and a class label.

    The examples of all its splits are pooled by class; the classes are then divided, so that no
    class is in two parts. Prepare the set first with `prepare_tfds`.

    Args:
        name: the TFDS name, e.g. "cifar100" or "oxford_flowers102".
        size: side in pixels that every image is scaled to (Lanczos); None keeps the images' own.
        split: fractions of the classes for train, val, test, by default (0.64, 0.16, 0.20), or a
            folder with the class names in train.txt, val.txt and test.txt. For "omniglot" one of
            "vinyals" (the default), "lake" and "random"; its size is 28 by default.
        seed: of the shuffle behind the fractions.
        data_dir: where TFDS keeps sets; by default `tfds` under `data_root()`, then `cache_dir()`.

    Raises:
        ValueError: the name is unknown, the set is not prepared, it has no image and class label,
            or the sizes of its images differ and `size` is None.

    Without the prepared set the error says what to do:

    >>> load_tfds("no_such_set")
    Traceback (most recent call last):
    ...
    ValueError: TFDS has no set 'no_such_set'; see https://www.tensorflow.org/datasets for names
    """
    builder = _builder(name, data_dir)
    if builder.name == "omniglot":
        return _load_omniglot(builder, split or "vinyals", seed, 28 if size is None else size)
    image, label = _find_features(builder.info)
    classes = _pool_by_class(_source(builder, "all"), image, label, builder.info, size)
    split = DEFAULT_FRACTIONS if split is None else split
    parts, called = choose_parts(list(classes), split=split, seed=seed)
    facts = {"split": called, "source": _describe_source(builder)}
    return dataset_from_classes(classes, name=f"tfds:{name}", parts=parts, info=facts)


def prepare_tfds(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    source: str | os.PathLike[str] | None = None,
) -> Path:
    """Download a TFDS set and write it as array_record; returns the folder of the prepared set.

    Args:
        name: the TFDS name.
        data_dir: where TFDS keeps sets; by default `tfds` under `data_root()` where that can be
            written, else under `cache_dir()`.
        source: "omniglot" only: a folder with images_background.zip and images_evaluation.zip,
            which are read in place of a download. TFDS's two small extra splits, which repeat
            drawings of the first, are then left out.

    Raises:
        ValueError: the name is unknown, or the download or the preparation fails.

    >>> prepare_tfds("mnist", source="/somewhere")
    Traceback (most recent call last):
    ...
    ValueError: got a source for the TFDS set 'mnist'; only 'omniglot' is read from local zips
    """
    if source is not None and name != "omniglot":
        raise ValueError(
            f"got a source for the TFDS set {name!r}; only 'omniglot' is read from local zips"
        )
    target = Path(data_dir) if data_dir is not None else writable_root() / "tfds"
    if source is not None:
        builder = omniglot_builder(_tfds(), source=Path(source), data_dir=target)
    else:
        builder = _make_builder(name, target)
    try:
        builder.download_and_prepare(file_format=FORMAT)
    except Exception as error:  # the builders of TFDS fail in as many ways as they are many
        raise ValueError(
            f"TFDS could not prepare {name!r} in {target} ({type(error).__name__}: {error}); "
            "check the network, the disk and the set's own page"
        ) from error
    return Path(builder.data_dir)


def tfds_dirs(data_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """Folders in which prepared TFDS sets are looked for, in order.

    >>> tfds_dirs("/data/tfds")[0].name
    'tfds'
    """
    if data_dir is not None:
        return [Path(data_dir)]
    return list(dict.fromkeys([data_root() / "tfds", cache_dir() / "tfds"]))


def writable_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The data root where it can be written, else the cache.

    A folder without any write permission counts as read-only even for a user who may override it.

    Args:
        root: as for `data_root`.

    >>> writable_root("/tmp").is_absolute()
    True
    """
    place = data_root(root)
    existing = next(p for p in (place, *place.absolute().parents) if p.exists())
    writable = os.access(existing, os.W_OK) and existing.stat().st_mode & 0o222
    return place if writable else cache_dir()


def _tfds() -> Any:
    """TensorFlow Datasets itself, imported late; what it warns of on import is not ours to fix."""
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
            f"TFDS has no set {name!r}; see https://www.tensorflow.org/datasets for names"
        ) from None
    except (ImportError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"TFDS cannot open the set {name!r} here ({error}); it may need a package that is "
            "not installed"
        ) from error


def _builder(name: str, data_dir: str | os.PathLike[str] | None) -> Any:
    """The builder from the first folder that has the set, else from the first folder."""
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
            "once, with a network"
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
                f"them a {kind.__name__}; choose a set with an image and a class label"
            )
        found.append(next((key for key in keys if key in first), keys[0]))
    return found[0], found[1]


def _pool_by_class(
    source: Any, image: str, label: str, info: Any, size: int | None
) -> dict[str, np.ndarray]:
    """Class name -> its examples `[n, H, W, C]`; an unlabelled example (-1) is left out."""
    names = info.features[label].names
    members: dict[int, list[np.ndarray]] = {}
    shape = None
    for index in range(len(source)):
        example = source[index]
        pixels = np.asarray(example[image])
        pixels = pixels if size is None else resize_image(pixels, size)
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise ValueError(
                f"the TFDS set {info.name!r} has images of {shape} and of {pixels.shape}; give "
                "`size` to scale all to one"
            )
        if int(example[label]) >= 0:
            members.setdefault(int(example[label]), []).append(pixels)
    return {names[number]: np.stack(members[number]) for number in sorted(members)}


def _describe_source(builder: Any) -> str:
    return f"tensorflow_datasets {builder.info.full_name}, {builder.info.homepage or 'no page'}"


def _load_omniglot(builder: Any, split: Any, seed: int, size: int) -> Dataset:
    if not isinstance(split, str):
        raise ValueError(
            f"got split={split!r} for omniglot; expected 'vinyals', 'lake' or 'random'"
        )
    undecoded = {"image": _tfds().decode.SkipDecoding()}
    images: dict[str, np.ndarray] = {}
    for part in ("train", "test"):
        source = _source(builder, part, undecoded)
        images |= recover_drawings(source, builder.info, part=part, size=size)
    return omniglot_dataset(images, split=split, seed=seed)

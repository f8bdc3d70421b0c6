"""CACTUs: partitions of images into clusters of their embeddings, by k-means."""

import hashlib
import os
import warnings
import zipfile
from typing import Any

import numpy as np

from jmeta.core._text import printable
from jmeta.data._arrays import check_examples, damaged, header_of, npz_division, read_array
from jmeta.data._files import check_regular
from jmeta.data._limits import check_packed, check_set
from jmeta.data._paths import load_arrays, prepared_name, save_arrays
from jmeta.data._pool import Pool, make_pool
from jmeta.data._registry import find

_BATCH = 4096  # embeddings of a step of k-means


def cactus(
    embeddings: Any,
    *,
    clusters: int = 500,
    partitions: int = 50,
    least: int = 1,
    seed: int = 0,
) -> Pool:
    """Partition images into clusters of their embeddings, several times.

    Each partition is k-means of the embeddings with their dimensions scaled at random,

        min Σ_i ‖A (z_i − μ_c(i))‖²,   A = diag(a),   a_j ~ U(0, 1)

    where the first partition has A = 1. It is scikit-learn's `KMeans`, or `MiniBatchKMeans` of more
    than 4,096 images, and what it finds is kept under `$JMETA_CACHE`, so that it runs once.

    Args:
        embeddings: z [E, ...], of any images in any space; flattened, and taken as float32.
        clusters: k, of a partition.
        partitions: how many times.
        least: clusters of fewer images are dropped: the shots and queries of a task together.
        seed: of scales and centres.

    Returns:
        A pool for `sample_cactus`: its examples are places of images (int32), its classes are
        clusters, and its groups are partitions. A partition without clusters is left out.

    Raises:
        ValueError: scikit-learn is not installed, embeddings that are not finite or fewer than
            the clusters, a number below 1, or no cluster with enough images.

    Unsupervised Learning via Meta-Learning (Kyle Hsu, Sergey Levine, Chelsea Finn, 2019,
    arXiv:1810.02334).

    >>> z = np.repeat([0.0, 10.0, 20.0], 4)[:, None]
    >>> pool = cactus(z, clusters=3, partitions=2)
    >>> pool.group_sizes, sorted(pool.examples[:4].tolist()) in ([0, 1, 2, 3], [4, 5, 6, 7])
    ((3, 3), True)
    """
    for name, value in (("clusters", clusters), ("partitions", partitions), ("least", least)):
        if value < 1:
            raise ValueError(f"cactus expects {name} of at least 1, but got {value}.")
    z = np.asarray(embeddings, np.float32)
    z = np.ascontiguousarray(z.reshape(len(z), -1)) if z.ndim else z[None, None]
    if not np.isfinite(z).all():
        raise ValueError("cactus expects finite embeddings, but got a NaN or an infinity.")
    if len(z) < clusters:
        raise ValueError(
            f"asked for {clusters} clusters of {len(z)} images; lower the clusters to at most "
            f"{len(z)}."
        )
    options = {"clusters": clusters, "partitions": partitions, "seed": seed}
    name = prepared_name("clusters", {"z": hashlib.sha256(z.data).hexdigest(), **options, "v": 2})
    kept = load_arrays(name)
    if kept is None:
        kept = {"labels": _labels(z, **options)}
        save_arrays(name, kept)
    return _pool(kept["labels"], least)


def _labels(z: np.ndarray, *, clusters: int, partitions: int, seed: int) -> np.ndarray:
    """The cluster of each embedding in each partition, [P, E] int32."""
    try:
        from sklearn.cluster import KMeans, MiniBatchKMeans
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as error:
        raise ValueError(
            "cactus needs the package scikit-learn, which is not installed: "
            "pip install 'jmeta[sklearn]'."
        ) from error
    rng = np.random.default_rng(seed)
    found = []
    for number in range(partitions):
        scale = np.ones(z.shape[1], np.float32)
        if number:
            scale = rng.uniform(size=z.shape[1:]).astype(np.float32)
        options: dict[str, Any] = {"n_init": 1, "random_state": int(rng.integers(2**31))}
        if len(z) <= _BATCH:
            means = KMeans(clusters, **options)
        else:
            options["init_size"] = max(3 * clusters, 1024)  # k-means++ on as many embeddings
            options["reassignment_ratio"] = 0  # else a centre the first batch misses is drawn anew
            means = MiniBatchKMeans(clusters, batch_size=_BATCH, **options)
        with warnings.catch_warnings():  # equal images: fewer clusters, which are as good
            warnings.simplefilter("ignore", ConvergenceWarning)
            found.append(means.fit(z * scale).labels_.astype(np.int32))
    return np.stack(found)


def _pool(labels: np.ndarray, least: int) -> Pool:
    """The pool of the clusters [P, E] that are large enough."""
    places, counts, groups = list[np.ndarray](), list[int](), list[int]()
    largest = 0
    for each in labels:
        sizes = np.bincount(each)
        largest = max(largest, int(sizes.max()))
        kept = np.flatnonzero(sizes >= least)
        if not len(kept):
            continue
        order = np.argsort(each, kind="stable").astype(np.int32)
        places.append(order[np.isin(each[order], kept)])
        counts += sizes[kept].tolist()
        groups.append(len(kept))
    if not groups:
        raise ValueError(
            f"no cluster has the {least} images that a task takes of it, the largest has "
            f"{largest}; ask for fewer clusters, shots or queries."
        )
    return make_pool(np.concatenate(places), counts, groups)


def load_embeddings(
    path: str | os.PathLike[str],
    *,
    images: int,
    classes: list[str] | None = None,
    root: str | os.PathLike[str] | None = None,
) -> np.ndarray:
    """Read embeddings of the training images of a set, for `cactus`.

    Args:
        path: an .npz with x [E, ...], one row for each training image in the order of the set's
            pool; or what `jmeta data embed` has written of the whole set, whose rows begin with
            the training images. Of labels y nothing is read.
        images: how many training images there are.
        classes: names of the training classes. A file that says how it is divided must begin
            with these, since its rows would else be of other images.
        root: where the file is looked for, if it is not at the path; None for `$JMETA_DATA`.

    Returns:
        [images, ...].

    Raises:
        ValueError: a file that is missing or damaged, x with fewer or more rows, or one that was
            made of another division.

    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "z.npz")
    ...     np.savez(path, x=np.zeros((6, 2)))
    ...     load_embeddings(path, images=6).shape
    (6, 2)
    """
    place = find(path, root)
    check_regular(place, expected="an .npz with x")
    try:
        with zipfile.ZipFile(place) as archive:
            header = header_of(archive, "x")
    except Exception as error:
        raise damaged(place, error) from error
    what = f"{printable(place)} unpacks x {list(header.shape)} to"
    check_packed(header.bytes, place.stat().st_size, what=what)
    check_set(header.bytes, what=what)
    division = npz_division(place)
    rows = header.shape[0] if header.shape else 0
    if rows != images and (division is None or rows < images):
        raise ValueError(
            f"{printable(place)} has x of shape {list(header.shape)}, but there are {images} "
            "training images; give one embedding for each of them, in their order."
        )
    if division is not None and classes is not None:
        named = [*division["train"], *division["val"]][: len(classes)]
        if named != classes:
            raise ValueError(
                f"{printable(place)} has other training classes than the set; make it of the same "
                "set, split and seed."
            )
    x = read_array(place, "x")
    check_examples(place, x)
    return x[:images]

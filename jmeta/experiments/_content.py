"""What the parts of a domain hold: digests that change when an example does."""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jmeta import data
from jmeta.experiments._domain import Domain
from jmeta.experiments._source import Root
from jmeta.experiments._unlabelled import Clustered

PARTS = ("train", "val", "test")
_SHORT = 16  # hexadecimal digits of a class's digest


def content(domain: Domain) -> dict[str, dict[str, Any]]:
    """Say what each part holds, by digests of its arrays as they were loaded.

    Returns:
        Part -> {"examples": their number, "digest": of the whole part, "classes": {name: digest of
        its examples}}, which JSON can hold. `examples` and `classes` are None where the pool is not
        a `jmeta.data.Pool` or its classes have no names. A part without arrays, such as a family of
        functions, is left out.

    >>> from jmeta.experiments import Points, SOURCES
    >>> content(SOURCES["sinusoid"]().open(Points(), seed=0))
    {}
    """
    pools = {part: getattr(domain, part) for part in PARTS}
    names = domain.info.get("classes") or {}
    return {
        part: _described(pool, names.get(part) or ())
        for part, pool in pools.items()
        if jax.tree.leaves(pool)
    }


def data_folder(root: Root) -> str | None:
    """The folder under which data sets are looked for; None where no home folder is known.

    >>> data_folder("/data")
    '/data'
    """
    try:
        return str(data.data_root(root).absolute())
    except RuntimeError:
        return None


def _described(pool: Any, names: Sequence[str]) -> dict[str, Any]:
    """What one pool holds; of images in clusters, the classes that they have without them."""
    if isinstance(pool, Clustered):
        held, places = _described(pool.pool, names), [pool.clusters.examples, pool.clusters.starts]
        both = f"{held['digest']} {_digest([*places, pool.clusters.groups])}"
        return {**held, "digest": hashlib.sha256(both.encode()).hexdigest()}
    if not isinstance(pool, data.Pool):
        return {"examples": None, "digest": _digest(jax.tree.leaves(pool)), "classes": None}
    examples, ends = np.asarray(pool.examples), np.cumsum(np.asarray(pool.counts))[:-1]
    each = [_digest([piece])[:_SHORT] for piece in np.split(examples, ends)]
    whole = hashlib.sha256(" ".join([*each, str(pool.group_sizes)]).encode()).hexdigest()
    named = len(set(names)) == len(each)
    return {
        "examples": len(examples),
        "digest": whole,
        "classes": dict(zip(names, each, strict=True)) if named else None,
    }


def _digest(leaves: Sequence[Any]) -> str:
    """SHA-256 over the dtypes, shapes and bytes of some arrays."""
    sha = hashlib.sha256()
    for leaf in leaves:
        if jax.dtypes.issubdtype(getattr(leaf, "dtype", float), jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.ascontiguousarray(leaf)
        sha.update(f"{array.dtype} {array.shape}".encode())
        sha.update(array.tobytes() if array.dtype.hasobject else array.view(np.uint8).data)
    return sha.hexdigest()

"""A source whose examples are embedded once, so that a pool of features takes its place."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jmeta import data, nn
from jmeta.core import Net, Params
from jmeta.core._numbers import in_unit
from jmeta.experiments._networks import Network
from jmeta.experiments._source import Root, Source
from jmeta.learners import embed_examples

PARTS = ("train", "val", "test")
_FEW = 1024  # examples of which batch statistics are taken


def embed_source(
    source: Source,
    network: Network,
    *,
    params: Params | Callable[[Params], Params] | None = None,
    side: int | None = None,
    chunk: int = 64,
    seed: int = 0,
    root: Root = None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Embed every example of a source of classes: what `arrays:FILE` reads once it is saved.

    Args:
        source: its classes; their division is kept.
        network: gives embeddings; a pretrained one brings its weights.
        params: its parameters, such as the entry "embed" of those of a run; or a function of those
            it begins with, such as one that reads others from a file. None: those it begins with.
        side: height and width in pixels that images are scaled to first (bilinearly).
        chunk: examples embedded at once.
        seed: of a random division, and of a network that brings no weights.
        root: where sets are looked for; None for `$JMETA_DATA`.

    Returns:
        The arrays x [E, D] (float32), y [E] (names of classes), and train, val and test (the
        names of the classes of each part); and the facts about the set.

    Raises:
        ValueError: a source without classes, images that the network cannot take, or a network
            without one embedding for each example.

    >>> from jmeta.experiments import Glyphs, Conv4
    >>> arrays, _ = embed_source(Glyphs(), Conv4(filters=2, norm="none"))
    >>> arrays["x"].ndim, sorted(arrays)
    (2, ['test', 'train', 'val', 'x', 'y'])
    """
    for name, value in (("side", side), ("chunk", chunk)):
        if value is not None and value < 1:
            raise ValueError(f"embed_source expects {name} >= 1, but got {value}.")
    network = network.completed(source.kind, 1)
    load = getattr(source, "load", None)
    if load is None:
        raise ValueError(f"{source.label} has no classes with examples that could be embedded.")
    found: data.Dataset = load(seed=seed, root=root)
    pools = {name: pool for name in PARTS if (pool := getattr(found, name)) is not None}
    net = _Resized(network.module(None), side) if side else network.module(None)
    first = found.train.examples[:_FEW]
    if params is None or callable(params):
        example = jax.eval_shape(in_unit, first[:1])
        fresh = jax.jit(net.init)(jax.random.key(seed), jnp.zeros(example.shape, example.dtype))
        params = fresh if params is None else params(fresh)
    if isinstance(params, dict) and "params" not in params and "embed" in params:
        raise ValueError(
            f"embed_source expects the parameters of the network, but got the entries "
            f"{', '.join(map(str, params))}; give the entry 'embed' of these."
        )
    if network.transductive:
        module: Any = network.module(None)
        params = nn.population_statistics(module, params, in_unit(first))
    compute = jax.jit(lambda params, x: embed_examples(net, params, x, chunk=chunk))
    features = {name: np.asarray(compute(params, pool.examples)) for name, pool in pools.items()}
    shape = next(iter(features.values())).shape
    if len(shape) != 2:
        raise ValueError(f"the network gives {list(shape[1:])} for an example, not a vector [D].")
    names = {part: list(found.info["classes"][part]) for part in pools}
    labels = [np.repeat(names[part], np.asarray(pool.counts)) for part, pool in pools.items()]
    arrays = {"x": np.concatenate(list(features.values())), "y": np.concatenate(labels)}
    divided = {part: np.array(names.get(part, []), dtype=str) for part in PARTS}
    return {**arrays, **divided}, found.info


def save_features(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write what `embed_source` returns to an .npz.

    Raises:
        ValueError: the name of the file does not end in .npz.
        OSError: it cannot be written.
    """
    file = Path(path)
    if file.suffix != ".npz":
        raise ValueError(f"{file} is to hold arrays; give it a name that ends in .npz.")
    file.write_bytes(packed(arrays))


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as an .npz.

    >>> packed({"x": np.zeros(1)})[:2]
    b'PK'
    """
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


class _Resized:
    """A network that sees images scaled to another side."""

    def __init__(self, net: Net, side: int) -> None:
        self._net, self._side = net, side

    def init(self, key: jax.Array, x: jax.Array) -> Params:
        return self._net.init(key, self._scaled(x))

    def apply(self, params: Params, x: jax.Array) -> Any:
        return self._net.apply(params, self._scaled(x))

    def _scaled(self, x: jax.Array) -> jax.Array:
        if x.ndim != 4:
            raise ValueError(f"only images can be scaled to a side, but got {list(x.shape)}.")
        size = (x.shape[0], self._side, self._side, x.shape[3])
        return jax.image.resize(x, size, "bilinear")

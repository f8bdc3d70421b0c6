"""Low-rank adapters: a selection whose inner loop moves two small matrices beside each kernel."""

import math

import jax
import jax.numpy as jnp

from jmeta.core._numbers import product, require_positive
from jmeta.core._selection import Selection, Which, chosen_paths, part
from jmeta.core._tree import paths_of, put_paths, require_keys
from jmeta.core._types import Key, Params, PyTree, StepIndex


def low_rank(
    which: Which | None = None,
    *,
    rank: int,
    scale: float | jax.Array = 1.0,
    also: Which | None = None,
    key: Key | None = None,
) -> Selection:
    """Adapt a product of two small matrices beside each kernel, and keep the kernels: LoRA.

        W_k = W + s A_k B_k,   A [rows, r],   B [r, out],   A_0 and B_0 meta-learned with W

    A kernel is a leaf of two dimensions or more, whatever made it: Linen, NNX, Equinox or a plain
    function. One of more dimensions is the matrix [rows, out] that its convolution multiplies
    patches by, such as [h w in, out]. At first A is Gaussian with variance 1 / rows and B is zero,
    so the network begins as it is. Biases and other vectors do not adapt.

    The meta-parameters are {"network": θ, "low_rank": {path: {"down": A, "up": B}}}, for any
    learner that takes a selection, such as `maml`.

    Args:
        which: the leaves among which kernels are chosen (see `part`), such as "head" for ANIL; None
            for all.
        rank: r, the columns of A; at most as many are made as the kernel has rows or columns.
        scale: s > 0, which may be a learned value. The paper's is α / r.
        also: leaves that adapt themselves (see `part`), such as the new head of a pretrained
            network. They get no matrices.
        key: draws A; `jax.random.key(0)` by default.

    Returns:
        The selection.

    Raises:
        ValueError: `rank` is less than 1, or `scale` is not positive. When the selection meets
            parameters: no kernel is chosen, `also` selects no leaf, or they were not made by this
            selection's `init`.

    LoRA: Low-Rank Adaptation of Large Language Models (Hu et al., 2021, arXiv:2106.09685).

    >>> chosen = low_rank("head", rank=2)
    >>> theta = chosen.init({"body": jnp.ones((3, 4)), "head": jnp.ones((4, 5))})
    >>> {path: pair["down"].shape for path, pair in chosen.take(theta).items()}
    {'head': (4, 2)}
    >>> bool((chosen.put(theta, chosen.take(theta), 0)["head"] == 1).all())
    True
    """
    if rank < 1:
        raise ValueError(f"low_rank expects rank >= 1, but got {rank}.")
    require_positive(scale, name="scale", of="low_rank")
    base = jax.random.key(0) if key is None else key

    def init(params: Params) -> Params:
        whole = set() if also is None else chosen_paths(also, params)
        kernels = _kernels(which, params, but=whole)
        keys = (jax.random.fold_in(base, i) for i in range(len(kernels)))
        pairs = {
            path: _pair(key, kernel, rank)
            for key, (path, kernel) in zip(keys, kernels.items(), strict=True)
        }
        return {"network": params, "low_rank": pairs}

    def take(params: Params) -> PyTree:
        require_keys(params, ("network", "low_rank"), of="a learner with low_rank")
        whole = {} if also is None else part(also).take(params["network"])
        return {**params["low_rank"], **whole}

    def put(params: Params, adapted: PyTree, k: StepIndex) -> Params:
        kernels, pairs = paths_of(params["network"]), params["low_rank"]
        moved = {
            path: _moved(kernels[path], value, scale) if path in pairs else value
            for path, value in adapted.items()
        }
        return put_paths(params["network"], moved)

    return Selection(take, put, init)


def _kernels(which: Which | None, params: Params, *, but: set[str]) -> dict[str, jax.Array]:
    """The chosen leaves that are matrices or more, by path, without some."""
    leaves = paths_of(params)
    chosen = chosen_paths((lambda path: True) if which is None else which, params) - but
    found = {path: leaf for path, leaf in leaves.items() if path in chosen and leaf.ndim > 1}
    if not found:
        matrices = [path for path, leaf in leaves.items() if leaf.ndim > 1 and path not in but]
        raise ValueError(
            "low_rank needs a kernel, which is a leaf of two dimensions or more and not chosen by "
            "`also`, but none of these was chosen: "
            f"{', '.join(matrices) or 'the parameters have no kernel'}."
        )
    return found


def _pair(key: Key, kernel: jax.Array, rank: int) -> dict[str, jax.Array]:
    """The two matrices of a kernel, whose product is zero."""
    rows, out = math.prod(kernel.shape[:-1]), kernel.shape[-1]
    rank = min(rank, rows, out)
    down = jax.random.normal(key, (rows, rank), kernel.dtype) / math.sqrt(rows)
    return {"down": down, "up": jnp.zeros((rank, out), kernel.dtype)}


def _moved(kernel: jax.Array, pair: dict[str, jax.Array], scale: float | jax.Array) -> jax.Array:
    """The kernel with the product beside it."""
    update = scale * product(pair["down"], pair["up"])
    return kernel + update.reshape(kernel.shape).astype(kernel.dtype)

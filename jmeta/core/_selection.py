"""Which parameters a gradient-based learner adapts: all of them, some of them, or a context."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core._tree import is_fixed, learned_part, paths_of, put_paths, with_learned
from jmeta.core._types import Params, PyTree, StepIndex

Which = str | tuple[str, ...] | Callable[[str], bool] | PyTree  # see `part`


def _same(params: Params) -> Params:
    return params


class Selection(NamedTuple):
    """Which parameters adapt, as three pure functions.

    Collections that are not learned, such as the "batch_stats" of Flax's BatchNorm, are never
    selected.
    """

    take: Callable[[Params], PyTree]  # θ -> φ_0, where the inner loop starts
    put: Callable[[Params, PyTree, StepIndex], Params]  # θ, φ_k, k -> the network's parameters
    init: Callable[[Params], Params] = _same  # the network's parameters -> θ


everything = Selection(learned_part, lambda params, adapted, k: with_learned(params, adapted))
nothing = Selection(lambda params: {}, lambda params, adapted, k: params)


def part(which: Which) -> Selection:
    """Adapt some leaves and keep the rest: ANIL with `part("head")`.

    Whatever does not depend on the adapted leaves is computed once for each task instead of once
    for each inner step (see `hoist`). Adapting a head therefore does not cost passes through the
    body.

    Args:
        which: a name or several names (a leaf is selected if one of them is a key on its path), a
            predicate on the path as a string ("params/head/kernel"), or a tree of booleans with
            the structure of the parameters.

    Returns:
        The selection.

    Raises:
        ValueError: no leaf is selected, or the tree of booleans has another structure. Raised
            when the selection meets parameters.

    Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML (Raghu,
    Raghu, Bengio, Vinyals, 2020, arXiv:1909.09157).

    >>> params = {"body": jnp.ones(2), "head": jnp.zeros(1)}
    >>> part("head").take(params)
    {'head': Array([0.], dtype=float32)}
    >>> part("head").put(params, {"head": jnp.ones(1)}, 0)["body"].tolist()
    [1.0, 1.0]
    """

    def take(params: Params) -> dict[str, jax.Array]:
        chosen = chosen_paths(which, params)
        if not chosen:
            raise ValueError(
                f"{which!r} selects none of the parameters; they are {', '.join(paths_of(params))}."
            )
        return {path: leaf for path, leaf in paths_of(params).items() if path in chosen}

    return Selection(take, lambda params, adapted, k: put_paths(params, adapted))


def all_but(which: Which) -> Selection:
    """Adapt every leaf that `part(which)` would not: BOIL with `all_but("head")`.

    Args:
        which: the leaves that do not adapt (see `part`).

    BOIL: Towards Representation Change for Few-shot Learning (Oh, Yoo, Kim, Yun, 2021,
    arXiv:2008.08882).

    >>> params = {"body": jnp.ones(2), "head": jnp.zeros(1)}
    >>> list(all_but("head").take(params))
    ['body']
    """

    def take(params: Params) -> PyTree:
        kept = chosen_paths(which, params)
        return part(lambda path: path not in kept).take(params)

    return Selection(take, lambda params, adapted, k: put_paths(params, adapted))


def context(which: Which = "context") -> Selection:
    """Adapt context parameters, which start from zero for every task: CAVIA.

    The network reads them as additional inputs or through FiLM layers. They are not meta-learned,
    because a bias of the network can represent any other start.

    Args:
        which: the context parameters (see `part`).

    Fast Context Adaptation via Meta-Learning (Zintgraf, Shiarlis, Kurin, Hofmann, Whiteson, 2019,
    arXiv:1810.03642).

    >>> params = {"body": jnp.ones(2), "context": jnp.ones(4)}
    >>> context().take(params)["context"].tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    chosen = part(which)
    return Selection(lambda params: jax.tree.map(jnp.zeros_like, chosen.take(params)), chosen.put)


def own_per_step(which: Which, steps: int) -> Selection:
    """Give some leaves a meta-learned value for each inner step, and adapt the rest.

        θ holds γ_0 ... γ_K;   step k, and predictions after k steps, use γ_k

    MAML++ has such weights in its normalisation layers.

    Args:
        which: the leaves with a value for each step (see `part`). They do not adapt.
        steps: K. Steps after the K-th use the last value.

    How to Train Your MAML (Antoniou, Edwards, Storkey, 2019, arXiv:1810.09502), section 4.

    >>> chosen = own_per_step("scale", 2)
    >>> theta = chosen.init({"scale": jnp.ones(3), "w": jnp.zeros(1)})
    >>> theta["scale"].shape, list(chosen.take(theta))
    ((3, 3), ['w'])
    """
    owned, rest = part(which), all_but(which)

    def init(params: Params) -> Params:
        stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * (steps + 1)), owned.take(params))
        return put_paths(params, stacked)

    def put(params: Params, adapted: PyTree, k: StepIndex) -> Params:
        index = jnp.minimum(k, steps)
        now = jax.tree.map(lambda leaf: leaf[index], owned.take(params))
        return put_paths(params, {**now, **adapted})

    return Selection(rest.take, put, init)


def chosen_paths(which: Which, params: Params) -> set[str]:
    """The paths that are selected, without those of collections that are not learned.

    Args:
        which: what is selected (see `part`).
        params: parameters.

    Raises:
        ValueError: a tree of booleans has another structure than the parameters.

    >>> chosen_paths("head", {"body": jnp.ones(2), "head": jnp.zeros(1)})
    {'head'}
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    fixed = [is_fixed(path) for path, _ in leaves]
    paths = [path for path, out in zip(paths_of(params), fixed, strict=True) if not out]
    if isinstance(which, str):
        which = (which,)
    if isinstance(which, tuple) and all(isinstance(name, str) for name in which):
        names = set(which)
        return {path for path in paths if names & set(path.split("/"))}
    if callable(which):
        return {path for path in paths if which(path)}
    given, wanted = str(jax.tree.structure(which)), str(jax.tree.structure(params))
    if given != wanted:
        raise ValueError(
            "a tree of booleans must have the structure of the parameters, but got "
            f"{given} for {wanted}."
        )
    taken = dict(zip(paths_of(params), jax.tree.leaves(which), strict=True))
    return {path for path in paths if taken[path]}

"""What a gradient-based learner adapts: all parameters, some of them, or a context."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core.types import Params, PyTree, identity

Which = str | tuple[str, ...] | Callable[[str], bool] | PyTree  # see `part`


class Selection(NamedTuple):
    """Which parameters adapt, as two pure functions."""

    take: Callable[[Params], PyTree]  # θ -> φ_0, where the inner loop starts
    put: Callable[[Params, PyTree], Params]  # θ, φ -> θ with φ in the place of what was taken


everything = Selection(identity, lambda params, adapted: adapted)
nothing = Selection(lambda params: {}, lambda params, adapted: params)


def part(which: Which) -> Selection:
    """Adapt some leaves and keep the rest: ANIL with `part("head")`.

    What does not depend on the adapted leaves is computed once a task, not once an inner step
    (see `hoist`); so a head costs little more than itself.

    Args:
        which: a name or several names (a leaf is taken if one of them is a key on its path), a
            predicate on the path as a string ("params/head/kernel"), or a tree of booleans in
            the structure of the parameters.

    Raises:
        ValueError: nothing is selected, with the paths that there are; a tree of booleans of
            another structure.

    Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML (Raghu,
    Raghu, Bengio, Vinyals, 2020, arXiv:1909.09157).

    >>> params = {"body": jnp.ones(2), "head": jnp.zeros(1)}
    >>> part("head").take(params)
    {'head': Array([0.], dtype=float32)}
    >>> part("head").put(params, {"head": jnp.ones(1)})["body"].tolist()
    [1.0, 1.0]
    """

    def take(params: Params) -> dict[str, jax.Array]:
        chosen = _chosen(which, params)
        if not chosen:
            raise ValueError(
                f"{which!r} selects none of the parameters; they are {', '.join(_paths(params))}."
            )
        return {path: leaf for path, leaf in _paths(params).items() if path in chosen}

    def put(params: Params, adapted: PyTree) -> Params:
        leaves = {**_paths(params), **adapted}
        return jax.tree.unflatten(jax.tree.structure(params), list(leaves.values()))

    return Selection(take, put)


def all_but(which: Which) -> Selection:
    """Adapt every leaf that `part(which)` would not: BOIL with `all_but("head")`.

    BOIL: Towards Representation Change for Few-shot Learning (Oh, Yoo, Kim, Yun, 2021,
    arXiv:2008.08882).

    >>> params = {"body": jnp.ones(2), "head": jnp.zeros(1)}
    >>> list(all_but("head").take(params))
    ['body']
    """

    def rest(params: Params) -> Selection:
        kept = _chosen(which, params)
        return part(lambda path: path not in kept)

    return Selection(
        lambda params: rest(params).take(params),
        lambda params, adapted: rest(params).put(params, adapted),
    )


def context(which: Which = "context") -> Selection:
    """Adapt context parameters, which start from zero for every task: CAVIA.

    The network reads them as inputs or through FiLM; they are not meta-learned themselves, as a
    bias of the network can hold whatever start is best.

    Fast Context Adaptation via Meta-Learning (Zintgraf, Shiarlis, Kurin, Hofmann, Whiteson, 2019,
    arXiv:1810.03642).

    >>> params = {"body": jnp.ones(2), "context": jnp.ones(4)}
    >>> context().take(params)["context"].tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    chosen = part(which)
    return Selection(lambda params: jax.tree.map(jnp.zeros_like, chosen.take(params)), chosen.put)


def _paths(params: Params) -> dict[str, jax.Array]:
    """Path as "params/head/kernel" -> leaf, in the order of the leaves."""
    found = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in found}


def _chosen(which: Which, params: Params) -> set[str]:
    paths = list(_paths(params))
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
    return {path for path, taken in zip(paths, jax.tree.leaves(which), strict=True) if taken}

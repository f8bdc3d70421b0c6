"""Hard sharing: one embedding, and a head for each task."""

from collections.abc import Mapping

import jax

from jmeta.core import Key, Net, Outputs, Padded, Params, PyTree
from jmeta.core._networks import Apply, bound, init_net, is_stochastic, require_net
from jmeta.core._padding import again_marked, is_masked
from jmeta.nn import Network


def hard_sharing(embed: Net, heads: Mapping[str, Net]) -> Network:
    """One network with several outputs: all tasks share the embedding, and each has its head.

        f(θ, x) = {t: h_t(θ_t, e(θ_embed, x)) for every task t}

    Its parameters are a dictionary with "embed" and the name of each head. A gradient by
    `params["embed"]` is one by what is shared, which `gradnorm` needs.

    Args:
        embed: e, inputs [N, ...] -> features [N, ...].
        heads: name of a task -> h_t, features -> outputs [N, ...].

    Returns:
        A network of inputs [N, ...]; its outputs are a dictionary of the outputs of each head. It
        is stochastic or masked if one of its networks is.

    Raises:
        ValueError: one of them is no network, there is no head, or a head is named "embed".

    Multitask Learning (Caruana, 1997, Machine Learning 28, 41-75).

    >>> import jax.numpy as jnp
    >>> from jmeta.nn import MLP
    >>> net = hard_sharing(MLP((8,), None), {"digit": MLP((), 10), "angle": MLP((), 1)})
    >>> params = net.init(jax.random.key(0), jnp.ones((4, 3)))
    >>> {name: out.shape for name, out in net.apply(params, jnp.ones((4, 3))).items()}
    {'digit': (4, 10), 'angle': (4, 1)}
    """
    if not heads or "embed" in heads:
        raise ValueError(
            f"hard_sharing expects at least one head, and none named 'embed', but got "
            f"{sorted(heads)}."
        )
    nets = {"embed": embed, **heads}
    for net in nets.values():
        require_net(net, of="hard_sharing")

    def init(key: Key, x: PyTree, *noise: Key) -> Params:
        own = dict(zip(nets, jax.random.split(key, len(nets)), strict=True))
        params = {"embed": init_net(embed, own["embed"], x)}
        z = _bound(embed, noise, 0)(params["embed"], x)
        return {**params, **{name: init_net(heads[name], own[name], z) for name in heads}}

    def apply(params: Params, x: PyTree, *noise: Key, real: jax.Array | None = None) -> Outputs:
        seen = x if real is None else Padded(x, real)
        z = _bound(embed, noise, 0)(params["embed"], seen)
        return {
            name: _bound(head, noise, k)(params[name], again_marked(head, z, real))
            for k, (name, head) in enumerate(heads.items(), 1)
        }

    stochastic, masked = (any(map(asked, nets.values())) for asked in (is_stochastic, is_masked))
    return Network(init, lambda method: apply, stochastic, masked)


def _bound(net: Net, noise: tuple[Key, ...], number: int) -> Apply:
    """A network with its own part of the randomness."""
    return bound(net, noise[0] if is_stochastic(net) else None, number)

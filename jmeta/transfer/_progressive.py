"""Progressive networks: a column for each task, which reads those before it and spares them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jmeta.core import Key, Net, Outputs, Params
from jmeta.core._networks import bound, init_net, is_stochastic, require_net
from jmeta.core._padding import again_marked, is_masked
from jmeta.nn import Network

_LARGEST = 0.1  # α begins between 0 and this
_HIDDEN = "hidden"  # the method of a column that gives its hidden layers and those before it

Activation = Callable[[jax.Array], jax.Array]
Hidden = list[list[jax.Array]]  # [columns][layers]


def progressive(
    layers: Sequence[Net],
    *,
    before: tuple[Network, Params] | None = None,
    activation: Activation = jax.nn.relu,
) -> Network:
    """One column of a progressive network, on top of the trained ones before it.

        h_i = σ( W_i h_{i−1} + U_i σ(V_i [α_j h_{i−1}^{(j)}]_j) ),   j over the columns before

    A column is trained on one task and never changes again, so nothing is forgotten. The next one
    reads its hidden layers through adapters: each earlier column is scaled by a learned α_j, all of
    them are joined, V_i maps them to the width of h_{i−1}, and U_i is a layer like W_i. The first
    layer reads only the input, and the last has no σ.

        first = progressive(layers)
        theta_1 = first.init(key, x)                    # and train it on the first task
        second = progressive(layers, before=(first, theta_1))
        theta_2 = second.init(key, x)                   # and train it on the second

    The parameters of a later column are {"constants": those before it, "params": its own}. The
    collection "constants" is left out of the outer optimizer by `jmeta.step`, and no gradient
    reaches it. `first.apply(theta_2["constants"], x)` is what the first column always gave.

    Args:
        layers: W_1 ... W_L, networks that give a layer before its activation, such as
            `flax.linen.Dense(64)`. Columns may differ in widths, and have as many layers.
        before: the network of the columns before it, and their trained parameters.
        activation: σ.

    Returns:
        A network, inputs [N, ...] -> outputs of the last layer.

    Raises:
        ValueError: there is no layer, one of them is no network or is stochastic, or (from `init`)
            the columns differ in their numbers of layers or in the sides of their feature maps.

    Progressive Neural Networks (Rusu, Rabinowitz, Desjardins, Soyer, Kirkpatrick, Kavukcuoglu,
    Pascanu, Hadsell, 2016, arXiv:1606.04671), equation 2.

    >>> import flax.linen as nn
    >>> x, key = jnp.ones((2, 3)), jax.random.key(0)
    >>> first = progressive([nn.Dense(8), nn.Dense(4)])
    >>> theta = first.init(key, x)
    >>> second = progressive([nn.Dense(6), nn.Dense(5)], before=(first, theta))
    >>> params = second.init(key, x)
    >>> second.apply(params, x).shape, sorted(params)
    ((2, 5), ['constants', 'params'])
    >>> bool((first.apply(params["constants"], x) == first.apply(theta, x)).all())
    True
    """
    if not layers:
        raise ValueError("progressive expects at least one layer, but got none.")
    for layer in layers:
        require_net(layer, of="progressive")
        if is_stochastic(layer):
            raise ValueError("progressive expects layers without randomness, but one takes a key.")
    column, earlier = _Column(tuple(layers), activation), None if before is None else before[0]

    def others(params: Params, x: jax.Array, real: jax.Array | None) -> Hidden:
        if earlier is None:
            return []
        constant = jax.lax.stop_gradient(params["constants"])
        options = {"real": real} if earlier.masked and real is not None else {}
        return jax.lax.stop_gradient(earlier.apply(constant, x, method=_HIDDEN, **options))

    def init(key: Key, x: jax.Array) -> Params:
        if before is None:
            return {"params": column.init(key, x, [])}
        params = {"constants": before[1]}
        return {**params, "params": column.init(key, x, others(params, x, None))}

    def hidden(params: Params, x: jax.Array, *, real: jax.Array | None = None) -> Hidden:
        read = others(params, x, real)
        return [*read, column.apply(params["params"], x, read, real)]

    def apply(params: Params, x: jax.Array, *, real: jax.Array | None = None) -> Outputs:
        return hidden(params, x, real=real)[-1][-1]

    methods = {None: apply, _HIDDEN: hidden}
    masked = any(map(is_masked, layers)) or (earlier is not None and earlier.masked)
    return Network(init, methods.__getitem__, masked=masked)


@dataclass(frozen=True)
class _Column:
    """The layers of one task, and their adapters to the columns before it."""

    layers: tuple[Net, ...]
    activation: Activation

    def init(self, key: Key, x: jax.Array, read: Hidden) -> Params:
        """Parameters {"layer_i": W_i} and, from the second layer on, {"lateral_i": ...}."""
        if any(len(column) != len(self.layers) for column in read):
            raise ValueError(
                f"progressive got a column of {len(self.layers)} layers on columns of "
                f"{[len(column) for column in read]}; give all as many layers."
            )
        params: Params = {}
        for index, layer in enumerate(self.layers):
            own, scale, reduce, lateral = jax.random.split(jax.random.fold_in(key, index), 4)
            params[f"layer_{index}"] = init_net(layer, own, x)
            if read and index:
                parts = [column[index - 1] for column in read]
                _require_sides(parts, x)
                width = sum(part.shape[-1] for part in parts)
                shape = (width, x.shape[-1])
                made = {
                    "scales": jax.random.uniform(scale, (len(parts),), x.dtype, 0, _LARGEST),
                    "kernel": jax.nn.initializers.lecun_normal()(reduce, shape, x.dtype),
                    "bias": jnp.zeros(x.shape[-1], x.dtype),
                }
                made["layer"] = init_net(layer, lateral, self._reduced(made, parts))
                params[f"lateral_{index}"] = made
            x = self._layer(params, index, x, read, None)
        return params

    def apply(self, params: Params, x: jax.Array, read: Hidden, real: jax.Array | None) -> list:
        """All layers, with those of the columns before: h_1 ... h_L."""
        found = []
        for index in range(len(self.layers)):
            x = self._layer(params, index, x, read, real)
            found.append(x)
        return found

    def _layer(
        self, params: Params, index: int, x: jax.Array, read: Hidden, real: jax.Array | None
    ) -> jax.Array:
        layer = self.layers[index]
        run = bound(layer, None)
        found = run(params[f"layer_{index}"], again_marked(layer, x, real))
        if read and index:
            own = params[f"lateral_{index}"]
            reduced = self._reduced(own, [column[index - 1] for column in read])
            found = found + run(own["layer"], again_marked(layer, reduced, real))
        return found if index == len(self.layers) - 1 else self.activation(found)

    def _reduced(self, own: Params, parts: list[jax.Array]) -> jax.Array:
        """σ(V [α_j h_j]_j) at the width of this column."""
        scaled = [alpha * part for alpha, part in zip(own["scales"], parts, strict=True)]
        joined = jnp.concatenate(scaled, -1)
        flat = joined.reshape(-1, joined.shape[-1]) @ own["kernel"] + own["bias"][None]
        return self.activation(flat.reshape(*joined.shape[:-1], -1))


def _require_sides(parts: list[jax.Array], own: jax.Array) -> None:
    """Refuse layers of other columns that do not lie over this one's.

    Raises:
        ValueError: the shapes differ in more than the last axis.
    """
    for part in parts:
        if part.shape[:-1] != own.shape[:-1]:
            raise ValueError(
                f"progressive got hidden layers of shapes {part.shape} and {own.shape}; columns "
                "may differ in the last axis only."
            )

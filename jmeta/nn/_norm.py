"""Normalisation without running statistics: the moments are those of the input itself."""

from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jmeta.nn import _across as across
from jmeta.nn._deferred import Deferred
from jmeta.nn._pool import max_pool

Kind = Literal["batch", "group", "layer", "none"]


class Norm(nn.Module):
    """Normalise the input by its own moments, then scale and shift each channel.

        y = scale (x - mean) / √(variance + ε) + bias

    * "batch": the moments of each channel over the batch and over H, W, without padded examples.
      In an episode this is transductive: the output for a query depends on the other queries of
      the batch. If the variables contain a collection "batch_stats" (see `population_statistics`),
      its fixed moments are used instead, without a gradient, and the examples no longer depend on
      each other. Where x varies over the mesh axis "jmeta_examples" of a `jax.shard_map`, the
      batch is that of all its devices.
    * "group": the moments of each example over H, W and the channels of each of `groups` groups.
    * "layer": the moments of each example over H, W and all channels.
    * "none": no normalisation and no parameters; the output is the input.

    Args:
        kind: "batch", "group", "layer" or "none".
        groups: number of groups for "group"; it must divide the number of channels.
        epsilon: ε, added to the variance inside the root.

    Raises:
        ValueError: the kind is unknown, or the groups do not divide the channels.

    Batch Normalization (Ioffe, Szegedy, 2015, arXiv:1502.03167); Layer Normalization (Ba, Kiros,
    Hinton, 2016, arXiv:1607.06450); Group Normalization (Wu, He, 2018, arXiv:1803.08494).

    >>> import jax, jax.numpy as jnp
    >>> x = jnp.arange(6.0).reshape(3, 2)
    >>> y, _ = Norm("batch").init_with_output(jax.random.key(0), x)
    >>> [round(float(v), 3) for v in y[:, 0]]
    [-1.225, 0.0, 1.225]
    """

    kind: Kind = "batch"
    groups: int = 8
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Any, real: jax.Array | None = None, *, pool: bool = False) -> jax.Array:
        """Inputs [N, ..., C] to outputs of the same shape; padded examples are no part of a batch.

        `real` [N] is false for padding. None means that all examples are real. With `pool`, images
        [N, H, W, C] become `max_pool(y, relu=True)` of the normalised images y, in fewer passes;
        x may then be a `Deferred` convolution, if the moments are those of the batch.
        """
        check_kind(self.kind)
        if isinstance(x, Deferred) and (self.kind != "batch" or not pool):
            raise ValueError(
                f"Norm({self.kind!r}) got a convolution that is deferred, which only "
                "Norm('batch') with pool=True takes; call nn.Conv without defer=True."
            )
        if self.kind == "none":
            return max_pool(x, relu=True) if pool else x
        channels, one = x.shape[-1], (1,) * (len(x.shape) - 1)
        scale = self.param("scale", nn.initializers.ones_init(), (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        if self.kind == "batch":
            mean, variance = self._batch_moments(x, real)
        else:
            mean, variance = _group_moments(x, self.groups if self.kind == "group" else 1)
        scale, bias = scale.reshape(*one, channels), bias.reshape(*one, channels)
        factor = scale * lax.rsqrt(variance + self.epsilon)
        shift = bias - mean * factor
        if not pool:
            return x * factor + shift
        # The output rises with x, or falls where its scale is negative; so pooling commutes with
        # it, up to a sign, and all that follows, derivatives too, has a quarter of the pixels.
        sign = jnp.where(scale < 0, -1, 1).astype(x.dtype)
        maxima = x.pooled(sign) if isinstance(x, Deferred) else max_pool(x * sign)
        return nn.relu(maxima * (factor * sign) + shift)

    def _batch_moments(self, x: Any, real: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Moments [1, ..., 1, C] of the batch, or those stored in "batch_stats"."""
        shape = (1,) * (len(x.shape) - 1) + x.shape[-1:]
        keep = self.is_mutable_collection("batch_stats") and not self.is_initializing()
        if self.has_variable("batch_stats", "mean") and not keep:
            mean: Any = self.get_variable("batch_stats", "mean").reshape(shape)
            variance: Any = self.get_variable("batch_stats", "variance").reshape(shape)
            return lax.stop_gradient(mean), lax.stop_gradient(variance)
        if isinstance(x, Deferred):
            mean, variance = x.moments(None if real is None else _weights(real, x.images).ravel())
        else:
            mean, variance = _moments(x, tuple(range(x.ndim - 1)), real)
        if keep:
            self.put_variable("batch_stats", "mean", mean.reshape(-1))
            self.put_variable("batch_stats", "variance", variance.reshape(-1))
        return mean, variance


def check_kind(kind: str) -> None:
    """Refuse an unknown kind of normalisation.

    Raises:
        ValueError: the kind is not "batch", "group", "layer" or "none".

    >>> check_kind("none")
    """
    if kind not in get_args(Kind):
        raise ValueError(
            f"Got the normalisation {kind!r}; give 'batch', 'group', 'layer', or 'none' for no "
            "normalisation."
        )


def population_statistics(model: nn.Module, params: Any, *x: Any, **options: Any) -> Any:
    """Fix the moments of every batch normalisation to those of some example inputs.

    Use the result in place of `params`. It makes the network inductive: no prediction depends on
    the other examples of its batch. The moments belong to these weights, so compute them again
    after the weights change. All inputs go through the network in one pass.

    Args:
        model: a Flax Linen module that normalises with `Norm`.
        params: its variables, {'params': ...}.
        x: example inputs as the model takes them, such as images [N, H, W, C]. If the network
            calls a layer more than once, for example on support and queries, the moments of the
            last call are stored.
        options: keywords of the model's call, such as `real` [N], which is false for padding.

    Returns:
        {'params': ..., 'batch_stats': ...}, without the latter if no layer uses batch moments.

    >>> import jax, jax.numpy as jnp
    >>> model, x = Norm("batch"), jnp.arange(6.0).reshape(3, 2)
    >>> fixed = population_statistics(model, model.init(jax.random.key(0), x), x)
    >>> fixed["batch_stats"]["mean"].tolist()
    [2.0, 3.0]
    """
    rest = {name: value for name, value in params.items() if name != "batch_stats"}
    _, kept = model.apply(rest, *x, mutable=["batch_stats"], **options)
    return {**rest, **kept}


def _moments(
    x: jax.Array, axes: tuple[int, ...], real: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Mean and variance over `axes`, which stay as axes of size 1, of the real examples.

    Var(x) = E[(x - s)²] - E[x - s]² for any constant s. With the mean itself as s, float32 loses no
    digits to cancellation, and the second term is 0; but its second derivative is not.
    """
    weights = None if real is None else _weights(real, x)
    mean = _average(x, axes, weights)
    shift = lax.stop_gradient(mean)
    square = _average(jnp.square(x - shift), axes, weights)
    return mean, square - jnp.square(mean - shift)


def _average(x: jax.Array, axes: tuple[int, ...], weights: jax.Array | None) -> jax.Array:
    """The mean over `axes`; with weights [N, 1, ..., 1], first that of each example.

    The weights then multiply one number for each channel of an example, not each pixel.
    """
    if weights is not None:
        summed = jnp.sum(x.mean(axes[1:], keepdims=True) * weights, 0, keepdims=True)
        return across.total(summed)
    mean = x.mean(axes, keepdims=True)
    return across.mean(mean) if 0 in axes else mean


def _weights(real: jax.Array, x: jax.Array) -> jax.Array:
    """Weights [N, 1, ..., 1] of a mean over the real examples."""
    count = across.total(real.sum())
    weights = real.astype(x.dtype) / jnp.maximum(count, 1).astype(x.dtype)
    return weights.reshape(-1, *(1,) * (x.ndim - 1))


def _group_moments(x: jax.Array, groups: int) -> tuple[jax.Array, jax.Array]:
    """Moments [N, 1, ..., 1, C] of each example over each group of channels."""
    channels = x.shape[-1]
    if groups < 1 or channels % groups:
        raise ValueError(
            f"Norm got groups={groups} for {channels} channels; give a number that divides the "
            "number of channels."
        )
    grouped = x.reshape(*x.shape[:-1], groups, channels // groups)
    axes = (*range(1, x.ndim - 1), x.ndim)
    moments = [jnp.repeat(m[..., 0], channels // groups, -1) for m in _moments(grouped, axes)]
    return moments[0], moments[1]

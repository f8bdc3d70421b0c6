"""Normalisation layers that carry no running state through training."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Kind = Literal["batch", "group", "layer"]


class Norm(nn.Module):
    """Normalise by the moments of the input itself, then scale and shift each channel.

        y = scale (x - mean) / √(variance + ε) + bias

    * "batch": moments of each channel over the given batch, and H, W. In an episode this is
      transductive: a query's output depends on the other queries given with it. Where the
      variables hold a collection "batch_stats" (see `population_statistics`) its fixed moments
      are used instead, without a gradient, and every example stands for itself.
    * "group": moments of each example over H, W and the channels of one of `groups` groups.
    * "layer": moments of each example over H, W and all channels.
    * None: the input as it is, with no parameters.

    Args:
        kind: which moments.
        groups: number of groups for "group"; it must divide the channels.
        epsilon: added to the variance inside the root.

    Raises:
        ValueError: an unknown kind, or groups that do not divide the channels.

    Batch Normalization (Ioffe, Szegedy, 2015, arXiv:1502.03167); Layer Normalization (Ba, Kiros,
    Hinton, 2016, arXiv:1607.06450); Group Normalization (Wu, He, 2018, arXiv:1803.08494).

    >>> import jax, jax.numpy as jnp
    >>> x = jnp.arange(6.0).reshape(3, 2)
    >>> y, _ = Norm("batch").init_with_output(jax.random.key(0), x)
    >>> [round(float(v), 3) for v in y[:, 0]]
    [-1.225, 0.0, 1.225]
    """

    kind: Kind | None = "batch"
    groups: int = 8
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Inputs [N, ..., C] to the same shape."""
        if self.kind is None:
            return x
        channels = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones_init(), (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        if self.kind == "batch":
            mean, variance = self._batch_moments(x)
        elif self.kind in ("group", "layer"):
            mean, variance = _group_moments(x, self.groups if self.kind == "group" else 1)
        else:
            raise ValueError(
                f"Norm got kind={self.kind!r}; it knows 'batch', 'group', 'layer' and None."
            )
        one = (1,) * (x.ndim - 1)
        factor = scale.reshape(*one, channels) * lax.rsqrt(variance + self.epsilon)
        return x * factor + (bias.reshape(*one, channels) - mean * factor)

    def _batch_moments(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Moments [1, ..., 1, C]: the batch's, or those kept in "batch_stats"."""
        shape = (1,) * (x.ndim - 1) + x.shape[-1:]
        keep = self.is_mutable_collection("batch_stats") and not self.is_initializing()
        if self.has_variable("batch_stats", "mean") and not keep:
            mean: Any = self.get_variable("batch_stats", "mean").reshape(shape)
            variance: Any = self.get_variable("batch_stats", "variance").reshape(shape)
            return lax.stop_gradient(mean), lax.stop_gradient(variance)
        mean, variance = _moments(x, tuple(range(x.ndim - 1)))
        if keep:
            self.put_variable("batch_stats", "mean", mean.reshape(-1))
            self.put_variable("batch_stats", "variance", variance.reshape(-1))
        return mean, variance


def population_statistics(model: nn.Module, params: Any, *x: Any) -> Any:
    """Fix the moments of every batch normalisation to those of some example inputs.

    One pass over `x`, all at once. The result stands where `params` stood, and makes a network
    inductive: no prediction depends on what else is in the batch. The moments belong to these
    weights; compute them again after the weights change.

    Args:
        model: a Flax Linen module made with `Norm`.
        params: its variables, {'params': ...}.
        x: example inputs as the model takes them, images [N, H, W, C]. Of a network that uses a
            layer more than once, such as on support and queries, the last use counts.

    Returns:
        {'params': ..., 'batch_stats': ...}; without the second if no layer uses batch moments.

    >>> import jax, jax.numpy as jnp
    >>> model, x = Norm("batch"), jnp.arange(6.0).reshape(3, 2)
    >>> fixed = population_statistics(model, model.init(jax.random.key(0), x), x)
    >>> fixed["batch_stats"]["mean"].tolist()
    [2.0, 3.0]
    """
    rest = {name: value for name, value in params.items() if name != "batch_stats"}
    _, kept = model.apply(rest, *x, mutable=["batch_stats"])
    return {**rest, **kept}


def _moments(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Mean and variance over `axes`, kept as axes of size 1, in one pass over the data.

    Var(x) = E[(x - s)²] - E[x - s]² for any constant s. The first element as s keeps float32 from
    cancelling where the mean is large against the deviation.
    """
    first = tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(x.ndim))
    shift = lax.stop_gradient(x[first])
    centred = x - shift
    mean = centred.mean(axes, keepdims=True)
    variance = (centred * centred).mean(axes, keepdims=True) - mean * mean
    return mean + shift, jnp.maximum(variance, 0)


def _group_moments(x: jax.Array, groups: int) -> tuple[jax.Array, jax.Array]:
    """Moments [N, 1, ..., 1, C] of each example and group of channels."""
    channels = x.shape[-1]
    if groups < 1 or channels % groups:
        raise ValueError(
            f"Norm got groups={groups} for {channels} channels; give a number that divides them."
        )
    grouped = x.reshape(*x.shape[:-1], groups, channels // groups)
    axes = (*range(1, x.ndim - 1), x.ndim)
    moments = [jnp.repeat(m[..., 0], channels // groups, -1) for m in _moments(grouped, axes)]
    return moments[0], moments[1]

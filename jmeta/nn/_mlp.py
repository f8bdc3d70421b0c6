"""Fully connected networks."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._conv import Initializer
from jmeta.nn._norm import Kind, Norm


class MLP(nn.Module):
    """Linear layers with ReLU between them; with (40, 40) and 1 output, MAML's sinusoid network.

    Args:
        features: widths of the hidden layers.
        outputs: width of the last, linear layer "head"; None ends with the last hidden [N, D].
        norm: normalisation before each ReLU (see `Norm`).
        context: context parameters "context" [context], zero at first, joined to every input;
            0 for none (CAVIA, arXiv:1810.03642).
        kernel_init: initializer of the weights; MAML takes a truncated normal of deviation 0.01.

    Raises:
        ValueError: inputs that are not floating-point.

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Finn, Abbeel, Levine, 2017,
    arXiv:1703.03400).

    >>> import jax, jax.numpy as jnp
    >>> MLP((40, 40), 1).init_with_output(jax.random.key(0), jnp.ones((10, 1)))[0].shape
    (10, 1)
    """

    features: tuple[int, ...] = (40, 40)
    outputs: int | None = 1
    norm: Kind | None = None
    context: int = 0
    kernel_init: Initializer = nn.initializers.truncated_normal(0.01)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Inputs [N, ...], flattened to [N, D], to [N, outputs]."""
        if jnp.ndim(x) < 2 or not jnp.issubdtype(jnp.result_type(x), jnp.floating):
            raise ValueError(
                f"MLP expects floating-point inputs [N, ...], but got {jnp.result_type(x)} of "
                f"shape {jnp.shape(x)}; add the batch axis, or cast integers to floats first."
            )
        x = x.reshape(len(x), -1)
        if self.context:
            context = self.param("context", nn.initializers.zeros_init(), (self.context,))
            repeated = jnp.broadcast_to(context[None], (len(x), self.context))
            x = jnp.concatenate([x, repeated], -1)
        for width in self.features:
            x = nn.relu(Norm(self.norm)(linear(x, width, self.kernel_init)))
        if self.outputs is None:
            return x
        return linear(x, self.outputs, self.kernel_init, name="head")


def linear(
    x: jax.Array, features: int, kernel_init: Initializer, *, name: str | None = None
) -> jax.Array:
    """A linear layer of the module that calls it: [N, D] to [N, features], zero bias at first."""
    return nn.Dense(features, kernel_init=kernel_init, name=name)(x)

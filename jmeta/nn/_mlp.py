"""Fully connected networks."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._conv import Initializer
from jmeta.nn._norm import Kind, Norm


class MLP(nn.Module):
    """Linear layers with ReLU between them. The defaults are MAML's network for sinusoids.

    Args:
        hidden: widths of the hidden layers.
        outputs: width of the last linear layer, "head". None leaves it out and gives the last
            hidden layer [N, D].
        norm: normalisation before each ReLU: "none", "batch", "group" or "layer"; see `Norm`.
        context: number of context parameters, "context" [context], which start at zero and are
            concatenated with every input; 0 for none (CAVIA, arXiv:1810.03642).
        kernel_init: initializer of all weights. MAML's published code draws them from a truncated
            normal distribution of deviation 0.01.

    Raises:
        ValueError: the inputs are not floating-point arrays [N, ...].

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Finn, Abbeel, Levine, 2017,
    arXiv:1703.03400).

    >>> import jax, jax.numpy as jnp
    >>> MLP((40, 40), 1).init_with_output(jax.random.key(0), jnp.ones((10, 1)))[0].shape
    (10, 1)
    """

    hidden: tuple[int, ...] = (40, 40)
    outputs: int | None = 1
    norm: Kind = "none"
    context: int = 0
    kernel_init: Initializer = nn.initializers.he_normal()
    by_example: ClassVar[bool] = True  # a mesh may share the examples, see `jmeta.step`

    @property
    def masked(self) -> bool:
        """Whether outputs depend on which examples are real: with batch statistics."""
        return self.norm == "batch"

    @nn.compact
    def __call__(self, x: jax.Array, *, real: jax.Array | None = None) -> jax.Array:
        """Inputs [N, ...], flattened to [N, D], to [N, outputs].

        `real` [N] is false for padded examples, which are left out of batch statistics.
        """
        if jnp.ndim(x) < 2 or not jnp.issubdtype(jnp.result_type(x), jnp.floating):
            raise ValueError(
                f"MLP expects floating-point inputs [N, ...], but got {jnp.result_type(x)} of "
                f"shape {jnp.shape(x)}; add the batch axis, or cast integers to floats first."
            )
        x = x.reshape(x.shape[0], -1)
        if self.context:
            context = self.param("context", nn.initializers.zeros_init(), (self.context,))
            repeated = jnp.broadcast_to(context[None], (x.shape[0], self.context))
            x = jnp.concatenate([x, repeated], -1)
        for width in self.hidden:
            x = nn.relu(Norm(self.norm)(linear(x, width, self.kernel_init), real))
        if self.outputs is None:
            return x
        return linear(x, self.outputs, self.kernel_init, name="head")


def linear(
    x: jax.Array, features: int, kernel_init: Initializer, *, name: str | None = None
) -> jax.Array:
    """Apply a linear layer of the calling module: [N, D] to [N, features]; the bias starts at 0."""
    return nn.Dense(features, kernel_init=kernel_init, name=name)(x)

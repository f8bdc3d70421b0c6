"""The network of four convolutions that is common in few-shot learning, in its two forms."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._conv import Conv, Impl, Initializer, check_images
from jmeta.nn._mlp import linear
from jmeta.nn._norm import Kind, Norm
from jmeta.nn._pool import max_pool, mean_pool

Form = Literal["strided", "maxpool"]


class Conv4(nn.Module):
    """Four blocks of convolution, normalisation and ReLU, then a linear layer "head".

    * "maxpool": 3x3 convolutions and 2x2 max-pooling, flattened to D = filters (H // 16) (W // 16)
      features (Matching and Prototypical Networks; MAML on miniImageNet). Max-pooling comes before
      normalisation and ReLU, which gives the same numbers for less work.
    * "strided": 3x3 convolutions with stride 2, then the mean over pixels, D = filters (MAML on
      Omniglot, with 64 filters).

    Args:
        outputs: width of the linear layer. None leaves it out and gives the embedding [N, D].
        filters: channels of each convolution.
        norm: "batch" (transductive in an episode), "group", "layer" or "none"; see `Norm`.
        form: "maxpool" or "strided".
        context: number of context parameters, "context" [context], which start at zero. In every
            block, a linear layer of them scales and shifts the channels (FiLM). 0 for none (CAVIA,
            arXiv:1810.03642).
        maps: return feature maps [N, H // 4, W // 4, filters]: the form "maxpool" with pooling in
            the first two blocks only (Relation Networks, arXiv:1711.06025). Requires outputs=None.
        kernel_init: initializer of the convolutions.
        head_init: initializer of the linear layer.
        impl: see `conv2d`.

    Raises:
        ValueError: the inputs are not floating-point images [N, H, W, C]; images are smaller than
            16x16 in the form "maxpool"; the form is unknown; or `maps` is set together with
            outputs or with another form.

    Matching Networks for One Shot Learning (Vinyals et al., 2016, arXiv:1606.04080);
    Prototypical Networks for Few-shot Learning (Snell, Swersky, Zemel, 2017, arXiv:1703.05175);
    Model-Agnostic Meta-Learning (Finn, Abbeel, Levine, 2017, arXiv:1703.03400).

    >>> import jax, jax.numpy as jnp
    >>> model, x = Conv4(5), jnp.ones((2, 28, 28, 1))
    >>> params = jax.jit(model.init)(jax.random.key(0), x)
    >>> jax.jit(model.apply)(params, x).shape
    (2, 5)
    """

    outputs: int | None
    filters: int = 32
    norm: Kind = "batch"
    form: Form = "maxpool"
    context: int = 0
    maps: bool = False
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    head_init: Initializer = nn.initializers.truncated_normal(0.01)
    impl: Impl | None = None
    by_example: ClassVar[bool] = True  # a mesh may share the examples, see `jmeta.step`

    @property
    def masked(self) -> bool:
        """Whether outputs depend on which examples are real: with batch statistics."""
        return self.norm == "batch"

    @nn.compact
    def __call__(self, x: jax.Array, *, real: jax.Array | None = None) -> jax.Array:
        """Images [N, H, W, C] to [N, outputs], or to [N, D] without outputs.

        `real` [N] is false for padded examples, which are left out of batch statistics.
        """
        self._check()
        pooled = self.form == "maxpool"
        check_images(x, smallest=16 if pooled else 1)
        if self.context:
            context = self.param("context", nn.initializers.zeros_init(), (self.context,))
        for index in range(4):
            norm, conv = Norm(self.norm), self._conv(1 if pooled else 2)
            pools = pooled and not (self.maps and index > 1)
            if pools and not self.context:
                x = norm(conv(x, defer=self.norm == "batch"), real, pool=True)
                continue
            x = norm(conv(x), real)
            x = self._film(x, context, index) if self.context else x
            x = max_pool(x, relu=True) if pools else nn.relu(x)
        if self.maps:
            return x
        x = x.reshape(x.shape[0], -1) if pooled else mean_pool(x)
        if self.outputs is None:
            return x
        return linear(x, self.outputs, self.head_init, name="head")

    def _check(self) -> None:
        """Refuse options that do not fit together."""
        if self.form not in ("strided", "maxpool"):
            raise ValueError(f"Conv4 got form={self.form!r}; give 'maxpool' or 'strided'.")
        if self.maps and (self.form != "maxpool" or self.outputs is not None):
            raise ValueError(
                f"Conv4 got maps=True with form={self.form!r}, outputs={self.outputs}; feature "
                "maps need form='maxpool' and outputs=None."
            )

    def _film(self, x: jax.Array, context: jax.Array, index: int) -> jax.Array:
        """Scale and shift the channels by a linear layer of the context."""
        maps = linear(context[None], 2 * self.filters, self.kernel_init, name=f"film_{index}")
        scale, shift = jnp.split(maps[:, None, None, :], 2, -1)
        return x * (1 + scale) + shift

    def _conv(self, stride: int) -> Conv:
        return Conv(
            self.filters,
            stride=stride,
            use_bias=self.norm == "none",
            kernel_init=self.kernel_init,
            impl=self.impl,
        )

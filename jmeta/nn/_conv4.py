"""The four-layer convolutional network of few-shot learning, in its two forms."""

from typing import Literal

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

    * "strided": 3x3 convolutions with stride 2, mean over pixels (MAML on Omniglot): D = filters.
    * "maxpool": 3x3 convolutions and 2x2 max-pooling, flattened (Matching and Prototypical
      Networks): D = filters (H // 16) (W // 16), 64 for 28x28 images. Max-pooling comes before
      ReLU, which gives the same numbers for less work.

    Args:
        outputs: width of the linear layer; None gives the embedding [N, D].
        filters: channels of each convolution.
        norm: "batch" (transductive in an episode), "group", "layer" or None; see `Norm`.
        form: "strided" or "maxpool".
        context: context parameters "context" [context], zero at first; a linear layer of them
            scales and shifts the channels of every block (FiLM). 0 for none (CAVIA,
            arXiv:1810.03642).
        maps: feature maps [N, H // 4, W // 4, filters] and no linear layer: "maxpool" with pooling
            in the first two blocks only (Relation Networks, arXiv:1711.06025).
        kernel_init: initializer of the convolutions.
        head_init: initializer of the linear layer.
        impl: see `conv2d`.

    Raises:
        ValueError: inputs that are not floating-point images [N, H, W, C], images smaller than
            16x16 for "maxpool", an unknown form, or maps of another form or with outputs.

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
    filters: int = 64
    norm: Kind | None = "batch"
    form: Form = "strided"
    context: int = 0
    maps: bool = False
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    head_init: Initializer = nn.initializers.truncated_normal(0.01)
    impl: Impl | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Images [N, H, W, C] to [N, outputs], or to [N, D]."""
        if self.form not in ("strided", "maxpool"):
            raise ValueError(f"Conv4 got form={self.form!r}; it knows 'strided' and 'maxpool'.")
        pooled = self.form == "maxpool"
        if self.maps and not (pooled and self.outputs is None):
            raise ValueError("Conv4 gives maps in the form 'maxpool' without outputs alone.")
        check_images(x, smallest=16 if pooled else 1)
        if self.context:
            context = self.param("context", nn.initializers.zeros_init(), (self.context,))
        for index in range(4):
            x = Norm(self.norm)(self._conv(1 if pooled else 2)(x))
            x = self._film(x, context, index) if self.context else x
            x = max_pool(x, relu=True) if pooled and not (self.maps and index > 1) else nn.relu(x)
        if self.maps:
            return x
        x = x.reshape(len(x), -1) if pooled else mean_pool(x)
        if self.outputs is None:
            return x
        return linear(x, self.outputs, self.head_init, name="head")

    def _film(self, x: jax.Array, context: jax.Array, index: int) -> jax.Array:
        """Scale and shift the channels as the context says."""
        maps = linear(context[None], 2 * self.filters, self.kernel_init, name=f"film_{index}")
        scale, shift = jnp.split(maps[:, None, None, :], 2, -1)
        return x * (1 + scale) + shift

    def _conv(self, stride: int) -> Conv:
        return Conv(
            self.filters,
            stride=stride,
            use_bias=self.norm is None,
            kernel_init=self.kernel_init,
            impl=self.impl,
        )

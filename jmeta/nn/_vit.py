"""Vision Transformers: ViT, DINOv2 and the image encoder of CLIP are one module with options."""

from typing import ClassVar, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from jmeta.nn._conv import Initializer, check_images
from jmeta.nn._mlp import linear
from jmeta.nn._positions import resized
from jmeta.nn._standard import IMAGENET_MEAN, IMAGENET_STD, Triple, standardised

Activation = Literal["gelu", "quick_gelu", "swiglu"]

_INIT = nn.initializers.truncated_normal(0.02)


class ViT(nn.Module):
    """A Transformer over the patches of an image; its output is that of the class token.

        x_0 = [class, registers, patches W] + positions
        x ← x + s_1 attention(LN(x));   x ← x + s_2 MLP(LN(x))     `depth` times
        embedding = LN(x)[class]

    The images are RGB or grey, in 0..1, and are standardised here by `mean` and `std`; grey ones
    are taken for RGB. What is left of an image beyond whole patches is cut off. Positions
    were learned on a square of `side` pixels; for images of another size their grid is resized by
    bicubic interpolation, as the models' own code does. `load_vit` makes this module, with
    its options and weights, of the files of DINOv2, ViT and CLIP.

    Args:
        outputs: width of the linear layer "head". None leaves it out and gives the embedding
            [N, width], or [N, projection].
        width: of the tokens.
        depth: number of blocks.
        heads: of the attention; they divide the width.
        hidden: units of the MLP; with "swiglu", of each of its two halves.
        patch: side of a patch in pixels.
        side: side of the images that the positions are for, in pixels.
        activation: "gelu", "quick_gelu" (x sigmoid(1.702 x), CLIP), or "swiglu" (silu(a) b, the
            largest DINOv2).
        scaled: whether s_1, s_2 [width] are learned (LayerScale, DINOv2); otherwise they are 1.
        registers: tokens without a position, whose outputs are not used.
        normed: whether the tokens are normalised before the first block (CLIP).
        projection: width of a last linear map without bias (CLIP); None for none.
        patch_bias: whether the map of the patches has a bias.
        attention_bias: whether the maps to queries, keys and values have a bias.
        antialias: whether the interpolation of positions is smoothed where their grid shrinks.
        epsilon: added to the variances of the layer normalisations.
        mean, std: by which the channels are standardised.
        head_init: initializer of the linear layer.

    Raises:
        ValueError: the inputs are not floating-point images [N, H, W, 1 or 3] of at least one
            patch; or options do not fit together.

    An Image is Worth 16x16 Words (Dosovitskiy et al., 2021, arXiv:2010.11929); DINOv2 (Oquab et
    al., 2023, arXiv:2304.07193); Vision Transformers Need Registers (Darcet et al., 2023,
    arXiv:2309.16588); Learning Transferable Visual Models From Natural Language Supervision
    (Radford et al., 2021, arXiv:2103.00020).

    >>> import jax, jax.numpy as jnp
    >>> model = ViT(5, width=8, depth=1, heads=2, hidden=16, patch=4, side=8)
    >>> x = jnp.ones((2, 8, 8, 3))
    >>> params = model.init(jax.random.key(0), x)
    >>> model.apply(params, jnp.ones((2, 12, 9, 1))).shape
    (2, 5)
    """

    outputs: int | None
    width: int = 384
    depth: int = 12
    heads: int = 6
    hidden: int = 1536
    patch: int = 14
    side: int = 224
    activation: Activation = "gelu"
    scaled: bool = False
    registers: int = 0
    normed: bool = False
    projection: int | None = None
    patch_bias: bool = True
    attention_bias: bool = True
    antialias: bool = False
    epsilon: float = 1e-6
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    head_init: Initializer = nn.initializers.glorot_uniform()
    by_example: ClassVar[bool] = True  # a mesh may share the examples, see `jmeta.step`

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Images [N, H, W, C] in 0..1 to [N, outputs], or to the embedding without outputs."""
        self._check()
        check_images(x, smallest=self.patch)
        x = self._tokens(standardised(x, self.mean, self.std, of="ViT"))
        if self.normed:
            x = _normalised(x, self.epsilon, "pre_norm")
        for index in range(self.depth):
            x = _Block(
                *(self.heads, self.hidden, self.activation, self.scaled),
                *(self.attention_bias, self.epsilon),
                name=f"block_{index}",
            )(x)
        x = _normalised(x[:, 0], self.epsilon, "norm")
        if self.projection is not None:
            x = nn.Dense(self.projection, use_bias=False, kernel_init=_INIT, name="projection")(x)
        return x if self.outputs is None else linear(x, self.outputs, self.head_init, name="head")

    def _tokens(self, x: jax.Array) -> jax.Array:
        """Class token, registers and patches [N, T, width] with their positions."""
        n, (rows, cols) = x.shape[0], (size // self.patch for size in x.shape[1:3])
        x = x[:, : rows * self.patch, : cols * self.patch]
        x = x.reshape(n, rows, self.patch, cols, self.patch, 3).transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(n, rows * cols, self.patch * self.patch * 3)
        x = nn.Dense(self.width, use_bias=self.patch_bias, kernel_init=_INIT, name="patches")(x)
        first = self.param("class_token", _INIT, (self.width,))
        grid = self.side // self.patch
        places = self.param("positions", _INIT, (1 + grid * grid, self.width))
        x = x + resized(places[1:], (rows, cols), antialias=self.antialias)[None]
        tokens = (first + places[0])[None]
        if self.registers:
            more = self.param("registers", _INIT, (self.registers, self.width))
            tokens = jnp.concatenate([tokens, more])
        tokens = jnp.broadcast_to(tokens[None], (n, *tokens.shape))
        return jnp.concatenate([tokens, x], 1)

    def _check(self) -> None:
        """Refuse options that do not fit together."""
        if self.activation not in get_args(Activation):
            raise ValueError(
                f"ViT got activation={self.activation!r}; give one of "
                f"{', '.join(get_args(Activation))}."
            )
        if self.heads < 1 or self.width % self.heads or not 0 < self.patch <= self.side:
            raise ValueError(
                f"ViT got width={self.width}, heads={self.heads}, patch={self.patch}, side="
                f"{self.side}; give heads that divide the width, and patches within the side."
            )


class _Block(nn.Module):
    """Attention and an MLP, each on normalised tokens and added to them."""

    heads: int
    hidden: int
    activation: Activation
    scaled: bool
    bias: bool
    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Tokens [N, T, D] to tokens of the same shape."""
        x = x + self._scale(self._attend(_normalised(x, self.epsilon, "norm_1")), "scale_1")
        return x + self._scale(self._mlp(_normalised(x, self.epsilon, "norm_2")), "scale_2")

    def _attend(self, x: jax.Array) -> jax.Array:
        """Each token takes the mean of the values, weighted by softmax(q k / √d), of each head."""
        n, tokens, width = x.shape
        shape = (n, tokens, self.heads, width // self.heads)
        query, key, value = (
            nn.Dense(width, use_bias=self.bias, kernel_init=_INIT, name=name)(x).reshape(shape)
            for name in ("query", "key", "value")
        )
        scores = jnp.einsum("nqhd,nkhd->nhqk", query * shape[-1] ** -0.5, key)
        mixed = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores, -1), value)
        return nn.Dense(width, kernel_init=_INIT, name="out")(mixed.reshape(n, tokens, width))

    def _mlp(self, x: jax.Array) -> jax.Array:
        gated = self.activation == "swiglu"
        y = nn.Dense(self.hidden * (1 + gated), kernel_init=_INIT, name="up")(x)
        if gated:
            gate, y = jnp.split(y, 2, -1)
            y = nn.silu(gate) * y
        elif self.activation == "quick_gelu":
            y = y * nn.sigmoid(1.702 * y)
        else:
            y = nn.gelu(y, approximate=False)
        return nn.Dense(x.shape[-1], kernel_init=_INIT, name="down")(y)

    def _scale(self, x: jax.Array, name: str) -> jax.Array:
        if not self.scaled:
            return x
        return x * self.param(name, nn.initializers.ones_init(), (x.shape[-1],)).reshape(1, 1, -1)


def _normalised(x: jax.Array, epsilon: float, name: str) -> jax.Array:
    """Each token by its own moments, scaled and shifted."""
    return nn.LayerNorm(epsilon, use_fast_variance=False, name=name)(x)

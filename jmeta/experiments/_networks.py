"""The networks of experiments: options, from which an algorithm builds the modules it needs."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import jax

from jmeta import nn
from jmeta.core import Net
from jmeta.experiments._options import Part, option

NORMS = ("batch", "group", "layer", "none")
_NORM_HELP = "Normalisation: batch (by the moments of the batch at hand), group, layer, or none."


@dataclass(frozen=True)
class Network(Part):
    """A network. A subclass of your own defines `module`, and its options as fields."""

    name: ClassVar[str]
    convolves: ClassVar[bool] = True  # then tasks are differentiated one at a time on a CPU
    has_maps: ClassVar[bool] = False  # whether `module(maps=True)` gives feature maps
    by_example: ClassVar[bool] = False  # whether devices may share the examples of a task

    def module(self, outputs: int | None, *, context: int = 0, maps: bool = False) -> Net:
        """The network itself.

        Args:
            outputs: width of its linear output layer; None gives an embedding.
            context: number of context parameters (CAVIA); 0 for none.
            maps: an embedding that keeps its feature maps (relation networks).

        Raises:
            ValueError: what was asked for is not to be had of this network.
        """
        raise NotImplementedError

    @property
    def transductive(self) -> bool:
        """Whether predictions depend on the other queries, through batch statistics."""
        return getattr(self, "norm", "none") == "batch"

    @property
    def width(self) -> int:
        """Units of a layer that is put behind this network."""
        return 64


@dataclass(frozen=True)
class Conv4(Network):
    """Four convolutions with max-pooling (Matching and Prototypical Networks)."""

    name: ClassVar[str] = "conv4"
    form: ClassVar[Literal["strided", "maxpool"]] = "maxpool"
    has_maps: ClassVar[bool] = True
    by_example: ClassVar[bool] = True
    filters: int = option(32, "Channels of each convolution.", least=1)
    norm: str = option("batch", _NORM_HELP, choices=NORMS)

    def module(self, outputs: int | None, *, context: int = 0, maps: bool = False) -> Net:
        """A `jmeta.nn.Conv4`."""
        norm: Any = self.norm
        return nn.Conv4(
            outputs,
            filters=self.filters,
            norm=norm,
            form=self.form,
            context=context,
            maps=maps,
        )

    @property
    def width(self) -> int:
        """The channels."""
        return self.filters


@dataclass(frozen=True)
class Conv4Strided(Conv4):
    """Four convolutions with stride 2 (MAML on Omniglot)."""

    name: ClassVar[str] = "conv4-strided"
    form: ClassVar[Literal["strided", "maxpool"]] = "strided"
    has_maps: ClassVar[bool] = False


@dataclass(frozen=True)
class ResNet12(Network):
    """Twelve convolutions in four residual blocks."""

    name: ClassVar[str] = "resnet12"
    by_example: ClassVar[bool] = True
    filters: int = option(
        64, "Channels of the first block; the others have 2.5, 5 and 10 times as many.", least=1
    )
    norm: str = option("batch", _NORM_HELP, choices=NORMS)

    def module(self, outputs: int | None, *, context: int = 0, maps: bool = False) -> Net:
        """A `jmeta.nn.ResNet12`."""
        if context:
            raise ValueError(
                "cavia needs a network with context parameters, but resnet12 has none: choose mlp "
                "or conv4."
            )
        widths = tuple(int(self.filters * scale) for scale in (1, 2.5, 5, 10))
        norm: Any = self.norm
        return nn.ResNet12(outputs=outputs, widths=widths, norm=norm)

    @property
    def width(self) -> int:
        """The channels of the first block."""
        return self.filters


@dataclass(frozen=True)
class MLP(Network):
    """Fully connected layers."""

    name: ClassVar[str] = "mlp"
    convolves: ClassVar[bool] = False
    hidden: tuple[int, ...] = option(
        (40, 40), "Hidden units; the last is the width of a neural process.", least=1
    )
    norm: str | None = option(
        None, _NORM_HELP + " None: batch for classes, none for numbers.", choices=NORMS
    )

    def completed(self, kind: str, steps: int) -> Self:
        """With the normalisation that suits the data."""
        del steps
        default = "batch" if kind == "classes" else "none"
        return self if self.norm is not None else replace(self, norm=default)

    def module(self, outputs: int | None, *, context: int = 0, maps: bool = False) -> Net:
        """A `jmeta.nn.MLP`."""
        last = self.hidden[-1] if outputs is None else outputs
        inner = self.hidden[:-1] if outputs is None else self.hidden
        norm: Any = self.norm or "none"
        return nn.MLP(inner, last, norm=norm, context=context)

    @property
    def width(self) -> int:
        """The last hidden units."""
        return self.hidden[-1]


@dataclass(frozen=True)
class NoNetwork(Network):
    """Inputs as they are, for learners that read them whole: SNAIL and MANN."""

    name: ClassVar[str] = "none"


@dataclass(frozen=True)
class Identity(Network):
    """The inputs as they are, such as features of another network; under a head, one layer."""

    name: ClassVar[str] = "identity"
    convolves: ClassVar[bool] = False

    def module(self, outputs: int | None, *, context: int = 0, maps: bool = False) -> Net:
        """Inputs [N, ...] to [N, D], or through a linear layer to [N, outputs]."""
        if outputs is not None:
            return nn.MLP((), outputs, context=context)
        return nn.from_functions(_no_parameters, _flat)


def _no_parameters(key: jax.Array, x: jax.Array) -> dict[str, Any]:
    del key, x
    return {}


def _flat(params: dict[str, Any], x: jax.Array) -> jax.Array:
    del params
    return x.reshape(x.shape[0], -1)


TABLE: tuple[type[Network], ...] = (Conv4, Conv4Strided, ResNet12, MLP, Identity, NoNetwork)

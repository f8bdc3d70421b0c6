"""Tasks without labels: UMTRA and CACTUs draw what they say, and read no label."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jmeta import augment, cli, data, train
from jmeta.data import _clusters
from jmeta.experiments._content import content

KEY = jax.random.key(0)


def numbered(classes: int = 4, each: int = 5) -> data.Pool:
    """Images whose pixels all hold the number of the image."""
    x = np.arange(classes * each, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1))
    return data.pool_from_classes(np.split(x.astype(np.uint8), classes))


def poisoned(pool: data.Pool) -> data.Pool:
    """The same images with all that says of which class they are made useless."""
    useless = {name: jnp.full_like(getattr(pool, name), -7) for name in ("starts", "counts")}
    return replace(pool, **useless, groups=jnp.full_like(pool.groups, -7), smallest=0, largest=0)


def brighter(key, images):
    """Adds to every image a number of its own below 1/255."""
    return images + 0.9 / 255 * jax.random.uniform(key, (len(images), 1, 1, 1))


def number_of(x):
    return np.floor(np.asarray(x)[:, 0, 0, 0] * 255 + 1e-3).astype(int)


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = map(jax.random.key_data, (a, b))
        np.testing.assert_array_equal(a, b)


umtra = partial(data.sample_umtra, ways=6, shots=2, queries=3, change=brighter)


@pytest.mark.parametrize("change_support", [False, True])
def test_a_class_of_umtra_is_one_image_and_what_becomes_of_it(change_support):
    pool = numbered()
    sample = jax.jit(partial(umtra, change_support=change_support))
    for seed in range(5):
        task = sample(jax.random.key(seed), pool)
        support, query = number_of(task.support.x), number_of(task.query.x)
        assert len(set(support)) == 6
        np.testing.assert_array_equal(support, np.repeat(support[::2], 2))
        np.testing.assert_array_equal(query, np.repeat(support[::2], 3))
        np.testing.assert_array_equal(task.support.y, np.repeat(np.arange(6), 2))
        np.testing.assert_array_equal(task.query.y, np.repeat(np.arange(6), 3))
        first = np.asarray(task.support.x[::2, 0, 0, 0]) * 255
        assert (abs(first - support[::2]) < 1e-4).all() != change_support
        changed = np.concatenate([task.support.x[1::2], task.query.x])[:, 0, 0, 0]
        assert len(set(changed.tolist())) == 24  # each by a draw of its own


def test_tasks_of_umtra_are_those_of_the_images_alone():
    pool = numbered()
    sample = jax.jit(umtra)
    task = sample(KEY, pool)
    assert_same(task, sample(KEY, poisoned(pool)))
    assert_same(task, sample(KEY, pool.examples))
    assert task.support.x.dtype == jnp.float32
    assert not (sample(jax.random.key(1), pool).support.x == task.support.x).all()
    keys = jax.random.split(KEY, 3)
    many = jax.jit(jax.vmap(umtra, (0, None)))(keys, pool)
    assert_same(jax.tree.map(lambda leaf: leaf[1], many), sample(keys[1], pool))


def test_every_image_is_drawn_as_often_as_any_other():
    sample = partial(data.sample_umtra, ways=2, queries=1, change=lambda key, x: x)
    x = numbered(2, 3).examples
    tasks = jax.jit(jax.vmap(sample, (0, None)))(jax.random.split(KEY, 3000), x)
    counts = np.bincount(number_of(tasks.support.x.reshape(-1, 4, 4, 1)), minlength=6)
    assert (abs(counts - 1000) < 5 * np.sqrt(1000)).all()


def test_turned_images_are_classes_of_umtra_too():
    x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    task = data.sample_umtra(KEY, x, ways=4, queries=1, change=lambda key, x: x, rotations=4)
    found = {tuple(image.ravel().tolist()) for image in task.support.x}
    assert found == {tuple(np.rot90(x[0, ..., 0], n).ravel().tolist()) for n in range(4)}
    assert_same(task.support.x, task.query.x)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ways": 21}, r"asked for 21 ways, each of them one image, but there are 20 images"),
        ({"queries": 0}, "got queries=0, expected at least 1"),
        (
            {"change": "flip"},
            r"change must be a function \(key, images\) -> images, but got 'fl",
        ),
        ({"change": lambda key, x: x[:1]}, "change must keep the shape of images"),
        ({"rotations": 2}, "got rotations=2, expected 1"),
    ],
)
def test_umtra_refuses_what_it_cannot_draw(options, says):
    with pytest.raises(ValueError, match=says):
        umtra(KEY, numbered(), **options)


BLOBS = np.repeat(np.arange(4), 5)


def blobs(seed: int = 0) -> np.ndarray:
    """Embeddings of 20 images in four places that lie apart in every dimension."""
    rng = np.random.default_rng(seed)
    return (100 * rng.permuted(np.tile(np.arange(4), (3, 1)), axis=1).T[BLOBS]) + rng.normal(
        size=(20, 3)
    )


def test_cactus_finds_clusters_that_lie_apart_in_every_partition():
    pool = data.cactus(blobs(), clusters=4, partitions=3)
    assert pool.group_sizes == (4, 4, 4) and pool.counts.tolist() == [5] * 12
    found = BLOBS[np.asarray(pool.examples)].reshape(12, 5)
    assert (found == found[:, :1]).all()
    for each in np.asarray(pool.examples).reshape(3, 20):
        assert sorted(each) == list(range(20))


def test_a_task_of_cactus_is_an_episode_of_the_labels_of_one_partition():
    """The sampler over places draws the images that a pool of one partition's clusters holds."""
    images = numbered()
    clusters = data.cactus(blobs(), clusters=4, partitions=1)
    places = np.asarray(clusters.examples).reshape(4, 5)
    labelled = data.pool_from_classes(list(np.asarray(images.examples)[places]))
    size = {"ways": 3, "shots": 2, "queries": 2}
    mine = jax.jit(partial(data.sample_cactus, **size))
    theirs = jax.jit(partial(data.sample_episode, **size, within_group=True))
    for seed in range(3):
        key = jax.random.key(seed)
        assert_same(mine(key, images, clusters), theirs(key, labelled))
        assert_same(mine(key, poisoned(images), clusters), mine(key, images, clusters))
    keys = jax.random.split(KEY, 3)
    many = jax.jit(jax.vmap(partial(data.sample_cactus, **size), (0, None, None)))
    drawn = many(keys, images.examples, clusters)
    assert_same(jax.tree.map(lambda leaf: leaf[1], drawn), mine(keys[1], images, clusters))


def test_a_task_of_cactus_is_of_one_partition_and_each_is_drawn():
    """One partition has clusters of even, the other of odd images."""
    places = np.array([*range(0, 20, 2), *range(1, 20, 2)])
    clusters = data.pool_from_classes(list(places.astype(np.int32).reshape(4, 5)), [0, 0, 1, 1])
    sample = partial(data.sample_cactus, ways=2, shots=2, queries=2)
    draw = jax.jit(jax.vmap(sample, (0, None, None)))
    tasks = draw(jax.random.split(KEY, 40), numbered(), clusters)
    odd = np.asarray(tasks.query.x[..., 0, 0, 0] * 255).round() % 2
    assert (odd == odd[:, :1]).all() and {0, 1} == set(odd[:, 0])


def test_scales_are_drawn_anew_for_each_partition_and_by_the_seed():
    z = np.random.default_rng(0).normal(size=(60, 4))
    draw = partial(data.cactus, z, clusters=5, partitions=3)
    one, other = draw(), draw(seed=1)
    assert_same(one, draw())
    assert not np.array_equal(one.examples, other.examples)
    parts = np.asarray(one.examples).reshape(3, 60)
    assert not (parts[0] == parts[1]).all() and not (parts[1] == parts[2]).all()


def test_what_k_means_found_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("JMETA_CACHE", str(tmp_path))
    first = data.cactus(blobs(), clusters=4, partitions=2)
    monkeypatch.setattr(_clusters, "_labels", None)  # k-means cannot be run again
    assert_same(first, data.cactus(blobs(), clusters=4, partitions=2))
    assert data.cactus(blobs(), clusters=4, partitions=2, least=5).smallest == 5


def test_small_clusters_are_dropped():
    z = np.array([0.0] * 4 + [1.0] * 3 + [2.0])[:, None]
    pool = data.cactus(z, clusters=3, partitions=1, least=3)
    assert sorted(pool.counts.tolist()) == [3, 4] and 7 not in pool.examples.tolist()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: data.cactus(blobs(), clusters=21), "asked for 21 clusters of 20 images"),
        (lambda: data.cactus(blobs(), clusters=0), "clusters of at least 1, but got 0"),
        (lambda: data.cactus(blobs() * np.nan, clusters=2), "finite embeddings"),
        (
            lambda: data.cactus(blobs(), clusters=4, partitions=2, least=6),
            "no cluster has the 6 images that a task takes of it, the largest has 5",
        ),
        (
            lambda: data.sample_cactus(
                *(KEY, numbered(), data.cactus(blobs(), clusters=4, partitions=2)),
                **{"ways": 5, "shots": 1, "queries": 1},
            ),
            "asked for 5 ways of 2 examples .* no partition has more than 4 clusters",
        ),
    ],
)
def test_cactus_refuses_what_it_cannot_make(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_cactus_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.cluster", None)
    with pytest.raises(ValueError, match=r"scikit-learn.*pip install 'jmeta\[sklearn\]'"):
        data.cactus(blobs() + 0.5, clusters=4)


OPTIONS = {"dataset": "glyphs", "size": 16, "network": "mlp", "hidden": (4,), "ways": 3}
TINY = {
    **{"steps": 2, "tasks": 2, "log_every": 1, "validate_every": 1, "validation_episodes": 2},
    **{"episodes": 2, "queries": 2, "train_queries": 2},
}
UMTRA = {"unsupervised": "umtra", "augment": "affine:10"}
CACTUS = {"unsupervised": "cactus", "clusters": 30, "partitions": 2}


def opened(algorithm: str = "protonet", **options):
    made = train.completed(train.experiment(algorithm, **OPTIONS | options))
    assert train.from_json(train.to_json(made)) == made
    return train.open_experiment(made)[0]


@pytest.mark.parametrize("how", [UMTRA, CACTUS])
def test_a_run_trains_on_tasks_without_labels_and_is_tested_on_classes(how):
    labelled, domain = opened(), opened(**how)
    task = jax.jit(domain.sample_train)(KEY, domain.train)
    assert task.support.x.shape == (3, 16, 16, 1)
    if how is UMTRA:
        assert_same(task, jax.jit(domain.sample_train)(KEY, poisoned(domain.train)))
        assert_same(domain.train.examples, labelled.train.examples)
    else:
        hidden = domain.train._replace(pool=poisoned(domain.train.pool))
        assert_same(task, jax.jit(domain.sample_train)(KEY, hidden))
        assert len(domain.train.clusters.group_sizes) == 2
    for part in ("val", "test"):
        assert_same(getattr(domain, part), getattr(labelled, part))
    assert_same(*(jax.jit(d.sample_eval)(KEY, d.test) for d in (domain, labelled)))


def test_augment_part_says_whether_umtra_changes_the_first_support_image():
    for part, same in (("query", True), ("both", False)):
        domain = opened(**UMTRA, augment_part=part)
        task = jax.jit(domain.sample_train)(KEY, domain.train)
        held = np.asarray(domain.train.examples, np.float32) / 255
        found = (abs(held[None] - np.asarray(task.support.x)[:, None]).max((2, 3, 4)) < 1e-6).any(1)
        assert found.all() == same


def test_clusters_of_a_run_are_augmented_where_that_is_asked_for():
    plain, changed = (opened(**CACTUS, **more) for more in ({}, {"augment": "cutout:9"}))
    one, other = (jax.jit(d.sample_train)(KEY, d.train) for d in (plain, changed))
    assert not (one.query.x == other.query.x).all()
    key = jax.random.fold_in(jax.random.fold_in(KEY, 2**31 - 3), 1)
    assert_same(augment.named("cutout:9")(key, one.query.x), other.query.x)


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "how"), [("siamese", UMTRA), ("maml", CACTUS)])
def test_a_run_without_labels_is_resumed_as_it_would_have_been(algorithm, how, tmp_path: Path):
    options = {**OPTIONS, **TINY, **how, "schedule": "constant"}
    whole = train.run(train.experiment(algorithm, **options), tmp_path / "whole")
    out = tmp_path / "parts"
    train.run(train.experiment(algorithm, **options | {"steps": 1}), out)
    resumed = train.run(train.experiment(algorithm, **options), out, resume=True)
    assert resumed["metrics"] == whole["metrics"]
    assert whole["protocol"]["trained_on"] == f"train ({how['unsupervised']}, no labels)"


def test_embeddings_of_a_file_are_what_is_clustered(tmp_path):
    """Those that `jmeta data embed` writes, and one row for each training image."""
    source = train.Glyphs(size=16)
    arrays, _ = train.embed_source(source, train.MLP(hidden=(4,), norm="none"))
    train.save_features(tmp_path / "all.npz", arrays)
    count = len(source.load(seed=0, root=None).train.examples)
    np.savez(tmp_path / "x.npz", x=arrays["x"][:count])
    files = [str(tmp_path / name) for name in ("all.npz", "x.npz")]
    one, other = (opened(**CACTUS, embedding=file) for file in files)
    assert_same(one.train.clusters, other.train.clusters)
    assert not np.array_equal(one.train.clusters.examples, opened(**CACTUS).train.clusters.examples)


def test_files_of_other_embeddings_are_refused(tmp_path):
    names = {"train": ["b", "a"], "val": ["c"], "test": ["d"]}
    path = tmp_path / "z.npz"
    np.savez(path, x=np.zeros((9, 2)), y=np.zeros(9), **names)
    assert data.load_embeddings(path, images=6, classes=["b", "a"]).shape == (6, 2)
    with pytest.raises(ValueError, match="has other training classes than the set"):
        data.load_embeddings(path, images=6, classes=["a", "b"])
    with pytest.raises(ValueError, match=r"x of shape \[9, 2\], but there are 10 training images"):
        data.load_embeddings(path, images=10)
    np.savez(path, x=np.zeros((9, 2)))
    with pytest.raises(ValueError, match=r"x of shape \[9, 2\], but there are 6 training images"):
        data.load_embeddings(path, images=6)
    np.savez(path, x=np.full((6, 2), np.inf))
    with pytest.raises(ValueError, match="expected finite numbers"):
        data.load_embeddings(path, images=6)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"cannot be read as an \.npz"):
        data.load_embeddings(path, images=6)


def test_embeddings_of_another_length_end_the_command(tmp_path, capsys):
    np.savez(tmp_path / "z.npz", x=np.zeros((9, 2)))
    words = ["train", "--out", str(tmp_path / "run"), "--unsupervised", "cactus"]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*words, "--embedding", str(tmp_path / "z.npz")])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1
    assert "z.npz has x of shape [9, 2], but there are 31160 training images" in said


def test_a_protocol_says_that_no_labels_were_read():
    assert train.Glyphs(unsupervised="umtra").trained_on == "train (umtra, no labels)"
    assert train.Glyphs().trained_on == "train"


def test_the_record_of_data_names_the_classes_and_changes_with_the_clusters():
    one, other, plain = (
        content(opened(**more)) for more in (CACTUS, CACTUS | {"clusters": 31}, {})
    )
    assert one["train"]["classes"] == plain["train"]["classes"]
    assert one["train"]["examples"] == plain["train"]["examples"]
    assert len({each["train"]["digest"] for each in (one, other, plain)}) == 3
    assert one["test"] == plain["test"]


def test_a_file_of_embeddings_is_found_where_a_run_has_moved(tmp_path):
    np.savez(tmp_path / "z.npz", x=np.zeros((9, 2)))
    for source in (train.Glyphs, lambda **more: train.Folder("photos", **more)):
        made = source(unsupervised="cactus", embedding="z.npz")
        assert made.beside([tmp_path]).embedding == f"{tmp_path}/z.npz"
        assert made.embedding == "z.npz"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"unsupervised": "umtra"}, "makes the queries of a class by augmentation"),
        ({**UMTRA, "augment_part": "support"}, "augment_part must be query or both"),
        ({**UMTRA, "within_group": True}, "within_group draws by labels"),
        ({**CACTUS, "min_shots": 1}, "min_shots draws by labels"),
        ({**CACTUS, "rotations": 4}, "rotations makes classes of labelled ones"),
        ({"embedding": "z.npz"}, "embedding is what unsupervised cactus clusters"),
        ({**UMTRA, "augment": "blur"}, "unknown augmentation 'blur'"),
        ({"unsupervised": "umtre"}, "unknown unsupervised 'umtre'.*did you mean umtra"),
        ({**UMTRA, "algorithm": "pretrain"}, "pretrain learns the labels of all training classes"),
        ({**CACTUS, "clusters": 10**6}, "asked for 1000000 clusters of"),
        ({**CACTUS, "train_ways": 31}, "asked for 31 ways of 6 examples"),
    ],
)
def test_parts_that_do_not_fit_together(options, says):
    with pytest.raises(ValueError, match=says):
        opened(**options)

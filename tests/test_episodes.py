"""Samplers: distinctness and uniformity by property tests, padding, groups, rotations, errors."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import without_keys
from hypothesis import given, settings
from hypothesis import strategies as st

from jmeta.core._padding import real_examples
from jmeta.data import FAMILIES, sample_table_task
from jmeta.data._episodes import draw_distinct, sample_episode, sample_varied_episode
from jmeta.data._pool import make_pool, pool_from_classes

FEW = settings(max_examples=15, deadline=None, derandomize=True)
COUNTS = st.permutations([4, 5, 7, 9])  # one shape and one set of bounds: compiled once


def _labelled_pool(counts, group_sizes=None):
    """Each example is [its class + 1, its index], so that an episode shows what it drew."""
    owner = np.repeat(np.arange(len(counts)) + 1, counts)
    examples = np.stack([owner, np.arange(len(owner))], axis=1).astype(np.int32)
    return make_pool(examples, counts, group_sizes or [len(counts)])


_draw_distinct = jax.jit(draw_distinct, static_argnames="k")


@partial(jax.jit, static_argnames=("ways", "shots", "queries", "rotations", "within_group"))
def _episodes(keys, pool, *, ways, shots=1, queries=1, rotations=1, within_group=False):
    options = {"rotations": rotations, "within_group": within_group}
    return jax.vmap(
        lambda key: sample_episode(key, pool, ways=ways, shots=shots, queries=queries, **options)
    )(keys)


def _chi_square(counts):
    expected = counts.sum() / counts.size
    return ((counts - expected) ** 2 / expected).sum()


def _bound(cells):
    """A chi-square statistic above this is a chance of about 1e-6 (Wilson-Hilferty)."""
    d = cells - 1
    return d * (1 - 2 / (9 * d) + 4.75 * np.sqrt(2 / (9 * d))) ** 3


def _keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


@FEW
@given(
    n=st.lists(st.integers(1, 60), min_size=6, max_size=6),
    k=st.sampled_from([1, 5, 25]),
    seed=st.integers(0, 2**31 - 1),
)
def test_draw_distinct_is_distinct(n, k, seed):
    drawn = np.asarray(_draw_distinct(jax.random.key(seed), jnp.array(n).reshape(3, 2), k=k))
    assert drawn.shape == (3, 2, k)
    assert drawn.min() >= 0
    for total, row in zip(n, drawn.reshape(6, k), strict=True):
        assert row.max() < total
        assert len(set(row[: min(total, k)].tolist())) == min(total, k)


@pytest.mark.parametrize(("n", "k"), [(4, 2), (5, 3), (4, 4)])
def test_every_ordered_choice_is_equally_likely(n, k):
    draws = np.asarray(jax.vmap(lambda key: draw_distinct(key, n, k=k))(_keys(24000)))
    choices = list(itertools.permutations(range(n), k))
    weights = n ** np.arange(k)
    counts = np.bincount(draws @ weights, minlength=n**k)[[np.dot(c, weights) for c in choices]]
    assert counts.sum() == 24000
    assert _chi_square(counts) < _bound(len(choices))


@FEW
@given(
    counts=COUNTS,
    sizes=st.sampled_from([(4, 1, 1), (2, 2, 2), (3, 1, 3)]),
    seed=st.integers(0, 99),
)
def test_episode_shapes_labels_and_disjointness(counts, sizes, seed):
    ways, shots, queries = sizes
    pool = _labelled_pool(counts)
    task = _episodes(_keys(1, seed), pool, ways=ways, shots=shots, queries=queries)
    support, query = jax.tree.map(lambda a: np.asarray(a)[0], without_keys(task))
    assert support.y.tolist() == np.repeat(np.arange(ways), shots).tolist()
    assert query.y.tolist() == np.repeat(np.arange(ways), queries).tolist()
    x, y = np.concatenate([support.x, query.x]), np.concatenate([support.y, query.y])
    assert len(set(x[:, 1].tolist())) == ways * (shots + queries)
    np.testing.assert_array_equal(np.asarray(pool.examples)[x[:, 1]], x)
    owners = x[:, 0].tolist()
    assert len(set(zip(owners, y.tolist(), strict=True))) == ways == len(set(owners))


def test_classes_labels_and_examples_are_uniform():
    pool = _labelled_pool([6, 3, 4, 5, 3])
    task = _episodes(_keys(20000), pool, ways=2, shots=1, queries=2)
    classes = np.asarray(task.support.x[:, :, 0]) - 1  # [T, 2]
    pairs = np.bincount(classes @ [5, 1], minlength=25).reshape(5, 5)
    assert np.trace(pairs) == 0
    assert _chi_square(pairs[~np.eye(5, dtype=bool)]) < _bound(20)
    for examples in (task.support.x[:, :1, 1], task.query.x[:, :1, 1]):
        of_first = np.bincount(np.asarray(examples)[classes[:, 0] == 0].ravel(), minlength=21)
        assert _chi_square(of_first[:6]) < _bound(6)


def test_uint8_becomes_unit_floats_and_other_dtypes_stay():
    images = pool_from_classes([np.full((2, 3, 4, 1), 51 * c, np.uint8) for c in range(6)])
    task = _episodes(_keys(1), images, ways=6)
    assert task.support.x.dtype == jnp.float32
    np.testing.assert_allclose(
        sorted(task.query.x[0].max((1, 2, 3)).tolist()), np.arange(6) / 5, 1e-6
    )
    words = jax.eval_shape(partial(_episodes, ways=2), _keys(1), _labelled_pool([2, 2]))
    assert words.support.x.dtype == jnp.int32
    assert words.support.y.dtype == jnp.int32


def test_rotated_classes_are_classes_of_their_own():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 2, 4, 4, 1), np.uint8)
    pool = pool_from_classes(list(images))
    turned = {
        np.rot90(images[c, e], r).tobytes(): (c, e, r)
        for c, e, r in itertools.product(range(3), range(2), range(4))
    }
    task = _episodes(_keys(50), pool, ways=12, rotations=4)
    for support, query in zip(task.support.x, task.query.x, strict=True):
        found = [
            [turned[np.round(np.asarray(x) * 255).astype(np.uint8).tobytes()] for x in part]
            for part in (support, query)
        ]
        assert len({(c, r) for c, _, r in found[0]}) == 12
        for (c, e, r), (c2, e2, r2) in zip(*found, strict=True):
            assert (c, r) == (c2, r2)
            assert e != e2


def test_within_group_stays_in_one_large_enough_group():
    pool = _labelled_pool([2] * 12, [5, 2, 1, 4])
    task = _episodes(_keys(8000), pool, ways=3, within_group=True)
    group = np.repeat(np.arange(4), [5, 2, 1, 4])[np.asarray(task.support.x[:, :, 0]) - 1]
    assert (group == group[:, :1]).all()
    counts = np.bincount(group[:, 0], minlength=4)
    assert counts[1] == counts[2] == 0
    assert _chi_square(counts[[0, 3]]) < _bound(2)
    inside = np.bincount(np.asarray(task.support.x[group[:, 0] == 0, 0, 0]) - 1, minlength=5)
    assert _chi_square(inside[:5]) < _bound(5)


def test_rotations_make_groups_large_enough():
    pool = pool_from_classes([np.zeros((2, 2, 2, 1), np.uint8)] * 3, ["a", "b", "b"])
    options = {"rotations": 4, "within_group": True}
    task = jax.eval_shape(partial(_episodes, ways=8, **options), _keys(1), pool)
    assert task.support.y.shape == (1, 8)
    with pytest.raises(ValueError, match="the largest group has 8 classes"):
        _episodes(_keys(1), pool, ways=9, **options)


@partial(jax.jit, static_argnames="within_group")
def _varied(keys, pool, *, within_group):
    most = max(pool.group_sizes) if within_group else len(pool.starts)
    options = {"max_ways": most, "max_shots": pool.largest - 2, "queries": 2}
    return jax.vmap(
        lambda key: sample_varied_episode(key, pool, within_group=within_group, **options)
    )(keys)


@FEW
@given(counts=COUNTS, within_group=st.booleans(), seed=st.integers(0, 99))
def test_varied_episode_pads_and_never_overlaps(counts, within_group, seed):
    pool = _labelled_pool([*counts, 6], [2, 3])
    tasks = without_keys(_varied(_keys(10, seed), pool, within_group=within_group))
    tasks = jax.tree.map(np.asarray, tasks)
    most = 3 if within_group else 5
    for t in range(10):
        support, query = jax.tree.map(lambda a, t=t: a[t], tasks)
        assert support.y.shape == (most * 7,)
        assert query.y.shape == (most * 2,)
        _check_varied(pool, support, query, most)


def _check_varied(pool, support, query, most):
    assert (support.x[support.y < 0] == 0).all()
    assert (query.x[query.y < 0] == 0).all()
    real = support.y >= 0, query.y >= 0
    ways = query.y.max() + 1
    assert 2 <= ways <= most
    assert np.bincount(query.y[real[1]]).tolist() == [2] * ways
    shots = np.bincount(support.y[real[0]], minlength=ways)
    assert len(shots) == ways
    assert shots.min() >= 1
    x = np.concatenate([support.x[real[0]], query.x[real[1]]])
    y = np.concatenate([support.y[real[0]], query.y[real[1]]])
    assert len(set(x[:, 1].tolist())) == len(x)
    np.testing.assert_array_equal(np.asarray(pool.examples)[x[:, 1]], x)
    assert len(set(zip(x[:, 0].tolist(), y.tolist(), strict=True))) == ways


def test_varied_ways_and_shots_are_uniform():
    pool = _labelled_pool([8] * 7)
    draw = jax.vmap(
        lambda k, p: sample_varied_episode(
            k, p, max_ways=6, max_shots=5, queries=3, min_ways=3, min_shots=2
        ),
        (0, None),
    )
    task = jax.jit(draw)(_keys(8000), pool)
    ways = np.asarray(task.query.y).max(1) + 1
    assert _chi_square(np.bincount(ways, minlength=7)[3:]) < _bound(4)
    shots = (np.asarray(task.support.y) == 0).sum(1)
    assert _chi_square(np.bincount(shots, minlength=6)[2:]) < _bound(4)


def test_jit_is_eager_vmap_is_a_loop_and_the_pool_is_no_constant():
    pool = _labelled_pool([4] * 300)

    def draw(key, p):
        return sample_episode(key, p, ways=5, shots=1, queries=1)

    keys = _keys(3)
    batch = jax.jit(jax.vmap(draw, (0, None)))(keys, pool)
    alone = draw(keys[1], pool)
    assert (batch.support.key[1], batch.query.key[1]) == (alone.support.key, alone.query.key)
    batch, alone = without_keys(batch), without_keys(alone)
    for a, b in zip(jax.tree.leaves(batch), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(a[1], b)
    # The labels are constants, five in each set; the pool would be one of 1,200 examples.
    assert all(np.size(c) < 10 for c in jax.make_jaxpr(draw)(keys[0], pool).consts)


def test_labels_are_known_inside_a_trace():
    pool, seen = _labelled_pool([4] * 30), []

    def draw(key):
        task = sample_episode(key, pool, ways=3, shots=1, queries=2)
        seen.append(real_examples(task.query.y))
        return task.query.x

    jax.jit(jax.vmap(draw))(_keys(3))
    assert seen == [None]  # none of them is padding, so no mask is computed


SAMPLERS = {
    "episode": partial(sample_episode, pool=_labelled_pool([4] * 5), ways=2, shots=1, queries=2),
    "varied": partial(
        sample_varied_episode, pool=_labelled_pool([4] * 5), max_ways=3, max_shots=2, queries=2
    ),
    "table": partial(
        sample_table_task, table=make_pool(np.zeros((9, 3)), [4, 5], [2]), shots=2, queries=2
    ),
    **{name: partial(sample, shots=2, queries=2) for name, sample in FAMILIES.items()},
}


@pytest.mark.parametrize("sample", SAMPLERS.values(), ids=SAMPLERS)
def test_every_task_carries_keys_that_nothing_else_used(sample):
    tasks = [sample(key) for key in _keys(3)]
    found = [jax.random.key_data(batch.key) for task in tasks for batch in task]
    assert all(batch.key.shape == () for task in tasks for batch in task)
    drawn_with = [jax.random.key_data(jax.random.split(key, 9)) for key in _keys(3)]
    every = np.concatenate([found, *drawn_with, jax.random.key_data(_keys(3))])
    assert len(np.unique(every, axis=0)) == 6 + 27 + 3


def test_keys_change_no_draw():
    """Episodes are those of the versions before tasks had keys."""
    task = _episodes(_keys(2), _labelled_pool([4, 5, 6, 7]), ways=2, shots=1, queries=2)
    assert task.support.x[..., 1].tolist() == [[7, 17], [6, 17]]
    assert task.query.x[..., 1].tolist() == [[8, 4, 20, 21], [4, 8, 21, 18]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ways": 30}, "asked for 30 ways but the pool has 4 classes; lower the ways"),
        ({"ways": 3, "within_group": True}, "3 ways but the largest group has 2 classes"),
        ({"shots": 3, "queries": 2}, "asked for 5 examples per class .* smallest class has 4"),
        ({"ways": 0}, "ways=0"),
        ({"queries": 0}, "queries=0"),
        ({"rotations": 3}, "rotations=3"),
        ({"rotations": 4}, "square images"),
    ],
)
def test_episode_errors(options, message):
    pool = pool_from_classes([np.zeros((4, 2, 3, 1), np.uint8)] * 4, ["a", "a", "b", "b"])
    with pytest.raises(ValueError, match=message):
        sample_episode(jax.random.key(0), pool, **{"ways": 2, "shots": 1, "queries": 1, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_ways": 5}, "asked for 5 ways but the pool has 4 classes"),
        ({"min_ways": 4, "max_ways": 3}, "min_ways=4 above max_ways=3"),
        ({"min_shots": 3}, "min_shots=3 above max_shots=2"),
        ({"max_shots": 9}, "up to 10 examples per class"),
        ({"queries": 4}, "asked for 5 examples per class"),
        ({"min_shots": 0}, "min_shots=0"),
    ],
)
def test_varied_episode_errors(options, message):
    pool = _labelled_pool([4, 4, 6, 4])
    with pytest.raises(ValueError, match=message):
        sample_varied_episode(
            jax.random.key(0), pool, **{"max_ways": 3, "max_shots": 2, "queries": 1, **options}
        )

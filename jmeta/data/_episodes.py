"""Episode samplers: pure functions of a key and a pool that run inside `jit`.

A batch of T tasks is `jax.vmap(lambda k: sample_episode(k, pool, ...))(jax.random.split(key, T))`.
Pass the pool to the jitted function as an argument. A pool that the function closes over becomes a
constant of the compiled program, a second copy of the data.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jmeta.core import Batch, Task
from jmeta.core._numbers import in_unit
from jmeta.data._keys import with_keys
from jmeta.data._pool import Pool


def draw_distinct(key: Array, n: int | Array, *, k: int) -> Array:
    """Draw k distinct integers of 0..n-1. Every ordered choice is equally likely.

    A uniform Lehmer code c_i in 0..n-i-1 is decoded from the back: p_j <- p_j + [p_j >= p_i] for
    all j > i. This takes k steps for any n; nothing of size n is sorted or stored.

    Args:
        n: how many integers there are, [] or [...] for independent draws; may be traced.
        k: how many to draw. Where n < k, only the first n are distinct and the others are n-1.

    Returns:
        int32 [..., k].

    >>> sorted(draw_distinct(jax.random.key(0), 4, k=4).tolist())
    [0, 1, 2, 3]
    """
    shape = (*jnp.shape(n), k)
    total = jnp.broadcast_to(jnp.asarray(n, jnp.int32)[..., None], shape)
    place = jax.lax.broadcasted_iota(jnp.int32, shape, len(shape) - 1)
    code = jax.random.randint(key, shape, 0, jnp.maximum(total - place, 1), dtype=jnp.int32)

    def decode(step: int, p: Array) -> Array:
        i = k - 1 - step
        pivot = jax.lax.dynamic_slice_in_dim(p, i, 1, axis=-1)
        return p + ((place > i) & (p >= pivot)).astype(jnp.int32)

    return jnp.minimum(jax.lax.fori_loop(0, k, decode, code), total - 1)


def sample_episode(
    key: Array,
    pool: Pool,
    *,
    ways: int,
    shots: int,
    queries: int,
    rotations: int = 1,
    within_group: bool = False,
) -> Task:
    """Draw one task: `ways` classes, `shots` support and `queries` query examples of each.

    Classes are drawn without replacement and in uniformly random order, so label c is any class
    with equal probability. Examples are drawn without replacement within a class, so support and
    query share none. They are ordered by class: labels 0, ..., 0, 1, ..., 1, ... uint8 examples
    become float32 in [0, 1]; other dtypes stay as they are.

    Args:
        key: a JAX random key.
        pool: the classes. Pass it as an argument to the function that you jit.
        ways, shots, queries: classes per task, support and query examples per class.
        rotations: with 4, a class turned by 0, 90, 180 and 270 degrees counts as four classes,
            which are made while sampling; images must be square, [E, H, W, C]. 1 turns nothing.
        within_group: draw all classes from one group, such as an alphabet, chosen uniformly among
            the groups that have enough classes.

    Returns:
        Task(Batch(x [ways * shots, ...], y int32 [ways * shots], key []), the same with queries).
        The two keys are for learners that need randomness.

    Raises:
        ValueError: the pool cannot give such a task. It is raised while tracing.

    >>> from jmeta.data._pool import pool_from_classes
    >>> import numpy as np
    >>> pool = pool_from_classes([np.full((4, 2, 2, 1), c, np.uint8) for c in range(6)])
    >>> task = sample_episode(jax.random.key(0), pool, ways=3, shots=1, queries=2)
    >>> task.support.x.shape, task.query.y.tolist()
    ((3, 2, 2, 1), [0, 0, 1, 1, 2, 2])

    Matching Networks for One Shot Learning (Oriol Vinyals, Charles Blundell, Timothy Lillicrap,
    Koray Kavukcuoglu, Daan Wierstra, 2016, arXiv:1606.04080).
    """
    positive({"ways": ways, "shots": shots, "queries": queries})
    check_rotations(pool.examples.shape, rotations)
    _check_room(
        _wrong_ways(pool, ways, rotations, within_group),
        _wrong_examples(pool, shots + queries, shots + queries),
    )
    class_key, example_key = jax.random.split(key)
    chosen, _ = _draw_classes(class_key, pool, ways, ways, rotations, within_group)
    x = _draw_examples(example_key, pool, chosen, shots + queries, rotations)
    return task_of(x[:, :shots], x[:, shots:], key)


def task_of(support: Array, query: Array, key: Array) -> Task:
    """The task of the examples of each class, which are labelled 0, 1, ... in their order.

    Args:
        support, query: [W, k, ...], each with a k of its own.
        key: the key that the task was drawn with.

    >>> x = jnp.zeros((2, 3, 4))
    >>> task_of(x[:, :1], x[:, 1:], jax.random.key(0)).query.y.tolist()
    [0, 0, 1, 1]
    """
    with jax.ensure_compile_time_eval():  # known inside a trace: none of these labels is padding
        each = np.arange(len(support), dtype=np.int32)  # repeated by NumPy: nothing is compiled
        labels = [jax.device_put(np.repeat(each, part.shape[1])) for part in (support, query)]
    examples = (part.reshape(-1, *part.shape[2:]) for part in (support, query))
    return with_keys(Task(*map(Batch, examples, labels)), key)


def sample_varied_episode(
    key: Array,
    pool: Pool,
    *,
    max_ways: int,
    max_shots: int,
    queries: int,
    min_ways: int = 2,
    min_shots: int = 1,
    rotations: int = 1,
    within_group: bool = False,
) -> Task:
    """Draw one task with a random number of classes and of shots per class, padded.

    ways ~ U{min_ways..max_ways} and, for each class, shots_c ~ U{min_shots..max_shots}, where the
    upper bounds are lowered to what the group and the class hold. Shapes are static: a padded
    example has label -1 and x = 0. In the whole library, heads and objectives ignore examples
    whose label is -1.

    Args:
        key, pool, rotations, within_group: as for `sample_episode`.
        max_ways, min_ways: bounds on the classes per task, both included.
        max_shots, min_shots: bounds on the support examples of each class, both included.
        queries: query examples of every class.

    Returns:
        Task(Batch(x [max_ways * max_shots, ...], y int32 [max_ways * max_shots], key []),
        Batch(x [max_ways * queries, ...], y, key)). Labels that are not padding are 0..ways-1.

    Raises:
        ValueError: a bound can never be met. It is raised while tracing.

    >>> from jmeta.data._pool import pool_from_classes
    >>> import numpy as np
    >>> pool = pool_from_classes([np.full((4, 2), c, np.float32) for c in range(6)])
    >>> task = sample_varied_episode(jax.random.key(0), pool, max_ways=5, max_shots=3, queries=1)
    >>> task.support.x.shape, task.query.y.shape, int(task.query.y.max()) >= 1
    ((15, 2), (5,), True)

    Meta-Dataset: A Dataset of Datasets for Learning to Learn from Few Examples (Eleni
    Triantafillou et al., 2019, arXiv:1903.03096). Its rule for imbalance is simplified here.
    """
    positive({"min_ways": min_ways, "min_shots": min_shots, "queries": queries})
    _check_bounds(min_ways, max_ways, "ways")
    _check_bounds(min_shots, max_shots, "shots")
    check_rotations(pool.examples.shape, rotations)
    _check_room(
        _wrong_ways(pool, max_ways, rotations, within_group),
        _wrong_examples(pool, min_shots + queries, max_shots + queries),
    )
    class_key, example_key, way_key, shot_key = jax.random.split(key, 4)
    chosen, number = _draw_classes(class_key, pool, max_ways, min_ways, rotations, within_group)
    ways = jax.random.randint(way_key, (), min_ways, jnp.minimum(max_ways, number) + 1)
    room = pool.counts[chosen // rotations] - queries
    shots = jax.random.randint(shot_key, (max_ways,), min_shots, jnp.minimum(max_shots, room) + 1)
    x = _draw_examples(example_key, pool, chosen, queries + max_shots, rotations)
    y = _padded_labels(ways, shots, queries, max_shots)
    x = jnp.where(y.reshape(y.shape + (1,) * (x.ndim - 2)) >= 0, x, jnp.zeros((), x.dtype))
    task = Task(_flat(x[:, queries:], y[:, queries:]), _flat(x[:, :queries], y[:, :queries]))
    return with_keys(task, key)


def _draw_classes(
    key: Array, pool: Pool, k: int, least: int, rotations: int, within_group: bool
) -> tuple[Array, Array]:
    """Draw [k] distinct virtual classes, and return also how many there were to draw from.

    Class c turned r times has the number c * rotations + r. Groups with fewer than `least` classes
    are never drawn.
    """
    if not within_group:
        number = jnp.int32(pool.starts.shape[0] * rotations)
        return draw_distinct(key, number, k=k), number
    group_key, class_key = jax.random.split(key)
    large = [g for g, size in enumerate(pool.group_sizes) if size * rotations >= least]
    group = jnp.asarray(large, jnp.int32)[jax.random.randint(group_key, (), 0, len(large))]
    first, end = pool.groups[group] * rotations, pool.groups[group + 1] * rotations
    return first + draw_distinct(class_key, end - first, k=k), end - first


def _draw_examples(key: Array, pool: Pool, classes: Array, k: int, rotations: int) -> Array:
    """Draw [W, k, ...] distinct examples of each virtual class [W]."""
    member = classes // rotations
    picks = draw_distinct(key, pool.counts[member], k=k)
    x = pool.examples.at[pool.starts[member][:, None] + picks].get(mode="promise_in_bounds")
    return in_unit(turned(x, classes, rotations))


def turned(x: Array, classes: Array, rotations: int) -> Array:
    """Turn the examples [W, k, ...] of virtual classes [W], c * rotations + r, by r quarters."""
    if rotations == 1:
        return x
    turns = (classes % rotations).reshape(-1, *(1,) * (x.ndim - 1))
    x = jnp.where(turns >= 2, x[:, :, ::-1, ::-1], x)
    return jnp.where(turns % 2 == 1, jnp.rot90(x, axes=(2, 3)), x)


def _padded_labels(ways: Array, shots: Array, queries: int, max_shots: int) -> Array:
    """Labels [W, queries + max_shots]: -1 for absent classes and for shots that a class lacks."""
    shape = (shots.shape[0], queries + max_shots)
    label = jax.lax.broadcasted_iota(jnp.int32, shape, 0)
    place = jax.lax.broadcasted_iota(jnp.int32, shape, 1)
    return jnp.where((label < ways) & (place < queries + shots[:, None]), label, -1)


def _flat(x: Array, y: Array) -> Batch:
    """Merge the class and example axes: [W, N, ...] -> [W * N, ...]."""
    return Batch(x.reshape(-1, *x.shape[2:]), y.reshape(-1))


def positive(numbers: dict[str, int]) -> None:
    """Refuse numbers below 1."""
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"got {name}={value}, expected at least 1; raise {name}.")


def _check_bounds(low: int, high: int, what: str) -> None:
    if low > high:
        raise ValueError(
            f"got min_{what}={low} above max_{what}={high}; raise max_{what} or lower min_{what}."
        )


def check_rotations(shape: tuple[int, ...], rotations: int) -> None:
    """Refuse rotations of examples [E, ...] of some shape that cannot be turned."""
    if rotations not in (1, 4):
        raise ValueError(
            f"got rotations={rotations}, expected 1 (none) or 4 (quarter turns); pass one of them."
        )
    if rotations == 4 and (len(shape) != 4 or shape[1] != shape[2]):
        raise ValueError(
            f"got rotations=4 with examples of shape {list(shape[1:])}, expected square images "
            "[H, W, C] with H = W; use rotations=1 or resize the images."
        )


def _check_room(*complaints: str | None) -> None:
    """Raise all that is wrong at once."""
    if found := [complaint for complaint in complaints if complaint]:
        raise ValueError(f"{'; also, '.join(found)}.")


def _wrong_ways(pool: Pool, ways: int, rotations: int, within_group: bool) -> str | None:
    where = "the largest group" if within_group else "the pool"
    most = rotations * (max(pool.group_sizes) if within_group else pool.starts.shape[0])
    turned = f" (counting {rotations} rotations of each)" if rotations > 1 else ""
    if ways <= most:
        return None
    other = "pass within_group=False" if within_group else "bring more classes"
    return (
        f"asked for {ways} ways but {where} has {most} classes{turned}; lower the ways to at most "
        f"{most}, or {other}"
    )


def _wrong_examples(pool: Pool, least: int, most: int) -> str | None:
    if least > pool.smallest:
        return (
            f"asked for {least} examples per class (shots + queries) but the smallest class has "
            f"{pool.smallest}; lower shots and queries to at most {pool.smallest} together, or "
            "leave small classes out (--drop-small)"
        )
    if most > pool.largest:
        return (
            f"asked for up to {most} examples per class (max_shots + queries) but the largest "
            f"class has {pool.largest}; lower max_shots or queries"
        )
    return None

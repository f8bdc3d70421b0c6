"""Compare heads on thousands of episodes from a pool that is embedded once."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jmeta.core import Batch, Net, Params, PyTree, Task
from jmeta.core._devices import episode_keys, only_axis
from jmeta.core._networks import require_net
from jmeta.core._numbers import in_unit
from jmeta.core._padding import is_masked, marked
from jmeta.learners.comparison._heads import Head
from jmeta.metrics import Estimate, accuracy, estimate, paired

SamplePool = Callable[[jax.Array, Any], Task]  # key, pool -> one task


def embed_examples(embed: Net, params: Params, examples: jax.Array, *, chunk: int = 256) -> PyTree:
    """Embed the examples of a pool, `chunk` at a time.

    uint8 examples are converted to float32 in [0, 1], as by the episode samplers. A network with
    batch statistics would use those of each chunk; use running statistics instead.

    Args:
        embed: the embedding network, inputs [N, ...] -> features [N, D].
        params: its parameters.
        examples: [E, ...].
        chunk: the number of examples embedded at once.

    Returns:
        Features [E, D].

    Raises:
        ValueError: `chunk` is less than 1.

    >>> from jmeta.nn import from_functions
    >>> double = from_functions(lambda key, x: 2.0, lambda w, x: x * w)
    >>> embed_examples(double, 2.0, jnp.arange(3.0)[:, None], chunk=2).tolist()
    [[0.0], [2.0], [4.0]]
    """
    require_net(embed, of="embed_examples")
    if chunk < 1:
        raise ValueError(f"embed_examples expects chunk >= 1, but got {chunk}.")

    def one(x: jax.Array) -> PyTree:
        return embed.apply(params, in_unit(x))

    count = len(examples)
    size = min(chunk, count)
    whole = count - count % size
    blocks = examples[:whole].reshape(-1, size, *examples.shape[1:])
    features = jax.tree.map(lambda z: z.reshape(whole, *z.shape[2:]), lax.map(one, blocks))
    if whole == count:
        return features
    return jax.tree.map(lambda *z: jnp.concatenate(z), features, one(examples[whole:]))


def head_accuracies(
    heads: Mapping[str, Head],
    sample: SamplePool,
    pool: Any,
    key: jax.Array,
    *,
    episodes: int,
    chunk: int = 4,
    mesh: Mesh | None = None,
) -> dict[str, jax.Array]:
    """The accuracy of every head on the same episodes: name -> [E].

    Episode i is `sample(fold_in(key, i), pool)`, as in `jmeta.predictions`. The indices of the
    examples of all episodes are drawn at once, and their features are looked up for `chunk`
    episodes at a time. The function is pure; jit it as a whole, with the pool as an argument.

    Args:
        heads: name -> head for the features of the pool.
        sample: draws a task from a key and the pool, such as `jmeta.data.sample_episode` with its
            options bound by `functools.partial`. It may select examples but not change them.
        pool: a `jmeta.data.Pool` or another dataclass whose `examples` are features [N, D], or a
            pytree of such arrays (see `embed_examples`). Heads get uint8 examples as float32 in
            [0, 1], as from the episode samplers.
        key: determines all episodes.
        episodes: E, the number of episodes.
        chunk: the number of episodes computed at once on a device.
        mesh: the devices that share the episodes. Each of them holds all features.

    Raises:
        ValueError: `sample` changes the examples that it draws, or `chunk` is less than 1.
    """
    if chunk < 1:
        raise ValueError(f"head_accuracies expects chunk >= 1, but got {chunk}.")
    features = pool.examples
    count = len(jax.tree.leaves(features)[0])
    numbered = dataclasses.replace(pool, examples=jnp.arange(count))
    tasks = jax.vmap(sample, (0, None))(episode_keys(key, episodes, mesh), numbered)
    for x in (tasks.support.x, tasks.query.x):
        if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(
                f"head_accuracies lets sample draw numbers of examples, but got {x.dtype} of shape "
                f"{x.shape[1:]} for a task; give a sampler that picks examples as they are."
            )

    def many(features: PyTree, tasks: Task) -> dict[str, jax.Array]:
        def looked_up(x: jax.Array) -> PyTree:
            return jax.tree.map(
                lambda leaf: in_unit(leaf.at[x].get(mode="promise_in_bounds")), features
            )

        def one(task: Task) -> dict[str, jax.Array]:
            support, queries = looked_up(task.support.x), looked_up(task.query.x)

            def judge(head: Head) -> jax.Array:
                state = head.fit(support, task.support.y)
                seen = marked(head, Batch(queries, task.query.y)) if is_masked(head) else queries
                return accuracy(head.predict(state, seen), task.query.y)

            return {name: judge(head) for name, head in heads.items()}

        return lax.map(one, tasks, batch_size=chunk if chunk > 1 else None)

    if mesh is not None:
        axis = only_axis(mesh, of="head_accuracies")
        split = P(axis)  # nothing is summed over devices, so check_vma is not needed
        many = jax.shard_map(
            many, mesh=mesh, in_specs=(P(), split), out_specs=split, check_vma=False
        )
    return jax.tree.map(lambda leaf: leaf[:episodes], many(features, tasks))


def evaluate_heads(
    heads: Mapping[str, Head],
    sample: SamplePool,
    pool: Any,
    key: jax.Array,
    *,
    episodes: int = 1000,
    chunk: int = 4,
    mesh: Mesh | None = None,
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """The mean accuracy of each head, and its paired difference from the first head.

    Args:
        heads, sample, pool, key, episodes, chunk, mesh: see `head_accuracies`. All other heads
            are compared with the first.

    Returns:
        Two dictionaries. The first maps the name of each head to its accuracy. The second maps the
        name of each head but the first to its accuracy minus that of the first head, with the
        interval of the paired differences.

    Raises:
        ValueError: there is no head, or `episodes` is less than 1.

    >>> from functools import partial
    >>> from jmeta import data
    >>> from jmeta.distances import cosine
    >>> from jmeta.learners.comparison import prototypical
    >>> heads = {"near": prototypical(2), "cosine": prototypical(2, distance=cosine)}
    >>> pool = data.pool_from_classes([jnp.tile(way, (2, 1)) for way in jnp.eye(2)])
    >>> sample = partial(data.sample_episode, ways=2, shots=1, queries=1)
    >>> means, above = evaluate_heads(heads, sample, pool, jax.random.key(0), episodes=4)
    >>> means["near"].mean, above["cosine"].mean
    (1.0, 0.0)
    """
    if not heads or episodes < 1:
        raise ValueError(
            f"evaluate_heads expects a head or more and episodes >= 1, but got {list(heads)} and "
            f"episodes={episodes}."
        )
    run = partial(head_accuracies, heads, sample, episodes=episodes, chunk=chunk, mesh=mesh)
    found = jax.jit(run)(pool, key)
    first, *others = heads
    above = {name: paired(found[name], found[first]) for name in others}
    return {name: estimate(found[name]) for name in heads}, above

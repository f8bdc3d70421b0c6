"""Pool-level evaluation: a pool is embedded once, then heads meet in thousands of episodes."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import lax

from jmeta.core.evaluation import Estimate, estimate, paired
from jmeta.core.metrics import accuracy
from jmeta.core.types import Apply, Params, PyTree, Task
from jmeta.learners.heads import Head

Sample = Callable[[jax.Array, PyTree], Task]  # key, pool of features -> one task


def embed_examples(
    embed: Apply, params: Params, examples: jax.Array, *, chunk: int = 256
) -> PyTree:
    """Embed a pool's examples [E, ...], `chunk` at a time: features [E, D].

    uint8 examples become float32 in [0, 1], as the episode samplers have it. A network with
    batch statistics takes those of each chunk: give population statistics instead.

    Raises:
        ValueError: `chunk` is less than 1.

    >>> embed_examples(lambda w, x: x * w, 2.0, jnp.arange(3.0)[:, None], chunk=2).tolist()
    [[0.0], [2.0], [4.0]]
    """
    if chunk < 1:
        raise ValueError(f"embed_examples expects chunk >= 1, but got {chunk}.")

    def one(x: jax.Array) -> PyTree:
        return embed(params, x.astype(jnp.float32) / 255 if x.dtype == jnp.uint8 else x)

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
    sample: Sample,
    pool: PyTree,
    key: jax.Array,
    *,
    episodes: int,
    chunk: int = 16,
) -> dict[str, jax.Array]:
    """The accuracy of every head in the same episodes: name -> [E].

    Episode i is `sample(fold_in(key, i), pool)`, as in `jmeta.predictions`. Pure: jit it whole,
    with the pool among the arguments.

    Args:
        heads: name -> head over the pool's features.
        sample: draws a task from a key and the pool, e.g. `jmeta.data.sample_episode` with its
            options bound by `functools.partial`.
        pool: a pool whose examples are features [E, D], see `embed_examples`.
        key: determines all episodes.
        episodes: E.
        chunk: episodes computed together.
    """

    def one(key: jax.Array) -> dict[str, jax.Array]:
        task = sample(key, pool)

        def judge(head: Head) -> jax.Array:
            state = head.fit(task.support.x, task.support.y)
            return accuracy(head.predict(state, task.query.x), task.query.y)

        return {name: judge(head) for name, head in heads.items()}

    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(episodes))
    found: dict[str, jax.Array] = lax.map(one, keys, batch_size=chunk)
    return found


def evaluate_heads(
    heads: Mapping[str, Head],
    sample: Sample,
    pool: PyTree,
    key: jax.Array,
    *,
    episodes: int = 1000,
    chunk: int = 16,
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Mean accuracy of each head, and how far each is above the first, on identical episodes.

    Args:
        heads, sample, pool, key, episodes, chunk: see `head_accuracies`. The first head is the
            one that the others are compared with.

    Returns:
        name -> accuracy, and name -> accuracy less the first head's with the paired interval,
        for all heads but the first.

    Raises:
        ValueError: no head, or `episodes` is less than 1.

    >>> from jmeta.core.types import Batch
    >>> from jmeta.learners.heads import prototypical
    >>> heads = {"near": prototypical(2), "cosine": prototypical(2, distance="cosine")}
    >>> def sample(key, pool):
    ...     return Task(Batch(pool, jnp.arange(2)), Batch(pool, jnp.arange(2)))
    >>> means, above = evaluate_heads(heads, sample, jnp.eye(2), jax.random.key(0), episodes=4)
    >>> means["near"].mean, above["cosine"].mean
    (1.0, 0.0)
    """
    if not heads or episodes < 1:
        raise ValueError(
            f"evaluate_heads expects a head or more and episodes >= 1, but got {list(heads)} and "
            f"episodes={episodes}."
        )
    run = jax.jit(
        lambda pool, key: head_accuracies(heads, sample, pool, key, episodes=episodes, chunk=chunk)
    )
    found = run(pool, key)
    first, *others = heads
    above = {name: paired(found[name], found[first]) for name in others}
    return {name: estimate(found[name]) for name in heads}, above

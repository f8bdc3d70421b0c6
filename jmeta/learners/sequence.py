"""Classifiers that read the support set instead of descending or averaging."""

import jax
import jax.numpy as jnp

from jmeta.core.types import Adapted, Apply, Batch, Learner, Outputs, Params, PyTree


def amortised(encode: Apply, decode: Apply, *, ways: int) -> Learner:
    """Encode the support set into a state, decode each query from it: SNAIL, MANN.

        state = encode(θ, (x_S, onehot(y_S), mask)),   logits = decode(θ, (state, x_Q))

    For a network that reads a sequence the order of the support is its data: another order gives
    another prediction. Examples with a label of -1 are padding. They are moved to the front,
    where a sequence has not yet begun, and their labels are zeros.

    Args:
        encode: `encode(params, (x [S, ...], labels [S, ways], mask [S])) -> state`.
        decode: `decode(params, (state, x [Q, ...])) -> logits [Q, ways]`; both come from a module
            of `jmeta.nn` through `jmeta.nn.encode_decode`.
        ways: N, the number of classes of an episode (static, never read off the labels).

    Raises:
        ValueError: `ways` is less than 1.

    A Simple Neural Attentive Meta-Learner (Mishra et al., 2018, arXiv:1707.03141); One-shot
    Learning with Memory-Augmented Neural Networks (Santoro et al., 2016, arXiv:1605.06065).

    >>> last = lambda params, support: support[1][-1]  # remembers the last label
    >>> learner = amortised(last, lambda params, pair: pair[0][None], ways=2)
    >>> adapted = learner.adapt((), Batch(jnp.ones((3, 1)), jnp.array([0, 1, -1])))
    >>> learner.predict(adapted, jnp.ones((1, 1))).tolist()
    [[0.0, 1.0]]
    """
    if ways < 1:
        raise ValueError(f"amortised expects ways >= 1, but got {ways}.")

    def adapt(params: Params, support: Batch) -> Adapted:
        order = jnp.argsort((support.y >= 0).astype(jnp.int32), stable=True)
        x, y = jax.tree.map(lambda leaf: leaf[order], (support.x, support.y))
        return params, encode(params, (x, jax.nn.one_hot(y, ways), y >= 0))

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, state = adapted
        return decode(params, (state, x))

    return Learner(adapt, predict)

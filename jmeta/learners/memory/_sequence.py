"""Classifiers that encode the support set with a network instead of fitting to it."""

import jax
import jax.numpy as jnp

from jmeta.core import Adapted, Batch, Key, Learner, MethodNet, Outputs, Params, PyTree, Task
from jmeta.core._labels import one_hot, require_range
from jmeta.core._networks import require_net
from jmeta.core._padding import is_masked, marked, unmarked


def amortised(net: MethodNet, *, ways: int) -> Learner:
    """Encode the support set into a state, and classify queries with it: SNAIL, MANN.

        state = encode(θ, (x_S, onehot(y_S), mask)),   logits = decode(θ, state, x_Q)

    If the network reads a sequence, predictions depend on the order of the support set. Examples
    with the label -1 are padding. They are moved to the front of the sequence, and their one-hot
    labels are zeros.

    Args:
        net: a network with the methods `encode((x [S, ...], labels [S, ways], mask [S]))` and
            `decode(state, x [Q, ...]) -> logits [Q, ways]`, such as `jmeta.nn.SNAIL` or
            `jmeta.nn.MANN`; its `init` takes the support triple and query inputs.
        ways: N, the number of classes of an episode. It is static and not read from the labels.

    Raises:
        ValueError: `ways` is less than 1, `net` is not a network, or a label is out of range.

    A Simple Neural Attentive Meta-Learner (Mishra et al., 2018, arXiv:1707.03141); One-shot
    Learning with Memory-Augmented Neural Networks (Santoro et al., 2016, arXiv:1605.06065).

    >>> from jmeta.nn import from_functions
    >>> net = from_functions(  # it remembers the last label
    ...     lambda key, support, x: (),
    ...     lambda params, support, x: support[1][-1][None],
    ...     encode=lambda params, support: support[1][-1],
    ...     decode=lambda params, state, x: state[None],
    ... )
    >>> learner = amortised(net, ways=2)
    >>> adapted = learner.adapt((), Batch(jnp.ones((3, 1)), jnp.array([0, 1, -1])))
    >>> learner.predict(adapted, jnp.ones((1, 1))).tolist()
    [[0.0, 1.0]]
    """
    require_net(net, of="amortised")
    if ways < 1:
        raise ValueError(f"amortised expects ways >= 1, but got {ways}.")

    def init(key: Key, task: Task) -> Params:
        labels = jnp.zeros((len(task.support.y), ways))
        return net.init(key, (task.support.x, labels, task.support.y >= 0), task.query.x)

    def adapt(params: Params, support: Batch) -> Adapted:
        require_range(support.y, ways, of="amortised")
        order = jnp.argsort((support.y != -1).astype(jnp.int32), stable=True)
        examples = unmarked(marked(net, support))[0]  # the mask goes beside them
        x, y = jax.tree.map(lambda leaf: leaf[order], (examples, support.y))
        read = (x, one_hot(y, ways, jnp.float32), y != -1)
        return params, net.apply(params, read, method="encode")

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, state = adapted
        x, real = unmarked(x)
        options = {} if real is None else {"real": real}
        return net.apply(params, state, x, method="decode", **options)

    return Learner(init, adapt, predict, is_masked(net))

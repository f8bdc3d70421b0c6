"""FEAT: class means that a learned set-to-set function adapts to each other."""

import jax

from jmeta.core import Adapted, Batch, Key, Learner, Net, Outputs, Params, PyTree, Task
from jmeta.core._networks import bound, first_example, init_net, key_of, require_net
from jmeta.core._numbers import require_positive
from jmeta.core._padding import is_masked, marked
from jmeta.core._tree import require_keys
from jmeta.distances import squared_euclidean
from jmeta.learners.comparison._heads import (
    Head,
    Prototypes,
    check_ways,
    class_means,
    only_present,
)

Value = float | jax.Array  # a number, or a traced, learned array []
KEYS = ("embed", "attention")


def set_to_set(ways: int, attend: Net, params: Params, *, scale: Value = 1.0) -> Head:
    """Classify by the nearest class mean, after a network has adapted all means to each other.

        (ψ_1, ..., ψ_N) = g(γ, (c_1, ..., c_N)),   logits_n(z) = −s |z − ψ_n|²

    A query does not take part, so that its prediction does not depend on the others.

    Args:
        ways: N, the number of classes of an episode (static).
        attend: g, a network with two inputs, the class means [N, D] and which classes have a
            support example, [N] bool, and outputs ψ [N, D], such as `jmeta.nn.SetAttention()`.
        params: γ, its parameters, which `feat` learns.
        scale: s, the inverse temperature, which may be a traced, learned array. The authors divide
            by 64 for features of width 640. easyfsl answers with the negative distance, −|z − ψ_n|,
            which changes no prediction.

    Returns:
        A head over embeddings [S, D].

    Raises:
        ValueError: `ways` is less than 1, `scale` is not positive, or `attend` is not a network.

    Few-Shot Learning via Embedding Adaptation with Set-to-Set Functions (Ye, Hu, Zhan, Sha, 2020,
    arXiv:1812.03664).

    >>> import jax.numpy as jnp
    >>> from jmeta.nn import from_functions
    >>> halve = from_functions(lambda key, c, real: jnp.ones(()), lambda w, c, real: w * c / 2)
    >>> head = set_to_set(2, halve, 1.0)
    >>> state = head.fit(jnp.array([[2.0], [4.0]]), jnp.array([0, 1]))
    >>> head.predict(state, jnp.array([[1.0]])).tolist()
    [[-0.0, -1.0]]
    """
    check_ways(ways, name="set_to_set")
    require_net(attend, of="set_to_set")
    require_positive(scale, name="scale", of="set_to_set")

    def fit(embeddings: jax.Array, labels: jax.Array) -> Prototypes:
        means, present = class_means(embeddings, labels, ways=ways)
        return Prototypes(attend.apply(params, means, present), present)

    def predict(state: Prototypes, embeddings: jax.Array) -> jax.Array:
        logits = -scale * squared_euclidean(embeddings, state.means)
        return only_present(logits, state.present)

    return Head(fit, predict)


def feat(embed: Net, attend: Net, *, ways: int, scale: Value = 1.0) -> Learner:
    """Learn an embedding, and a set-to-set function that adapts class means to each other.

        head = set_to_set(N, g, γ),   logits = head.predict(head.fit(f(θ, x_S), y_S), f(θ, x_Q))

    Train it with `episodic` and `cross_entropy`. The paper adds a contrastive loss, which is left
    out.

    Args:
        embed: f, the embedding network, inputs [M, ...] -> embeddings [M, D].
        attend, ways, scale: see `set_to_set`.

    Returns:
        A learner with parameters {"embed": θ, "attention": γ}.

    Raises:
        ValueError: the arguments are in another order, `ways` is less than 1, `scale` is not
            positive, or the parameters were not made by this learner's `init`.

    Few-Shot Learning via Embedding Adaptation with Set-to-Set Functions (Ye, Hu, Zhan, Sha, 2020,
    arXiv:1812.03664).

    >>> import jax.numpy as jnp
    >>> from jmeta.nn import MLP, SetAttention
    >>> learner = feat(MLP((8,), 4), SetAttention(), ways=2)
    >>> support = Batch(jnp.eye(2), jnp.array([0, 1]))
    >>> params = learner.init(jax.random.key(0), Task(support, support))
    >>> learner.predict(learner.adapt(params, support), jnp.eye(2)).shape
    (2, 2)
    """
    require_net(embed, of="feat")
    require_net(attend, of="feat")
    set_to_set(ways, attend, None, scale=scale)  # checks the other arguments

    def init(key: Key, task: Task) -> Params:
        first, second = jax.random.split(key)
        params = init_net(embed, first, first_example(task.support.x))
        f = bound(embed, key_of(embed, key, of="feat"))
        means, present = class_means(f(params, task.support.x), task.support.y, ways=ways)
        return {"embed": params, "attention": attend.init(second, 0 * means, present)}

    def adapt(params: Params, support: Batch) -> Adapted:
        require_keys(params, KEYS, of="feat")
        key = key_of(embed, support.key, of="feat")
        features = bound(embed, key, -1)(params["embed"], marked(embed, support))
        head = set_to_set(ways, attend, params["attention"], scale=scale)
        return params["embed"], head.fit(features, support.y), key

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, state, key = adapted
        head = set_to_set(ways, attend, None, scale=scale)
        return head.predict(state, bound(embed, key, -2)(params, x))

    return Learner(init, adapt, predict, is_masked(embed))

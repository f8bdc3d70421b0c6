"""Relation Networks: a learned comparison of queries with classes."""

from typing import Literal

import jax
import jax.numpy as jnp

from jmeta.core import Adapted, Batch, Key, Learner, Net, Outputs, Params, PyTree, Task
from jmeta.core._networks import bound, first_example, init_net, key_of, require_net
from jmeta.core._padding import is_masked, marked, unmarked
from jmeta.core._tree import require_keys
from jmeta.learners.comparison._heads import check_ways, class_means, class_sums, only_present

Combine = Literal["sum", "mean"]
KEYS = ("embed", "relation")


def relation(embed: Net, compare: Net, *, ways: int, combine: Combine = "sum") -> Learner:
    """A network that computes the similarity of a query and a class.

        r_qn = h(γ, [f_n; f(θ, x_q)]),   f_n = Σ over s in class n of f(θ, x_s)

    Train it with the paper's loss, `jmeta.losses.relation_error`, or with `cross_entropy`.

    Args:
        embed: f, the embedding network, inputs [M, ...] -> features [M, D] or maps [M, H, W, C].
        compare: h, a network with two inputs, classes [N, ...] and queries [Q, ...], and outputs
            r [Q, N], such as `jmeta.nn.RelationConv` or `jmeta.nn.RelationMLP`. The paper's score
            is σ(r). If it is masked, its keyword `real` is [Q, N].
        ways: N, the number of classes (static).
        combine: "sum" adds up the examples of a class as in the paper. "mean" averages them, so
            that f_n does not grow with the number of shots.

    Returns:
        A learner with parameters {"embed": θ, "relation": γ}.

    Raises:
        ValueError: `ways` is less than 1, `combine` is unknown, or the parameters were not made by
            this learner's `init`.

    Learning to Compare: Relation Network for Few-Shot Learning (Sung, Yang, Zhang, Xiang, Torr,
    Hospedales, 2018, arXiv:1711.06025).

    >>> import jax.numpy as jnp
    >>> from jmeta.nn import from_functions
    >>> embed = from_functions(lambda key, x: jnp.ones(()), lambda w, x: x * w)
    >>> compare = from_functions(lambda key, c, q: jnp.ones(()), lambda w, c, q: w * q @ c.T)
    >>> learner = relation(embed, compare, ways=2)
    >>> support = Batch(jnp.array([[1.0], [-2.0]]), jnp.array([0, 1]))
    >>> params = learner.init(jax.random.key(0), Task(support, support))
    >>> learner.predict(learner.adapt(params, support), jnp.array([[3.0]])).tolist()
    [[3.0, -6.0]]
    """
    require_net(embed, of="relation")
    require_net(compare, of="relation")
    check_ways(ways, name="relation")
    if combine not in ("sum", "mean"):
        raise ValueError(f"relation got combine={combine!r}; expected 'sum' or 'mean'.")

    def init(key: Key, task: Task) -> Params:
        first, second = jax.random.split(key)
        params = init_net(embed, first, first_example(task.support.x))
        f = bound(embed, key_of(embed, key, of="relation"))
        support, query = (f(params, batch.x) for batch in task)
        sums = class_sums(support, task.support.y, ways=ways)
        return {"embed": params, "relation": init_net(compare, second, sums, query)}

    def adapt(params: Params, support: Batch) -> Adapted:
        require_keys(params, KEYS, of="relation")
        key = key_of(embed, support.key, of="relation")
        features = bound(embed, key, -1)(params["embed"], marked(embed, support))
        means, present = class_means(features, support.y, ways=ways)
        sums = class_sums(features, support.y, ways=ways)
        return params, sums if combine == "sum" else means, present, key

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, classes, present, key = adapted
        queries, options = bound(embed, key, -2)(params["embed"], x), {}
        if is_masked(compare):
            real = unmarked(x)[1]
            every = jnp.ones(len(queries), bool) if real is None else real
            options = {"real": every[:, None] & present[None, :]}
        logits = compare.apply(params["relation"], classes, queries, **options)
        return only_present(logits, present)

    return Learner(init, adapt, predict, is_masked(embed) or is_masked(compare))

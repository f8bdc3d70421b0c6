"""A learner whose inputs are features of a network that does not adapt."""

import jax

from jmeta.core import Adapted, Batch, Key, Learner, Net, Outputs, Params, PyTree, Task
from jmeta.core._losses import require_learner
from jmeta.core._networks import bound, first_example, init_net, key_of, require_net
from jmeta.core._padding import again_marked, is_masked, is_transductive, marked, unmarked
from jmeta.core._tree import require_keys


def on_features(embed: Net, learner: Learner) -> Learner:
    """Put a network that does not adapt in front of any learner.

        adapt(θ, S) = learner.adapt(θ_learner, (f(θ_embed, x_S), y_S)),   and x_Q likewise

    Each input is embedded once, however often the learner reads it.

    Args:
        embed: f, the embedding network, inputs [N, ...] -> features [N, ...].
        learner: a learner whose inputs are features.

    Returns:
        A learner with parameters {"embed": θ_embed, "learner": θ_learner}.

    Raises:
        ValueError: the arguments are in another order, a stochastic embedding has no key, or the
            parameters were not made by this learner's `init`.

    ANIL (Raghu et al., 2020, arXiv:1909.09157), and Meta Networks in which only the last layers
    have fast weights (Munkhdalai, Yu, 2017, arXiv:1703.00837), have this form.

    >>> import jax.numpy as jnp
    >>> from jmeta.learners.comparison import metric, prototypical
    >>> from jmeta.nn import MLP
    >>> learner = on_features(MLP((8,), 4), metric(MLP((), 3), prototypical(2)))
    >>> support = Batch(jnp.array([[0.0], [2.0]]), jnp.array([0, 1]))
    >>> params = learner.init(jax.random.key(0), Task(support, support))
    >>> learner.predict(learner.adapt(params, support), support.x).argmax(-1).tolist()
    [0, 1]
    """
    require_net(embed, of="on_features")
    require_learner(learner, of="on_features")

    def init(key: Key, task: Task) -> Params:
        embed_key, learner_key = jax.random.split(key)
        params = init_net(embed, embed_key, first_example(task.support.x))
        features = [
            batch._replace(x=bound(embed, key_of(embed, key, of="on_features"))(params, batch.x))
            for batch in task
        ]
        return {"embed": params, "learner": learner.init(learner_key, Task(*features))}

    def adapt(params: Params, support: Batch) -> Adapted:
        require_keys(params, ("embed", "learner"), of="on_features")
        key = key_of(embed, support.key, of="on_features")
        features = bound(embed, key, -1)(params["embed"], marked(embed, support))
        adapted = learner.adapt(params["learner"], support._replace(x=features))
        return params["embed"], adapted, key

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, inner, key = adapted
        features = bound(embed, key, -2)(params, x)
        return learner.predict(inner, again_marked(learner, features, unmarked(x)[1]))

    masked = is_masked(embed) or is_masked(learner)
    return Learner(init, adapt, predict, masked, is_transductive(learner))

"""A learner that sees what an embedding network makes of the inputs."""

from jmeta.core.types import Adapted, Apply, Batch, Learner, Outputs, Params, PyTree


def on_features(embed: Apply, learner: Learner) -> Learner:
    """Put layers that do not adapt in front of any learner.

        adapt(θ, S) = learner.adapt(θ_learner, (f(θ_embed, x_S), y_S)),   and x_Q likewise

    Each input is embedded once, however often the learner reads it. Padded examples are embedded
    too.

    Args:
        embed: f, `embed(params["embed"], x [N, ...]) -> features [N, ...]`.
        learner: of `params["learner"]`, for examples that are features.

    Returns:
        a learner whose parameters are `{"embed": ..., "learner": ...}`.

    Meta Networks (Munkhdalai, Yu, 2017, arXiv:1703.00837) whose last layers alone have fast
    weights, and ANIL (Raghu et al., 2020, arXiv:1909.09157), are learners of this form.

    >>> import jax.numpy as jnp
    >>> from jmeta import metric, prototypical
    >>> learner = on_features(lambda w, x: x * w, metric(lambda w, z: z + w, prototypical(2)))
    >>> params = {"embed": jnp.ones(()), "learner": jnp.zeros(())}
    >>> adapted = learner.adapt(params, Batch(jnp.array([[0.0], [2.0]]), jnp.array([0, 1])))
    >>> learner.predict(adapted, jnp.array([[0.5]])).argmax(-1).tolist()
    [0]
    """

    def adapt(params: Params, support: Batch) -> Adapted:
        features = support._replace(x=embed(params["embed"], support.x))
        return params["embed"], learner.adapt(params["learner"], features)

    def predict(adapted: Adapted, x: PyTree) -> Outputs:
        params, inner = adapted
        return learner.predict(inner, embed(params, x))

    def init(params: Params) -> Params:
        return {**params, "learner": learner.init(params["learner"])}

    return Learner(adapt, predict, init)

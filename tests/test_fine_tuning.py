"""Fine-tuning on each support set, and Meta-Baseline: learners, and runs after pretraining."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from learners import EMBED, WAYS, double, init, task
from test_gradients import finite_differences

import jmeta
from jmeta import nn, train
from jmeta.learners import fine_tuning
from jmeta.losses import cross_entropy
from jmeta.runs import _programs as programs

KEY = jax.random.key(1)
SMALL = {
    "dataset": "glyphs",
    "network": "conv4",
    "filters": 4,
    "norm": "layer",
    "tasks": 1,
    "log_every": 2,
    "validate_every": 4,
    "validation_episodes": 4,
    "episodes": 4,
}


def _learner(steps: int = 3, rate: float = 0.3, **options) -> jmeta.Learner:
    return fine_tuning(EMBED, jmeta.unrolled(optax.sgd(rate), steps), ways=WAYS, **options)


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_no_steps_are_the_nearest_class_mean(head) -> None:
    one, params = task(KEY), init(KEY)
    learner = _learner(0, head=head)
    logits = learner.predict(learner.adapt(params, one.support), one.query.x)
    distance = jmeta.distances.cosine if head == "cosine" else jmeta.distances.squared_euclidean
    nearest = jmeta.metric(
        EMBED, jmeta.prototypical(WAYS, distance=distance, scale=10.0 if head == "cosine" else 1.0)
    )
    wanted = nearest.predict(nearest.adapt(params, one.support), one.query.x)
    np.testing.assert_allclose(jax.nn.softmax(logits), jax.nn.softmax(wanted), rtol=1e-4, atol=1e-5)


def test_a_linear_head_alone_is_regression_by_hand() -> None:
    one, params = task(KEY), init(KEY)
    z = EMBED.apply(params, one.support.x)
    weights = {"kernel": jnp.zeros((5, WAYS)), "bias": jnp.zeros(WAYS)}

    def loss(w: dict) -> jax.Array:
        decay = 0.2 / 2 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(w))
        return cross_entropy(z @ w["kernel"] + w["bias"][None], one.support.y) + decay

    for _ in range(4):
        weights = jax.tree.map(lambda w, g: w - 0.3 * g, weights, jax.grad(loss)(weights))
    learner = _learner(4, start="zero", decay=0.2)
    adapted = jax.jit(learner.adapt)(params, one.support).params
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), adapted["head"], weights)
    jax.tree.map(np.testing.assert_array_equal, adapted["body"], params)


def test_a_layer_of_the_embedding_that_is_called_head_stays() -> None:
    embed, one = nn.MLP((5,), 4), task(KEY)
    learner = fine_tuning(embed, jmeta.unrolled(optax.sgd(0.3), 2), ways=WAYS)
    params = learner.init(KEY, one)
    adapted = jax.jit(learner.adapt)(params, one.support).params
    jax.tree.map(np.testing.assert_array_equal, adapted["body"], params)


def test_a_strong_pull_holds_the_embedding_and_a_weak_one_lets_it_go() -> None:
    one, params = task(KEY), init(KEY)

    def moved(near: float) -> float:
        learner = _learner(20, 0.02, adapts=jmeta.everything, near=near)
        adapted = jax.jit(learner.adapt)(params, one.support).params["body"]
        return float(sum(jnp.sum((adapted[n] - params[n]) ** 2) for n in params))

    assert moved(40.0) < 0.2 * moved(0.0) and moved(0.0) > 0


def test_padding_and_a_class_without_examples() -> None:
    one, params, learner = task(KEY), init(KEY), _learner(adapts=jmeta.everything, decay=0.1)
    keep = one.support.y != 2
    missing = one.support._replace(
        x=jnp.where(keep[:, None], one.support.x, jnp.nan), y=jnp.where(keep, one.support.y, -1)
    )
    left = one.support._replace(x=one.support.x[keep], y=one.support.y[keep])
    both = [jax.jit(learner.adapt)(params, batch) for batch in (missing, left)]
    logits, wanted = (learner.predict(adapted, one.query.x) for adapted in both)
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)
    assert (logits.argmax(-1) != 2).all() and np.isfinite(logits).all()


def test_low_rank_matrices_are_tuned_beside_the_body_and_the_head_itself() -> None:
    one, params = task(KEY), init(KEY)
    lora = jmeta.core.low_rank("body", rank=1, also="head")
    start, tuned = (
        jax.jit(_learner(steps, adapts=lora, near=0.1, decay=0.1).adapt)(params, one.support).params
        for steps in (0, 5)
    )
    jax.tree.map(np.testing.assert_array_equal, start["body"], params)
    for name, leaf in params.items():
        moved = tuned["body"][name] - leaf
        wanted = 1 if name in ("w1", "film") else 0  # w2 is not of the embedding
        assert np.linalg.matrix_rank(np.atleast_2d(moved), tol=1e-6) == wanted, name
    jax.tree.map(
        lambda a, b: np.testing.assert_(bool((a != b).any())), start["head"], tuned["head"]
    )


def test_the_gradient_through_tuned_low_rank_matrices_equals_finite_differences() -> None:
    with jax.enable_x64(True):
        one, params = double(task(KEY)), double(init(KEY))
        lora = jmeta.core.low_rank("body", rank=2, also="head")
        loss = jmeta.episodic(_learner(adapts=lora), cross_entropy)
        exact = ravel_pytree(jax.jit(jax.grad(lambda p: loss(p, one)[0]))(params))[0]
        numeric = finite_differences(lambda p: loss(p, one)[0], params)
        assert np.linalg.norm(exact - numeric) < 1e-6 * np.linalg.norm(exact)


def test_episodes_are_tuned_side_by_side() -> None:
    tasks, params = jax.vmap(task)(jax.random.split(KEY, 3)), init(KEY)
    learner = _learner(adapts=jmeta.part(("head", "w1")), near=0.1)
    run = lambda t: learner.predict(learner.adapt(params, t.support), t.query.x)  # noqa: E731
    found = jax.jit(jax.vmap(run))(tasks)
    for i in range(3):
        np.testing.assert_allclose(
            found[i], run(jax.tree.map(lambda leaf, i=i: leaf[i], tasks)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: _learner(head="tree"), "head='tree'; expected 'linear' or 'cosine'"),
        (lambda: _learner(start="ones"), "start='ones'; expected 'means' or 'zero'"),
        (lambda: _learner(head="cosine", start="zero"), "cannot start at zero"),
        (lambda: _learner(near=-1.0), "near >= 0"),
        (lambda: fine_tuning(EMBED, optax.sgd(0.1), ways=2), "expects a solver"),
        (lambda: fine_tuning(EMBED, jmeta.unrolled(optax.sgd(0.1), 1), ways=0), "ways >= 1"),
        (
            lambda: _learner(adapts=jmeta.part("w9")).adapt(init(KEY), task(KEY).support),
            "'w9' selects none of the parameters; they are body/b1",
        ),
        (
            lambda: train.experiment("fine-tuning", classifier="cosine", head_start="zero"),
            "head_start must be means",
        ),
        (lambda: train.experiment("fine-tuning", tunes=" , "), "tunes must name something"),
        (lambda: train.experiment("fine-tuning", lora=2), "lora is for layers below the head"),
        (
            lambda: jmeta.core.low_rank(rank=1, also="w9").take(
                jmeta.core.low_rank(rank=1).init(init(KEY))
            ),
            "'w9' selects none of the parameters",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, says) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_an_unknown_layer_is_refused_with_those_there_are() -> None:
    made = train.completed(train.experiment("fine-tuning", **SMALL, tunes="Conv_3,Conv_9"))
    with pytest.raises(ValueError, match=r"tunes: 'Conv_9' selects none .*params/Conv_0/kernel"):
        train.open_experiment(made)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "pre"
    train.run(train.experiment("pretrain", **SMALL, steps=2, batch=8), out)
    return out


@pytest.mark.parametrize("own", [{"tunes": "Conv_3"}, {"tunes": "all", "lora": 2}])
def test_a_run_of_no_updates_tunes_what_another_has_learned(own, pretrained, tmp_path) -> None:
    made = train.experiment(
        "fine-tuning",
        **SMALL,
        **own,
        steps=0,
        inner_steps=3,
        l2_sp=0.1,
        init_from=str(pretrained),
    )
    result = train.run(made, tmp_path / "run")
    assert result["metrics"]["accuracy"]["episodes"] == 4
    assert result["protocol"]["inner_steps"] == 3
    stored = train.load_run(tmp_path / "run")[1]
    jax.tree.map(np.testing.assert_array_equal, stored, train.load_run(pretrained)[1])
    found = train.adaptation_curve(tmp_path / "run", steps=4)
    np.testing.assert_allclose(
        found["metrics"]["accuracy"][3]["mean"], result["metrics"]["accuracy"]["mean"], atol=1e-6
    )


def test_meta_baseline_begins_with_a_pretrained_embedding_and_a_scale_of_ten(pretrained) -> None:
    made = train.experiment("meta-baseline", **SMALL, steps=2, init_from=str(pretrained))
    parts = programs.parts(made)
    state = programs.initial_state(parts)
    stored = train.load_run(pretrained)[1]["embed"]
    jax.tree.map(np.testing.assert_array_equal, state.params.params, stored)
    np.testing.assert_allclose(jnp.exp(state.params.hyper), [10.0], rtol=1e-5)
    after, _ = programs.dispatch(parts)(state, pool=parts.domain.train, length=2)
    assert after.params.hyper != state.params.hyper

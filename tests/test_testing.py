"""The public check of a learner: it passes for jmeta's own and catches broken ones."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import NET, SGD, WAYS, Case, apply, init, made, over_cases, task

import jmeta
from jmeta import nn
from jmeta.losses import cross_entropy
from jmeta.testing import check_learner

KEY = jax.random.key(0)
FEW = ("maml", "protonet")


@over_cases(slow=lambda case: case.name not in FEW)
def test_learners_keep_their_promises(case: Case) -> None:
    check_learner(made(case), case.task(KEY), objective=case.objective)


def test_a_regression_needs_no_options() -> None:
    batch = jmeta.Batch(jnp.ones((3, 2)), jnp.ones((3, 1)))
    solver = jmeta.unrolled(SGD, 1)
    learner = jmeta.maml(nn.MLP((), 1), jmeta.losses.mean_squared_error, solver)
    check_learner(learner, jmeta.Task(batch, batch), key=jax.random.key(3))


LEARNER = jmeta.metric(NET, jmeta.prototypical(WAYS))
RANDOM = np.random.default_rng(0)


class Hidden(NamedTuple):
    """Outputs beside a number."""

    outputs: jax.Array
    count: int


def _at_random(params, x):
    return LEARNER.predict(params, x) + RANDOM.normal()


def _by_value(params, support):
    x = support.x if support.x.sum() > 0 else -support.x
    return LEARNER.adapt(params, support._replace(x=x))


@jax.custom_batching.custom_vmap
def _odd(x):
    return x


@_odd.def_vmap
def _odd_when_mapped(size, batched, x):
    return x + 1, True


def _root(params, x):
    logits = LEARNER.predict(params, x)
    return logits * jnp.sqrt(jnp.sum(params[0]["dead"] ** 2) + 1) + jnp.sqrt(params[0]["dead"] ** 2)


def _centred() -> jmeta.Learner:
    net = nn.from_functions(
        lambda key, x: init(key), lambda params, x: apply(params, x - x.mean(0, keepdims=True))
    )
    return jmeta.metric(net, jmeta.prototypical(WAYS))


BROKEN = {
    "no learner": (NET, "check_learner expects a Learner as its first argument, but got Network"),
    "a closure": (
        LEARNER._replace(adapt=lambda params, support: lambda x: x),
        "adapt must return a pytree of arrays, but it returned a function; return the arrays",
    ),
    "a closure among arrays": (
        LEARNER._replace(adapt=lambda params, support: (params, {"apply": apply})),
        r"adapt must return a pytree of arrays, but it returned a function at \[1\]\['apply'\]",
    ),
    "a Python number": (
        LEARNER._replace(adapt=lambda params, support: Hidden(support.x, 3)),
        r"adapt must return a pytree of arrays, but it returned a int at .count",
    ),
    "a function in a static field": (
        LEARNER._replace(
            adapt=lambda params, support: jax.tree_util.Partial(lambda p, x: x, params),
            predict=lambda adapted, x: adapted(x),
        ),
        "adapt must return the same structure at every call",
    ),
    "an integer parameter": (
        LEARNER._replace(init=lambda key, task: {**init(key), "count": jnp.zeros((), jnp.int32)}),
        r"params\['count'\] has dtype int32, but every leaf that is learned must be a floating",
    ),
    "randomness in init": (
        LEARNER._replace(init=lambda key, task: {**init(key), "b1": jnp.full(5, RANDOM.normal())}),
        "init is not a pure function: two calls with equal arguments return different values",
    ),
    "randomness in predict": (
        LEARNER._replace(predict=_at_random),
        "adapt or predict is not a pure function: two calls with equal arguments",
    ),
    "a branch on a value": (
        LEARNER._replace(adapt=_by_value),
        "adapt cannot go through jax.jit: TracerBoolConversionError: ",
    ),
    "another value under jit": (
        LEARNER._replace(
            predict=lambda adapted, x: LEARNER.predict(adapted, x) + isinstance(x, jax.core.Tracer)
        ),
        "adapt or predict is not a pure function: its values under jax.jit differ",
    ),
    "a mean over queries": (
        LEARNER._replace(predict=lambda adapted, x: LEARNER.predict(adapted, x).mean(0)),
        r"predict must return arrays with the leading axis \[Q\], .* 6 queries, .* \[\(3,\)\]",
    ),
    "nothing": (
        LEARNER._replace(predict=lambda adapted, x: ()),
        r"predict must return arrays with the leading axis \[Q\].*of nothing",
    ),
    "another value under vmap": (
        LEARNER._replace(predict=lambda adapted, x: _odd(LEARNER.predict(adapted, x))),
        "jax.vmap over tasks does not equal a loop over them",
    ),
    "weak types": (
        LEARNER._replace(init=lambda key, task: {**init(key), "dead": jnp.asarray(0.5)}),
        "a second meta-training step traces the learner again",
    ),
    "a root at zero": (
        LEARNER._replace(predict=_root),
        "gradient of the learner's loss is not finite",
    ),
    "batch statistics": (
        _centred(),
        "padding, which has the label -1, changes the predictions .* padding=False",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_named(name: str) -> None:
    learner, words = BROKEN[name]
    with pytest.raises(ValueError, match=words):
        check_learner(learner, task(KEY))


def test_batch_statistics_are_excused() -> None:
    check_learner(_centred(), task(KEY), padding=False, objective=cross_entropy)


def test_padding_that_counts_is_caught() -> None:
    """A mean over all examples, padding among them."""

    def adapt(params, support):
        return apply(params, support.x).mean(0)

    def predict(adapted, x):
        return x[:, :WAYS] * adapted[None]

    learner = jmeta.Learner(lambda key, task: init(key), adapt, predict)
    one = task(KEY)
    with pytest.raises(ValueError, match="padding, which has the label -1"):
        check_learner(learner, one)
    check_learner(learner, one, padding=False)


def test_the_package_itself_needs_no_chex() -> None:
    for path in Path(jmeta.__file__).parent.rglob("*.py"):
        assert "chex" not in path.read_text(), path

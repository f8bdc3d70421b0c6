"""The contract of a learner as one call, for tests of learners of your own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jmeta.core import (
    Batch,
    Key,
    Learner,
    Objective,
    Params,
    PyTree,
    Task,
    episodic,
    step,
    train_state,
)
from jmeta.core._losses import require_learner
from jmeta.core._networks import is_key
from jmeta.core._tree import require_inexact
from jmeta.losses import cross_entropy, mean_squared_error

__all__ = ["check_learner"]


def check_learner(
    learner: Learner,
    task: Task,
    *,
    objective: Objective | None = None,
    key: Key | None = None,
    padding: bool = True,
    tolerance: float = 1e-3,
) -> None:
    """Check what every learner promises, and raise an error that names the promise it breaks.

    * `init`, `adapt` and `predict` are pure: equal arguments give equal results, and under
      `jax.jit` the same results as without it.
    * Every leaf of the parameters is a floating-point array.
    * `adapt` returns a pytree of arrays, and nothing that it needs is hidden in a closure.
    * `predict` returns outputs with the leading axis [Q].
    * `jax.vmap` over tasks equals a loop over them.
    * A second meta-training step traces nothing again, and gradients are finite.
    * Padding, which has the label -1, does not change the predictions of the real queries. This
      is checked where the labels are integers.

    It compiles about six small programs. It needs neither pytest nor an accelerator.

    Args:
        learner: the learner.
        task: one task of the kind that the learner is for, with a key in its support set if the
            learner is stochastic. A small one keeps the check quick.
        objective: of the query outputs; `cross_entropy` for integer targets and
            `mean_squared_error` for others by default.
        key: makes the parameters; `jax.random.key(0)` by default.
        padding: False for a learner that cannot ignore padding, such as one whose network
            normalises by batch statistics: there every example of a batch, and so a padded one,
            moves the predictions of the others.
        tolerance: largest difference between results that must be equal, relative to 1 + |value|.

    Raises:
        ValueError: a promise is broken.

    >>> import jmeta
    >>> from jmeta.nn import MLP
    >>> support = Batch(jnp.eye(4), jnp.array([0, 0, 1, 1]))
    >>> learner = jmeta.metric(MLP((8,), 4), jmeta.prototypical(2))
    >>> check_learner(learner, Task(support, support))
    >>> closure = learner._replace(adapt=lambda params, support: lambda x: x)
    >>> check_learner(closure, Task(support, support))
    Traceback (most recent call last):
        ...
    ValueError: adapt must return a pytree of arrays, but it returned a function; ...
    """
    require_learner(learner, of="check_learner")
    labelled = jnp.issubdtype(jnp.result_type(task.query.y), jnp.integer)
    objective = objective or (cross_entropy if labelled else mean_squared_error)
    key = jax.random.key(0) if key is None else key
    same = partial(_require_equal, tolerance=tolerance)
    params = _check_init(learner, task, key, same)
    predict = _check_prediction(learner, params, task, same)
    _check_vmap(learner, params, task, predict, same)
    _check_step(learner, params, task, objective)
    if padding and labelled:
        _check_padding(learner, params, task, predict, same)


Same = Callable[[PyTree, PyTree, str], None]
Predict = Callable[[Params, Task], PyTree]


def _check_init(learner: Learner, task: Task, key: Key, same: Same) -> Params:
    """Parameters, after a look at them."""
    params = learner.init(key, task)
    require_inexact(params)
    same(learner.init(key, task), params, f"init is not a pure function: {_AGAIN}")
    with _traceable("init"):
        jitted = jax.jit(learner.init)(key, task)
    same(jitted, params, f"init is not a pure function: {_JITTED}")
    return params


def _check_prediction(learner: Learner, params: Params, task: Task, same: Same) -> Predict:
    """Adapt and predict, compiled, after a look at what they return."""
    adapted = learner.adapt(params, task.support)
    for path, leaf in jax.tree_util.tree_leaves_with_path(adapted):
        if not hasattr(leaf, "dtype"):
            kind = "a function" if callable(leaf) else f"a {type(leaf).__name__}"
            where = f"{kind} at {jax.tree_util.keystr(path)}" if path else kind
            raise ValueError(
                f"adapt must return a pytree of arrays, but it returned {where}; return the arrays "
                "that predict needs, so that an adapted learner can be stored and sent."
            )
    again = learner.adapt(params, task.support)
    if not _alike(again, adapted):
        raise ValueError(
            "adapt must return the same structure at every call, but two calls with equal "
            "arguments returned different ones; a function in a static field differs each time."
        )
    outputs = learner.predict(adapted, task.query.x)
    _require_leading_axis(outputs, _length(task.query))
    rerun = learner.predict(again, task.query.x)
    same(rerun, outputs, f"adapt or predict is not a pure function: {_AGAIN}")
    adapt, predict = jax.jit(learner.adapt), jax.jit(learner.predict)

    def run(params: Params, task: Task) -> PyTree:
        with _traceable("adapt"):
            adapted = adapt(params, task.support)
        with _traceable("predict"):
            return predict(adapted, task.query.x)

    same(run(params, task), outputs, f"adapt or predict is not a pure function: {_JITTED}")
    return run


def _check_vmap(learner: Learner, params: Params, task: Task, predict: Predict, same: Same) -> None:
    """All tasks of a batch together against one after the other."""
    each = [task, _other(task)]
    with _traceable("the learner", "jax.vmap"):
        together = jax.jit(
            jax.vmap(lambda t: learner.predict(learner.adapt(params, t.support), t.query.x))
        )(_stack(each))
    alone = _stack([predict(params, one) for one in each])
    same(together, alone, "jax.vmap over tasks does not equal a loop over them")


def _check_step(learner: Learner, params: Params, task: Task, objective: Objective) -> None:
    """Two steps of meta-training: traced once, and finite."""
    tx, traces = optax.sgd(1e-3), 0
    update = step(episodic(learner, objective), tx)

    def counted(*arguments: Any) -> Any:
        nonlocal traces
        traces += 1
        return update(*arguments)

    run, tasks = jax.jit(counted), _stack([task, _other(task)])
    with _traceable("the loss", "jax.grad"):
        state, aux = run(train_state(params, tx), tasks)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, aux.loss))):
        raise ValueError(
            "the gradient of the learner's loss is not finite; look for a root, a quotient or a "
            "logarithm at zero."
        )
    run(state, tasks)
    if traces > 1:
        raise ValueError(
            "a second meta-training step traces the learner again, because parameters change "
            "their type in a step; make them in init as arrays of one floating-point type, "
            "jnp.asarray(value, dtype)."
        )


def _check_padding(
    learner: Learner, params: Params, task: Task, predict: Predict, same: Same
) -> None:
    """The same predictions where support set and queries are followed by as much padding."""
    longer = Task(*(_padded(batch) for batch in task))
    count = _length(task.query)
    found = jax.tree.map(lambda leaf: leaf[:count], predict(params, longer))
    same(
        found,
        predict(params, task),
        "padding, which has the label -1, changes the predictions of the real queries (give "
        "padding=False for a learner that uses batch statistics)",
    )


_AGAIN = "two calls with equal arguments return different values; take randomness from the key"
_JITTED = (
    "its values under jax.jit differ from those without it; look for randomness, state or "
    "branches in Python"
)


@contextmanager
def _traceable(what: str, by: str = "jax.jit") -> Iterator[None]:
    """An error in here means that JAX could not trace the function."""
    try:
        yield
    except Exception as error:
        first = str(error).strip().split("\n", 1)[0]
        raise ValueError(
            f"{what} cannot go through {by}: {type(error).__name__}: {first}"
        ) from error


def _alike(left: PyTree, right: PyTree) -> bool:
    """Whether two trees have the same structure."""
    structures: list[Any] = [jax.tree.structure(tree) for tree in (left, right)]
    return bool(structures[0] == structures[1])


def _require_equal(found: PyTree, wanted: PyTree, broken: str, *, tolerance: float) -> None:
    if not _alike(found, wanted):
        raise ValueError(f"{broken}; the two results have different structures.")
    for (path, left), right in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(wanted), strict=True
    ):
        if np.shape(left) != np.shape(right):
            difference = f"shapes {np.shape(left)} and {np.shape(right)}"
        elif np.allclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True):
            continue
        else:
            difference = f"a difference of {np.max(np.abs(np.subtract(left, right))):.2g}"
        where = jax.tree_util.keystr(path)
        raise ValueError(f"{broken}; found {difference}{' at ' + where if where else ''}.")


def _require_leading_axis(outputs: PyTree, count: int) -> None:
    leaves = jax.tree.leaves(outputs)
    wrong = [np.shape(leaf) for leaf in leaves if np.shape(leaf)[:1] != (count,)]
    if wrong or not leaves:
        raise ValueError(
            f"predict must return arrays with the leading axis [Q], one row for each of the "
            f"{count} queries, but it returned shapes {wrong or 'of nothing'}."
        )


def _length(batch: Batch) -> int:
    return next(leaf.shape[0] for leaf in jax.tree.leaves(batch.x) if not is_key(leaf))


def _other(task: Task) -> Task:
    """A second task of the same shapes: the inputs of each batch moved by one, and other keys."""

    def moved(batch: Batch) -> Batch:
        x = jax.tree.map(lambda v: _fold(v) if is_key(v) else jnp.roll(v, 1, 0), batch.x)
        return batch._replace(x=x, key=None if batch.key is None else _fold(batch.key))

    return Task(*map(moved, task))


def _fold(keys: jax.Array) -> jax.Array:
    return jax.random.fold_in(keys, 1) if keys.ndim == 0 else jnp.roll(keys, 1, 0)


def _stack(trees: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _padded(batch: Batch) -> Batch:
    """The examples, and after them as often the first one with the label -1."""

    def twice(leaf: jax.Array) -> jax.Array:
        return leaf if is_key(leaf) else jnp.concatenate([leaf, jnp.stack([leaf[0]] * len(leaf))])

    labels = jnp.asarray(batch.y)
    y = jnp.concatenate([labels, jnp.full_like(labels, -1)])
    return batch._replace(x=jax.tree.map(twice, batch.x), y=y)

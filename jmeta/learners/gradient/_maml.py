"""Model-agnostic meta-learning, the basis of all gradient-based learners."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jmeta.core import (
    Adapted,
    Batch,
    Key,
    Learner,
    Net,
    Objective,
    Outputs,
    Params,
    PyTree,
    Scalar,
    Selection,
    Solution,
    Solver,
    Task,
    everything,
    hoist,
)
from jmeta.core._losses import require_objective
from jmeta.core._networks import bound, first_example, init_net, is_key, key_of, require_net
from jmeta.core._padding import is_masked, marked
from jmeta.core._types import InnerLoss, StepIndex

Augment = Callable[[Key, Batch], Batch]


class Tuned(NamedTuple):
    """A network adapted to a support set."""

    solution: Solution  # the network's parameters after the inner loop, and its path if kept
    key: Key | None  # the key for predictions of a stochastic network

    @property
    def params(self) -> Params:
        """The adapted parameters."""
        return self.solution.final


def maml(
    net: Net,
    objective: Objective,
    solver: Solver,
    *,
    adapts: Selection = everything,
    batches: int = 1,
    augment: Augment | None = None,
) -> Learner:
    """Model-agnostic meta-learning: φ = solver(L_support, θ), with predictions f(φ, x).

        φ_{k+1} = φ_k − α ∇ objective(f(φ_k, x_S), y_S),   φ_0 = θ

    Three independent choices give the members of the family:

    * `adapts`, the parameters that adapt: `everything` (MAML), `part("head")` (ANIL),
      `all_but("head")` (BOIL), `context()` (CAVIA), `own_per_step(...)` (MAML++), or any mask;
    * `solver`, the way to differentiate: `unrolled`, or `implicit` (iMAML);
    * the inner optimizer: `first_order()` at the head of its chain gives FOMAML, and `learned`
      gives it learned rates.

    Reptile is this learner with the loss `reptile` instead of `episodic`. With
    `unrolled(..., path=True)` the adapted learner also holds every iterate, for `predict_path` and
    `multi_step`.

    Args:
        net: the network, such as a Flax module (see `Net`). A stochastic one, such as a network
            with dropout, gets a key made from `support.key` and the index of the step.
        objective: the loss of the inner loop, `objective(outputs, targets) -> scalar`.
        solver: how to minimise it, such as `unrolled(optax.sgd(0.4), 1)`.
        adapts: which of the parameters adapt.
        batches: B, the number of equal minibatches into which the support set is divided, as in
            Reptile. Step k uses the examples k mod B, k mod B + B, ... B must divide S.
        augment: `augment(key, support) -> support`, applied with a new key at each step.

    Returns:
        A learner whose adapted state is `Tuned`.

    Raises:
        ValueError: the arguments are in another order, B does not divide the number of support
            examples, `augment` or the network needs a key and there is none, or the solver does
            not return a `Solution`.

    Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks (Finn, Abbeel, Levine,
    2017, arXiv:1703.03400).

    >>> import optax
    >>> from jmeta.core import unrolled
    >>> from jmeta.losses import mean_squared_error
    >>> from jmeta.nn import from_functions
    >>> net = from_functions(lambda key, x: jnp.zeros(()), lambda w, x: x * w)
    >>> learner = maml(net, mean_squared_error, unrolled(optax.sgd(0.5), 1))
    >>> batch = Batch(jnp.ones((1, 1)), jnp.ones((1, 1)))
    >>> params = learner.init(jax.random.key(0), Task(batch, batch))
    >>> float(learner.adapt(params, batch).params)
    1.0
    """
    require_net(net, of="maml")
    require_objective(objective, of="maml")
    require_solver(solver, of="maml")
    if batches < 1:
        raise ValueError(f"maml expects batches >= 1, but got {batches}.")

    def init(key: Key, task: Task) -> Params:
        return adapts.init(init_net(net, key, first_example(task.support.x)))

    def adapt(params: Params, support: Batch) -> Adapted:
        key = key_of(net, support.key, of="maml")
        start, examples = adapts.take(params), _minibatches(support, batches, augment)

        def loss(adapted: PyTree, k: StepIndex) -> Scalar:
            batch = examples(k)
            outputs = bound(net, key, k)(adapts.put(params, adapted, k), marked(net, batch))
            return objective(outputs, batch.y)

        found = solver(loss if adapts is everything else _hoisted(loss, start), start)
        if not isinstance(found, Solution):
            raise ValueError(
                f"the solver of maml must return a jmeta.Solution, but it returned "
                f"{type(found).__name__}; return Solution(adapted)."
            )
        return Tuned(_as_network(params, found, adapts), key)

    def predict(adapted: Tuned, x: PyTree) -> Outputs:
        return bound(net, adapted.key, -1)(adapted.params, x)

    return Learner(init, adapt, predict, is_masked(net))


def require_solver(solver: Any, *, of: str) -> None:
    """Refuse what is not a solver.

    Raises:
        ValueError: `solver` is not a function, or is an Optax transformation itself.
    """
    if not callable(solver) or hasattr(solver, "apply"):
        raise ValueError(
            f"{of} expects a solver such as jmeta.unrolled(optax.sgd(0.4), 1), but got "
            f"{type(solver).__name__}; check the order of the arguments."
        )


def _as_network(params: Params, found: Solution, adapts: Selection) -> Solution:
    """The network's parameters at every iterate that was kept."""
    steps = 0 if found.steps is None else found.steps
    final = adapts.put(params, found.final, steps)
    if found.path is None:
        return Solution(final)
    put = jax.vmap(adapts.put, in_axes=(None, 0, 0))
    return Solution(final, put(params, found.path, jnp.arange(steps + 1)))


def _hoisted(loss: InnerLoss, start: PyTree) -> InnerLoss:
    """The same loss, in which whatever depends neither on φ nor on the step is computed now."""
    after = hoist(lambda point: loss(*point), (start, jnp.int32(0)))
    return lambda adapted, k: after((adapted, jnp.asarray(k, jnp.int32)))


def _minibatches(
    support: Batch, count: int, augment: Augment | None
) -> Callable[[StepIndex], Batch]:
    """A function from the index of the step to the examples that it uses."""
    key: Any = support.key
    if augment is not None and key is None:
        raise ValueError(
            "augment needs a key in the support set; give it one, Batch(x, y, key), as the "
            "samplers of jmeta.data do."
        )
    parts = (
        support
        if count == 1
        else support._replace(x=_parts(support.x, count), y=_parts(support.y, count))
    )

    def at(k: StepIndex) -> Batch:
        part = parts
        if count > 1:
            x, y = (_kth(tree, k % count) for tree in (parts.x, parts.y))
            part = support._replace(x=x, y=y)
        if augment is not None:
            part = augment(jax.random.fold_in(jax.random.fold_in(key, 1), k), part)
        return part

    return at


def _parts(tree: PyTree, count: int) -> PyTree:
    """[S, ...] to [count, S / count, ...]; part i has examples i, i + count, ...; keys are kept."""

    def leaf(values: jax.Array) -> jax.Array:
        if is_key(values):
            return values
        if values.shape[0] % count:
            raise ValueError(
                f"{values.shape[0]} support examples cannot be divided into {count} batches; "
                "choose a number that divides them."
            )
        return values.reshape(-1, count, *values.shape[1:]).swapaxes(0, 1)

    return jax.tree.map(leaf, tree)


def _kth(tree: PyTree, k: StepIndex) -> PyTree:
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else leaf[k], tree)

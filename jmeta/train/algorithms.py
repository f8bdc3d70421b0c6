"""From a config to a learner and the loss that meta-training descends: one entry an algorithm."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jmeta import core, learners
from jmeta.core import Apply, Learner, Loss, Selection, Solver
from jmeta.train.config import Config
from jmeta.train.problems import objective

_ADAPTS: dict[str, Selection] = {
    "anil": core.part("head"),
    "boil": core.all_but("head"),
    "cavia": core.context(),
}


def optimizer(
    name: str, rate: optax.ScalarOrSchedule, *, beta1: float = 0.9
) -> optax.GradientTransformation:
    """sgd, adam or adamw with what makes them differentiable (ε inside Adam's root)."""
    if name == "sgd":
        return optax.sgd(rate)
    return {"adam": optax.adam, "adamw": optax.adamw}[name](rate, b1=beta1, eps_root=1e-8)


def learner(
    config: Config,
    apply: Apply,
    *,
    ways: int,
    inner_steps: int,
    path: bool = False,
    second_order: bool = True,
) -> Learner:
    """The learner of a config.

    Args:
        config: the algorithm and its inner loop are read.
        apply: the network.
        ways: classes of an episode.
        inner_steps: steps of adaptation.
        path: keep every step (see `maml`).
        second_order: False stops the inner gradients, whatever the algorithm.
    """
    if config.algorithm == "protonet":
        return learners.metric(apply, learners.prototypical(ways))
    inner = objective(config)
    adapts = _ADAPTS.get(config.algorithm, core.everything)
    if config.algorithm == "maml++":
        return learners.maml_plus_plus(
            *(apply, inner, config.inner_steps),
            rate=config.inner_rate,
            own=None if config.norm == "none" else _is_norm,
            run=inner_steps,
            path=path,
            second_order=second_order,
            remat=config.remat,
        )
    if config.algorithm == "meta-sgd":
        return learners.learned(
            lambda rates: learners.maml(
                *(apply, inner),
                _solver(config, core.scale_by_rates(rates), inner_steps, path, second_order),
                path=path,
            ),
            learners.rates_like(config.inner_rate),
        )
    first = config.algorithm in ("fomaml", "reptile") or not second_order
    tx = optimizer(config.inner_optimizer, config.inner_rate, beta1=config.inner_beta1)
    solver = _solver(config, tx, inner_steps, path, not first)
    if config.algorithm == "proto-maml":
        return learners.proto_maml(apply, inner, solver, ways=ways, path=path)
    return learners.maml(apply, inner, solver, adapts=adapts, path=path)


def _is_norm(path: str) -> bool:
    return "Norm_" in path


def _solver(
    config: Config,
    tx: optax.GradientTransformation,
    steps: int,
    path: bool,
    second_order: bool,
) -> Solver:
    if config.algorithm == "imaml" and not path:
        solve = (
            core.conjugate_gradient(config.solve_steps)
            if config.linear_solve == "cg"
            else core.neumann(config.solve_steps, rate=config.inner_rate)
        )
        return core.implicit(tx, steps, strength=config.strength, linear_solve=solve)
    if config.algorithm == "imaml":
        tx = optax.chain(core.pull_to_start(config.strength), tx)
    if not second_order:
        tx = optax.chain(core.first_order(), tx)
    return (core.trajectory if path else core.unrolled)(tx, steps, remat=config.remat)


def eval_learner(config: Config, apply: Apply) -> Learner:
    """The learner as it is validated and tested."""
    steps = config.inner_steps if config.eval_inner_steps is None else config.eval_inner_steps
    return learner(config, apply, ways=config.ways, inner_steps=steps)


def curve_learner(config: Config, apply: Apply, *, steps: int) -> Learner:
    """The learner that keeps all of `steps` inner steps, for adaptation curves.

    Raises:
        ValueError: an algorithm without inner steps.
    """
    if config.algorithm == "protonet":
        raise ValueError("protonet takes no inner steps, so it has no adaptation curve.")
    return learner(config, apply, ways=config.ways, inner_steps=steps, path=True)


def train_loss(config: Config, apply: Apply, step: int | jax.Array = 0) -> Loss:
    """What meta-training descends on one task.

    Args:
        config: the algorithm is read.
        apply: the network.
        step: outer updates made so far, traced or not: annealing reads it.
    """
    late = _loss(config, apply, step, second_order=True)
    if config.first_order_until == 0:
        return late
    early = _loss(config, apply, step, second_order=False)
    return core.switch(jnp.asarray(step) < config.first_order_until, early, late)


def _loss(config: Config, apply: Apply, step: int | jax.Array, *, second_order: bool) -> Loss:
    several = config.algorithm == "maml++"
    trained = learner(
        *(config, apply),
        ways=config.training()[0],
        inner_steps=config.inner_steps,
        path=several,
        second_order=second_order,
    )
    if several:
        until = config.multi_step_until or max(1, config.steps // 10)
        weights = core.multi_step_weights(step, config.inner_steps, until=until)
        return core.multi_step(trained, objective(config), weights)
    make: Callable = core.reptile if config.algorithm == "reptile" else core.episodic
    return make(trained, objective(config))

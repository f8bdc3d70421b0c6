"""The gradient-based family: from a config to a learner and the loss it descends."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jmeta import core, learners
from jmeta.core import Apply, Learner, Loss, PyTree, Selection, Solver
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
    batches: int = 1,
    path: bool = False,
    second_order: bool = True,
) -> Learner:
    """The learner of a config.

    Args:
        config: the algorithm and its inner loop are read.
        apply: the network.
        ways: classes of an episode.
        inner_steps: steps of adaptation, on each batch.
        batches: parts of the support set, one after the other (see `maml`).
        path: keep every step (see `maml`).
        second_order: False stops the inner gradients, whatever the algorithm.
    """
    descends = objective(config)
    if config.algorithm == "maml++":
        return _maml_plus_plus(config, apply, inner_steps, path, second_order)
    if config.algorithm == "meta-sgd":
        return _meta_sgd(config, apply, inner_steps, path, second_order)
    first = config.algorithm in ("fomaml", "reptile") or not second_order
    tx = optimizer(config.inner_optimizer, config.inner_rate, beta1=config.inner_beta1)
    solver = _solver(config, tx, inner_steps, path, not first)
    if config.algorithm == "proto-maml":
        return learners.proto_maml(apply, descends, solver, ways=ways, path=path)
    adapts = _ADAPTS.get(config.algorithm, core.everything)
    return learners.maml(apply, descends, solver, adapts=adapts, batches=batches, path=path)


def _maml_plus_plus(
    config: Config, apply: Apply, run: int, path: bool, second_order: bool
) -> Learner:
    """Rates and normalisation of their own for each trained step; `run` may be another number."""
    return learners.maml_plus_plus(
        *(apply, objective(config), config.inner_steps),
        rate=config.inner_rate,
        own=None if config.norm == "none" else _is_norm,
        run=run,
        path=path,
        second_order=second_order,
        remat=config.remat,
    )


def _is_norm(path: str) -> bool:
    return "Norm_" in path


def _meta_sgd(config: Config, apply: Apply, steps: int, path: bool, second_order: bool) -> Learner:
    def make(rates: PyTree) -> Learner:
        solver = _solver(config, core.scale_by_rates(rates), steps, path, second_order)
        return learners.maml(apply, objective(config), solver, path=path)

    return learners.learned(make, learners.rates_like(config.inner_rate))


def _solver(
    config: Config,
    tx: optax.GradientTransformation,
    steps: int,
    path: bool,
    second_order: bool,
) -> Solver:
    if config.algorithm == "imaml" and not path:
        solve = (
            core.conjugate_gradient(config.solve_steps, least_curvature=config.strength / 2)
            if config.linear_solve == "cg"
            else core.neumann(config.solve_steps, rate=config.inner_rate)
        )
        return core.implicit(tx, steps, strength=config.strength, linear_solve=solve)
    if config.algorithm == "imaml":
        tx = optax.chain(core.pull_to_start(config.strength), tx)
    if not second_order:
        tx = optax.chain(core.first_order(), tx)
    return (core.trajectory if path else core.unrolled)(tx, steps, remat=config.remat)


def loss(config: Config, apply: Apply, step: int | jax.Array = 0) -> Loss:
    """What meta-training descends on one task.

    Args:
        config: the algorithm is read.
        apply: the network.
        step: outer updates made so far, traced or not: annealing reads it.
    """
    late = _of_order(config, apply, step, second_order=True)
    if config.first_order_until == 0:
        return late
    early = _of_order(config, apply, step, second_order=False)
    return core.switch(jnp.asarray(step) < config.first_order_until, early, late)


def _of_order(config: Config, apply: Apply, step: int | jax.Array, *, second_order: bool) -> Loss:
    several = config.algorithm == "maml++"
    trained = learner(
        *(config, apply),
        ways=config.training()[0],
        inner_steps=config.inner_steps,
        batches=config.train_batches,
        path=several,
        second_order=second_order,
    )
    if several:
        until = config.multi_step_until or max(1, config.steps // 10)
        weights = core.multi_step_weights(step, config.inner_steps, until=until)
        return core.multi_step(trained, objective(config), weights)
    make: Callable = core.reptile if config.algorithm == "reptile" else core.episodic
    return make(trained, objective(config))

"""Task batches: chunks, devices, the compiled program, and a whole run in one scan."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learners import CASES, Case, init, over_cases, task

import jmeta

KEY = jax.random.key(2)
cases = over_cases()
FEW = ("maml", "imaml", "maml++, all steps", "protonet", "mann")


def _tasks(count: int) -> jmeta.Task:
    return jax.vmap(task)(jax.random.split(KEY, count))


def _close(left, right, rtol: float = 1e-4) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-5), left, right)


def _params(case: Case):
    return case.learner().init(case.init(KEY))


@functools.cache
def _whole(case: Case):
    """The gradient of four tasks in one piece: what every other way must equal."""
    loss = case.loss(case.learner(), jmeta.cross_entropy)
    return jax.jit(jmeta.meta_gradient(loss))(_params(case), _tasks(4))


@over_cases(slow=lambda case: case.name not in FEW)  # below, devices take them one by one
def test_chunks_give_the_gradient_of_the_whole(case: Case) -> None:
    loss = case.loss(case.learner(), jmeta.cross_entropy)
    _close(jax.jit(jmeta.meta_gradient(loss, chunk=2))(_params(case), _tasks(4)), _whole(case))


@over_cases(slow=lambda case: case.name not in FEW)
def test_two_devices_give_the_gradient_of_one(case: Case) -> None:
    loss = case.loss(case.learner(), jmeta.cross_entropy)
    gradient = jmeta.meta_gradient(loss, chunk=1)
    shared = jax.jit(jmeta.data_parallel(gradient, jmeta.task_mesh(2)))
    _close(shared(_params(case), _tasks(4)), _whole(case))


def test_the_shared_gradient_compiles_to_one_all_reduce() -> None:
    loss = CASES[0].loss(CASES[0].learner(), jmeta.cross_entropy)
    shared = jmeta.data_parallel(jmeta.meta_gradient(loss, chunk=1), jmeta.task_mesh(2))
    program = jax.jit(shared).lower(init(KEY), _tasks(4)).compile().as_text()
    assert len(re.findall(r"= .*\ball-reduce(?:-start)?\(", program)) == 1
    assert "all-gather" not in program and "collective-permute" not in program


def test_a_whole_run_is_one_scan() -> None:
    tx = optax.adam(1e-2)
    loss = CASES[0].loss(CASES[0].learner(), jmeta.cross_entropy)
    update = jmeta.step(loss, tx, chunk=2)

    @jax.jit
    def run(params):
        batches = jax.tree.map(lambda x: jnp.stack([x] * 50), _tasks(4))
        return jax.lax.scan(update, jmeta.train_state(params, tx), batches)

    _, aux = run(init(KEY))
    assert aux.loss[-1] < 0.7 * aux.loss[0]


def test_a_run_is_vmapped_over_seeds() -> None:
    tx = optax.sgd(1e-2)
    update = jmeta.step(CASES[0].loss(CASES[0].learner(), jmeta.cross_entropy), tx)
    states = jax.vmap(lambda key: jmeta.train_state(init(key), tx))(jax.random.split(KEY, 3))
    _, aux = jax.jit(jax.vmap(update, in_axes=(0, None)))(states, _tasks(2))
    assert aux.loss.shape == (3,)


def test_demands_that_cannot_be_met() -> None:
    loss = CASES[0].loss(CASES[0].learner(), jmeta.cross_entropy)
    with pytest.raises(ValueError, match="4 tasks cannot be taken 3 at a time"):
        jmeta.meta_gradient(loss, chunk=3)(init(KEY), _tasks(4))
    shared = jmeta.data_parallel(jmeta.meta_gradient(loss), jmeta.task_mesh(2))
    with pytest.raises(ValueError, match="3 tasks cannot be shared among 2"):
        shared(init(KEY), _tasks(3))
    with pytest.raises(ValueError, match="asked for 99 devices"):
        jmeta.task_mesh(99)
    with pytest.raises(ValueError, match="share one leading axis"):
        jmeta.meta_gradient(loss)(init(KEY), (jnp.ones(3), jnp.ones(4)))
    with pytest.raises(ValueError, match="steps >= 0"):
        jmeta.unrolled(optax.sgd(0.1), -1)

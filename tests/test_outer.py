"""Task batches: chunks, devices, the compiled program, and a whole run in one scan."""

import functools
import re

import jax
import jax.numpy as jnp
import optax
import pytest
from learners import CASES, Case, close, init, over_cases

import jmeta

KEY = jax.random.key(2)
cases = over_cases()
FEW = ("maml", "protonet")


def _tasks(count: int, case: Case = CASES[0]) -> jmeta.Task:
    return jax.vmap(case.task)(jax.random.split(KEY, count))


def _close(left, right) -> None:
    close(left, right, rtol=1e-4, atol=1e-5)


@functools.cache
def _whole(case: Case):
    """The gradient of four tasks in one piece: what every other way must equal."""
    return jax.jit(jmeta.meta_gradient(case.judge()))(case.init(KEY), _tasks(4, case))


@over_cases(slow=lambda case: case.name not in FEW)  # below, devices take them one by one
def test_chunks_give_the_gradient_of_the_whole(case: Case) -> None:
    gradient = jax.jit(jmeta.meta_gradient(case.judge(), chunk=2))
    _close(gradient(case.init(KEY), _tasks(4, case)), _whole(case))


@over_cases(slow=lambda case: case.name not in FEW)
def test_two_devices_give_the_gradient_of_one(case: Case) -> None:
    gradient = jmeta.meta_gradient(case.judge(), chunk=1)
    shared = jax.jit(jmeta.core.data_parallel(gradient, jmeta.task_mesh(2)))
    _close(shared(case.init(KEY), _tasks(4, case)), _whole(case))


def test_the_shared_gradient_compiles_to_one_all_reduce() -> None:
    loss = CASES[0].judge()
    shared = jmeta.core.data_parallel(jmeta.meta_gradient(loss, chunk=1), jmeta.task_mesh(2))
    program = jax.jit(shared).lower(init(KEY), _tasks(4)).compile().as_text()
    assert len(re.findall(r"= .*\ball-reduce(?:-start)?\(", program)) == 1
    assert "all-gather" not in program and "collective-permute" not in program


def test_a_whole_run_is_one_scan() -> None:
    tx = optax.adam(1e-2)
    loss = CASES[0].judge()
    update = jmeta.step(loss, tx, chunk=2)

    @jax.jit
    def run(params):
        batches = jax.tree.map(lambda x: jnp.stack([x] * 50), _tasks(4))
        return jax.lax.scan(update, jmeta.train_state(params, tx), batches)

    _, aux = run(init(KEY))
    assert aux.loss[-1] < 0.7 * aux.loss[0]


@pytest.mark.slow
def test_a_run_is_vmapped_over_seeds() -> None:
    tx = optax.sgd(1e-2)
    update = jmeta.step(CASES[0].judge(), tx)
    states = jax.vmap(lambda key: jmeta.train_state(init(key), tx))(jax.random.split(KEY, 3))
    _, aux = jax.jit(jax.vmap(update, in_axes=(0, None)))(states, _tasks(2))
    assert aux.loss.shape == (3,)


def test_demands_that_cannot_be_met() -> None:
    loss = CASES[0].judge()
    with pytest.raises(ValueError, match="4 tasks cannot be taken 3 at a time"):
        jmeta.meta_gradient(loss, chunk=3)(init(KEY), _tasks(4))
    shared = jmeta.core.data_parallel(jmeta.meta_gradient(loss), jmeta.task_mesh(2))
    with pytest.raises(ValueError, match="3 tasks cannot be shared among 2"):
        shared(init(KEY), _tasks(3))
    with pytest.raises(ValueError, match="asked for 99 devices"):
        jmeta.task_mesh(99)
    with pytest.raises(ValueError, match="share one leading axis"):
        jmeta.meta_gradient(loss)(init(KEY), (jnp.ones(3), jnp.ones(4)))
    with pytest.raises(ValueError, match="steps >= 0"):
        jmeta.unrolled(optax.sgd(0.1), -1)

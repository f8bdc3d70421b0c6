"""Devices that share the examples of a task: the gradient of one device, whatever the learner."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P
from learners import close
from quick import without_pictures

import jmeta
from jmeta import losses, nn, train
from jmeta.core._sharing import EXAMPLES
from jmeta.runs import _programs as programs

KEY = jax.random.key(3)
IMAGE, VECTOR = (16, 16, 1), (6,)
NETS = {
    "conv4": (nn.Conv4(None, filters=28), IMAGE),  # the first convolution is deferred
    "strided": (nn.Conv4(None, filters=4, form="strided"), IMAGE),
    "group": (nn.Conv4(None, filters=8, norm="group"), IMAGE),
    "resnet12": (nn.ResNet12(None, widths=(2, 2, 3, 3)), IMAGE),
    "mlp": (nn.MLP((8,), 4, norm="batch"), VECTOR),
}


def tasks(shape: tuple[int, ...], count: int = 1, padded: int = 0, each: int = 4) -> jmeta.Task:
    """Tasks of two classes, some examples of which are padding."""
    random = np.random.default_rng(0)

    def batch() -> jmeta.Batch:
        y = np.tile(np.repeat([0, 1], each // 2), (count, 1))
        y[:, : padded or 0] = -1
        return jmeta.Batch(jnp.array(random.random((count, each, *shape))), jnp.array(y))

    return jmeta.Task(batch(), batch())


def gradients(learner: jmeta.Learner, given: jmeta.Task, chunk: int | None = 1):
    """The meta-gradient on one device, and with examples shared by two."""
    gradient = jmeta.meta_gradient(jmeta.episodic(learner, losses.cross_entropy), chunk=chunk)
    params = learner.init(KEY, jax.tree.map(lambda leaf: leaf[0], given))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    two = jmeta.core.examples_parallel(gradient, jmeta.task_mesh(2))
    program = jax.jit(two).lower(params, given).compile()
    return jax.jit(gradient)(params, given), program(params, given), program.as_text()


@pytest.mark.parametrize("padded", [0, 1], ids=["whole", "padded"])
@pytest.mark.parametrize("name", NETS)
def test_two_devices_give_the_gradient_of_one(name: str, padded: int) -> None:
    net, shape = NETS[name]
    with jax.enable_x64(True):
        learner = jmeta.metric(net, jmeta.prototypical(2))
        one, two, program = gradients(learner, tasks(shape, padded=padded))
        close(two, one, rtol=1e-10, atol=1e-12)
    assert "all-reduce" in program  # or it was not shared


@pytest.mark.parametrize("chunk", [1, None])
def test_an_inner_loop_goes_through_shared_examples(chunk: int | None) -> None:
    with jax.enable_x64(True):
        net = nn.MLP((8,), 2, norm="batch")
        learner = jmeta.maml(net, losses.cross_entropy, jmeta.unrolled(optax.sgd(0.1), 2))
        one, two, program = gradients(learner, tasks(VECTOR, count=3), chunk)
        close(two, one, rtol=1e-10, atol=1e-12)
    assert "all-reduce" in program


def test_examples_that_devices_do_not_divide_are_computed_whole() -> None:
    with jax.enable_x64(True):
        learner = jmeta.metric(nn.MLP((8,), 4, norm="batch"), jmeta.prototypical(2))
        random = np.random.default_rng(1)
        odd = jmeta.Batch(jnp.array(random.random((1, 3, 6))), jnp.array([[0, 0, 1]]))
        one, two, program = gradients(learner, jmeta.Task(odd, odd))
        close(two, one, rtol=1e-10, atol=1e-12)
    assert "all-reduce" not in program


def test_a_network_that_mixes_examples_is_computed_whole() -> None:
    with jax.enable_x64(True):
        net = nn.from_functions(
            lambda key, x: {"w": jnp.ones((6, 3))}, lambda p, x: jnp.cumsum(x, 0) @ p["w"]
        )
        one, two, _ = gradients(jmeta.metric(net, jmeta.prototypical(2)), tasks(VECTOR))
        close(two, one, rtol=1e-10, atol=1e-12)


def test_a_mesh_of_tasks_may_have_any_name() -> None:
    learner = jmeta.metric(nn.MLP((8,), 4, norm="batch"), jmeta.prototypical(2))
    gradient = jmeta.meta_gradient(jmeta.episodic(learner, losses.cross_entropy), chunk=1)
    mesh = jax.make_mesh((2,), ("examples",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.enable_x64(True):
        given = tasks(VECTOR, count=2)
        params = learner.init(KEY, jax.tree.map(lambda leaf: leaf[0], given))
        two = jax.jit(jmeta.core.data_parallel(gradient, mesh))(params, given)
        close(two, jax.jit(gradient)(params, given), rtol=1e-6, atol=1e-7)


def test_examples_are_not_shared_inside_another_mesh() -> None:
    learner = jmeta.metric(nn.MLP((8,), 4, norm="batch"), jmeta.prototypical(2))
    gradient = jmeta.meta_gradient(jmeta.episodic(learner, losses.cross_entropy), chunk=1)
    given, mesh = tasks(VECTOR), jmeta.task_mesh(2)
    params = learner.init(KEY, jax.tree.map(lambda leaf: leaf[0], given))
    shared = jax.jit(jmeta.core.examples_parallel(gradient, mesh))
    with (
        jax.set_mesh(mesh),
        pytest.raises(ValueError, match="cannot be shared inside jax"),
    ):
        shared(params, given)


def test_the_step_shares_examples_and_draws_the_same_task() -> None:
    given = tasks(VECTOR)
    learner = jmeta.metric(nn.MLP((8,), 4, norm="batch"), jmeta.prototypical(2))
    loss, tx = jmeta.episodic(learner, losses.cross_entropy), optax.sgd(0.1)

    def sample(key: jax.Array) -> jmeta.Task:
        noise = jax.random.normal(key, given.support.x.shape[1:])
        batch = jmeta.Batch(given.support.x[0] + noise, given.support.y[0])
        return jmeta.Task(batch, batch)

    state = jmeta.train_state(learner.init(KEY, sample(KEY)), tx)
    keys = jax.random.split(KEY, 5)[:, None]
    mesh = jmeta.task_mesh(2)
    ends = []
    for options in ({}, {"mesh": mesh, "share": "examples"}):
        update = jmeta.step(loss, tx, sample=sample, **options)
        ends.append(jax.jit(lambda s, k, u=update: jax.lax.scan(u, s, k))(state, keys))
    close(ends[1], ends[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="got share='work'; give 'tasks' or 'examples'"):
        jmeta.step(loss, tx, share="work")


def test_moments_are_those_of_all_devices_by_the_name_of_the_axis() -> None:
    x = jnp.array(np.random.default_rng(0).random((6, 3)), jnp.float32)
    norm = nn.Norm("batch")
    params = norm.init(KEY, x)
    mesh = jax.make_mesh((2,), (EXAMPLES,), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.shard_map(norm.apply, mesh=mesh, in_specs=(P(), P(EXAMPLES)), out_specs=P(EXAMPLES))
    np.testing.assert_allclose(split(params, x), norm.apply(params, x), rtol=1e-5, atol=1e-6)


LARGE = train.experiment(
    "protonet",
    network="conv4",
    filters=4,
    tasks=1,
    train_ways=10,
    ways=5,
    shots=2,
    train_shots=4,
    queries=2,
    train_queries=6,
    steps=2,
    validate_every=2,
    validation_episodes=2,
    log_every=1,
    episodes=2,
)


@pytest.mark.parametrize(
    ("change", "devices", "share"),
    [
        ({}, 2, "examples"),
        ({"tasks": 2}, 2, "tasks"),
        ({"train_shots": 1, "train_queries": 1}, 1, "tasks"),  # too small to be worth while
        ({"train_ways": 9, "train_shots": 3, "train_queries": 8}, 1, "tasks"),  # 27 and 72 images
        ({"algorithm": "relation"}, 1, "tasks"),
        ({"network": "mlp"}, 1, "tasks"),
        ({"algorithm": "pretrain", "batch": 84}, 2, "examples"),
        ({"train_shots": 1, "train_queries": 1, "devices": 2}, 2, "examples"),
        ({"devices": 1}, 1, "tasks"),
    ],
    ids=str,
)
def test_devices_of_a_run_share_tasks_or_else_large_batches(change, devices, share) -> None:
    parts = programs.parts(train.experiment(start=LARGE, **change))
    assert (parts.mesh.size, parts.share) == (devices, share)
    assert parts.tasks_each == (1 if share == "tasks" else parts.experiment.budget.tasks)


def test_devices_that_divide_neither_are_refused() -> None:
    one = train.experiment(start=LARGE, train_ways=5, train_shots=1, train_queries=5, devices=2)
    said = "1 tasks an update cannot be shared among 2 devices, nor can the 5 and 25 examples of a"
    with pytest.raises(ValueError, match=said):
        programs.parts(one)


def test_a_run_over_shared_examples_ends_where_one_device_does(tmp_path, monkeypatch) -> None:
    without_pictures(monkeypatch)
    ends = []
    for devices in (1, 2):
        out = tmp_path / str(devices)
        train.run(train.experiment(start=LARGE, optimizer="sgd", devices=devices), out)
        ends.append(train.load_run(out)[1])
    close(ends[1], ends[0], rtol=1e-3, atol=1e-4)

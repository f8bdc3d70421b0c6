"""Low-rank and bottleneck adapters: they begin as nothing, adapt alone, and are meta-learned."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from jax.flatten_util import ravel_pytree
from learners import DROPPED, INPUTS, NET, WAYS, double, init, task
from test_gradients import finite_differences

import jmeta
from jmeta import nn, train
from jmeta.core import low_rank
from jmeta.losses import cross_entropy
from jmeta.runs import _programs as programs

KEY = jax.random.key(1)
SOLVE = jmeta.unrolled(optax.sgd(0.3), 3)
CONV = nn.Conv4(WAYS, filters=2)
NNX = nn.from_nnx(
    lambda rngs: nnx.Sequential(
        nnx.Linear(INPUTS, 5, rngs=rngs), jnp.tanh, nnx.Linear(5, WAYS, rngs=rngs)
    )
)


def _learner(adapts: jmeta.core.Selection, net=NET) -> jmeta.Learner:
    return jmeta.maml(net, cross_entropy, SOLVE, adapts=adapts)


def _assert_exact(learner: jmeta.Learner, params, one: jmeta.Task) -> None:
    """The meta-gradient is that of finite differences, in float64."""
    loss = jmeta.episodic(learner, cross_entropy)
    exact = ravel_pytree(jax.jit(jax.grad(lambda p: loss(p, one)[0]))(params))[0]
    numeric = finite_differences(lambda p: loss(p, one)[0], params)
    assert np.linalg.norm(exact - numeric) < 1e-6 * np.linalg.norm(numeric)


def _filled(params: dict) -> dict:
    """The same with adapters that are not zero, as they are after some meta-training."""
    pairs = {
        path: pair | {"up": 0.3 * jax.random.normal(KEY, pair["up"].shape, pair["up"].dtype)}
        for path, pair in params["low_rank"].items()
    }
    return params | {"low_rank": pairs}


@pytest.mark.parametrize("which", ["w2", ("w1", "w2")])
def test_the_meta_gradient_through_low_rank_equals_finite_differences(which) -> None:
    with jax.enable_x64(True):
        learner, one = _learner(low_rank(which, rank=2, scale=0.7)), double(task(KEY))
        _assert_exact(learner, _filled(double(learner.init(KEY, one))), one)


@pytest.mark.parametrize("net", [NET, NNX, nn.MLP((5,), WAYS), DROPPED])
def test_the_start_is_the_network_and_only_kernels_move(net) -> None:
    one, chosen = task(KEY), low_rank(rank=2)
    learner = _learner(chosen, net)
    params = learner.init(KEY, one)
    network = params["network"]
    begins = chosen.put(params, chosen.take(params), 0)
    jax.tree.map(np.testing.assert_array_equal, begins, network)
    adapted = jax.jit(learner.adapt)(params, one.support).params
    for leaf, before in zip(*map(jax.tree.leaves, (adapted, network)), strict=True):
        if leaf.ndim < 2:
            np.testing.assert_array_equal(leaf, before)
        else:
            assert np.linalg.matrix_rank(leaf - before, tol=1e-5) <= 2


def test_a_convolution_is_a_matrix_of_patches() -> None:
    chosen = low_rank("Conv_1", rank=3)
    kernel = jax.random.normal(KEY, (3, 3, 2, 2))
    params = chosen.init({"params": {"Conv_1": {"kernel": kernel, "bias": jnp.ones(2)}}})
    (pair,) = params["low_rank"].values()
    assert pair["down"].shape == (9 * 2, 2) and pair["up"].shape == (2, 2)  # no more than F
    moved = _filled(params)
    found = chosen.put(moved, moved["low_rank"], 0)["params"]["Conv_1"]["kernel"]
    (pair,) = moved["low_rank"].values()
    update = (pair["down"] @ pair["up"]).reshape(3, 3, 2, 2)
    np.testing.assert_allclose(found, kernel + update, rtol=1e-5)


def test_full_rank_adapters_do_one_step_of_the_product() -> None:
    """One step from B = 0 moves W by −α s² A Aᵀ ∇L(W)."""
    one, chosen = task(KEY), low_rank("w2", rank=3, scale=0.5)
    learner = jmeta.maml(NET, cross_entropy, jmeta.unrolled(optax.sgd(0.3), 1), adapts=chosen)
    params = learner.init(KEY, one)
    gradient = jax.grad(lambda p: cross_entropy(NET.apply(p, one.support.x), one.support.y))
    slope, down = gradient(init(KEY))["w2"], params["low_rank"]["w2"]["down"]
    wanted = init(KEY)["w2"] - 0.3 * 0.25 * down @ (down.T @ slope)
    found = learner.adapt(params, one.support).params["w2"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_meta_gradient_through_bottlenecks_of_nnx_equals_finite_differences() -> None:
    with jax.enable_x64(True):
        net, one = nn.with_bottlenecks(_branching, 2), double(task(KEY))
        learner = _learner(jmeta.part("bottlenecks"), net)
        flat, unravel = ravel_pytree(double(learner.init(KEY, one)))
        _assert_exact(learner, unravel(flat + 0.1 * jax.random.normal(KEY, flat.shape)), one)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: low_rank(rank=0), "rank >= 1, but got 0"),
        (lambda: low_rank(rank=1, scale=0.0), "scale > 0"),
        (lambda: low_rank("b1", rank=1).init(init(KEY)), "none of these was chosen: film, w1, w2"),
        (lambda: low_rank(rank=1).take(init(KEY)), "a dictionary with network, low_rank"),
        (lambda: nn.with_bottlenecks(NET, 2), "a Flax module, but got a network"),
        (lambda: nn.with_bottlenecks(3, 2), "or a function rngs -> module, but got int"),
        (lambda: nn.with_bottlenecks(CONV, 0), "width >= 1"),
        (
            lambda: nn.with_bottlenecks(_branching, 1, after="h"),
            "no layer 'h'; those with a kernel are body, head/0",
        ),
        (
            lambda: nn.with_bottlenecks(nn.MLP((5,), 2), 1, after="h").init(KEY, jnp.ones((1, 3))),
            "no layer 'h'; those with a kernel are Dense_0, head",
        ),
        (lambda: train.experiment("maml", lora=2, bottleneck=2), "choose one of them"),
        (
            lambda: train.experiment("boil", lora=2),
            "lora belongs to maml, fomaml, anil, fine-tuning",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, says) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_bottlenecks_begin_as_the_module_and_adapt_alone() -> None:
    one, module = task(KEY), nn.MLP((5,), WAYS)
    net = nn.with_bottlenecks(module, 2)
    learner = _learner(jmeta.part("bottlenecks"), net)
    params = learner.init(KEY, one)
    own = {"params": params["params"]}
    np.testing.assert_array_equal(net.apply(params, one.query.x), module.apply(own, one.query.x))
    adapted = jax.jit(learner.adapt)(params, one.support).params
    jax.tree.map(np.testing.assert_array_equal, adapted["params"], params["params"])
    adapter = adapted["bottlenecks"]["Dense_0"]
    assert (adapter["up"] != 0).any()

    layers, pairs = params["params"], adapted["bottlenecks"]

    def behind(h: jax.Array, name: str) -> jax.Array:
        h = h @ layers[name]["kernel"] + layers[name]["bias"][None]
        return h + jax.nn.relu(h @ pairs[name]["down"]) @ pairs[name]["up"]

    wanted = behind(jax.nn.relu(behind(one.query.x, "Dense_0")), "head")
    found = net.apply(adapted, one.query.x)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


class _Branching(nnx.Module):
    """A layer that is called twice, and one in a list."""

    def __init__(self, rngs):
        self.body = nnx.Linear(INPUTS, INPUTS, rngs=rngs)
        self.head = nnx.List([nnx.Linear(INPUTS, WAYS, rngs=rngs)])
        self.norm = nnx.LayerNorm(INPUTS, rngs=rngs)

    def __call__(self, x):
        return self.head[0](self.norm(self.body(jnp.tanh(self.body(x)))))

    def half(self, x):
        return self(x) / 2


def _branching(rngs):
    return _Branching(rngs)


@pytest.mark.parametrize("given", [False, True])
def test_bottlenecks_of_an_nnx_module_begin_as_it_and_adapt_alone(given) -> None:
    one, module = task(KEY), _Branching(nnx.Rngs(KEY))
    net = nn.with_bottlenecks(module if given else _branching, 2)
    learner = _learner(jmeta.part("bottlenecks"), net)
    params = net.init(KEY, one.support.x)
    np.testing.assert_array_equal(net.apply(params, one.query.x), module(one.query.x))
    adapted = jax.jit(learner.adapt)(params, one.support).params
    head, pair = adapted["head"][0], adapted["head"][0]["bottlenecks"]
    assert (pair["up"] != 0).any() and (adapted["body"]["bottlenecks"]["up"] != 0).any()
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(head[name], params["head"][0][name])

    def behind(h, layer):
        h, pair = h @ layer["kernel"] + layer["bias"][None], layer["bottlenecks"]
        return h + jax.nn.relu(h @ pair["down"]) @ pair["up"]

    h = behind(jnp.tanh(behind(one.query.x, adapted["body"])), adapted["body"])
    wanted = behind(nnx.merge(*nnx.split(module.norm))(h), head)
    found = net.apply(adapted, one.query.x)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(net.apply(adapted, one.query.x, method="half"), found / 2)
    assert type(module.body) is nnx.Linear and not hasattr(module.body, "bottlenecks")


def test_bottlenecks_of_an_nnx_module_stand_behind_the_layers_that_are_named() -> None:
    net = nn.with_bottlenecks(_branching, 2, after="head/0")
    first, other = (net.init(jax.random.key(seed), jnp.ones((1, INPUTS))) for seed in (0, 1))
    assert "bottlenecks" not in first["body"]
    down = [params["head"][0]["bottlenecks"]["down"] for params in (first, other)]
    assert down[0].shape == (WAYS, 2) and (down[0] != down[1]).all()


def test_bottlenecks_keep_the_type_and_refuse_outputs_that_are_not_of_the_kernel() -> None:
    half = {"dtype": jnp.bfloat16, "param_dtype": jnp.bfloat16}
    x = jnp.ones((3, 4, 4, 2), jnp.bfloat16)
    for module in (
        lambda rngs: nnx.Linear(2, 5, rngs=rngs, **half),
        linen.Dense(5, **half),
    ):
        net = nn.with_bottlenecks(module, 2)
        assert net.apply(net.init(KEY, x), x).dtype == jnp.bfloat16
    for turned in (
        lambda rngs: nnx.ConvTranspose(2, 5, (3, 3), transpose_kernel=True, rngs=rngs),
        linen.ConvTranspose(5, (3, 3), transpose_kernel=True),
    ):
        net = nn.with_bottlenecks(turned, 2)
        params = jax.eval_shape(net.init, KEY, x)
        with pytest.raises(ValueError, match=r"outputs \[\.\.\., 2\], as its kernel has, but got"):
            jax.eval_shape(net.apply, params, x)


def test_adapters_are_refused_where_there_is_no_layer_for_them() -> None:
    own = {"network": "identity", "tunes": "all", "lora": 2, "steps": 0}
    made = train.completed(train.experiment("fine-tuning", **own))
    with pytest.raises(ValueError, match="lora: low_rank needs a kernel"):
        train.open_experiment(made)


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [("maml", {"lora": 2}), ("anil", {"lora": 2, "lora_scale": 2.0}), ("maml", {"bottleneck": 2})],
)
def test_adapters_train_from_options(algorithm, options) -> None:
    made = train.experiment(
        algorithm, dataset="sinusoid", hidden=(4,), steps=2, tasks=1, queries=2, **options
    )
    parts = programs.parts(made)
    state = programs.initial_state(parts)
    after, (losses, _) = programs.dispatch(parts)(state, pool=parts.domain.train, length=2)
    assert np.isfinite(losses).all()
    names = "low_rank" if "lora" in options else "bottlenecks"
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.params, state.params)
    assert any(jax.tree.leaves(moved[names]))

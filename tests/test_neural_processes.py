"""Neural processes: Gaussian outputs, the evidence bound, masks, keys, and that they learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from learners import double, predictor, reordered
from quick import few
from test_gradients import finite_differences

import jmeta
from jmeta import Batch, Task, nn
from jmeta.learners import Points, neural_process_loss, random_size
from jmeta.losses import Gaussian, gaussian_kl, gaussian_nll
from jmeta.metrics import gaussian_report

KEY = jax.random.key(4)
POINTS, QUERIES = 6, 8
MODELS = {
    "cnp": nn.NeuralProcess(width=4, depth=1),
    "np": nn.NeuralProcess(width=4, depth=1, latent=True, deterministic=False),
    "np, both paths": nn.NeuralProcess(width=4, depth=1, latent=True),
    "anp": nn.NeuralProcess(width=4, depth=1, latent=True, heads=2),
}
models = pytest.mark.parametrize("name", few(MODELS, "anp"))


def _task(key: jax.Array, *, noise: float = 0.1) -> Task:
    """A draw from a Gaussian process of length 0.6 and deviation 1."""
    x_key, y_key = jax.random.split(key)
    x = jax.random.uniform(x_key, (POINTS + QUERIES, 1), minval=-2, maxval=2)
    covariance = jnp.exp(-((x - x.T) ** 2) / (2 * 0.6**2)) + noise**2 * jnp.eye(len(x))
    y = jnp.linalg.cholesky(covariance) @ jax.random.normal(y_key, x.shape)
    return Task(Batch(x[:POINTS], y[:POINTS]), Batch(x[POINTS:], y[POINTS:]))


def _masked(key: jax.Array) -> Task:
    return random_size(jax.random.fold_in(key, 1), _task(key), smallest=3)


def _init(model: nn.NeuralProcess, key: jax.Array = KEY):
    x = jnp.ones((POINTS, 1))
    return model.init(key, (x, x, jnp.ones(POINTS, bool)), x)


@functools.cache
def _parts(name: str):
    model = MODELS[name]
    learner = jmeta.neural_process(model)
    params = jax.jit(lambda key: learner.init(key, _masked(key)))(KEY)
    return params, learner, neural_process_loss(model)


def test_gaussian_likelihood_is_the_textbook_density() -> None:
    means, scales, y = (jax.random.normal(k, (5, 3, 2)) for k in jax.random.split(KEY, 3))
    scales, y = 0.3 + scales**2, y[:, 0]
    density = np.exp(-((y[:, None] - means) ** 2) / (2 * scales**2)) / np.sqrt(2 * np.pi) / scales
    one = gaussian_nll(Gaussian(means[:, 0], scales[:, 0]), y)
    np.testing.assert_allclose(one, -np.log(density[:, 0]).sum() / 5, rtol=1e-5)
    many = gaussian_nll(Gaussian(means, scales), y)
    joint = [np.prod(np.float64(density[:, sample])) for sample in range(3)]
    np.testing.assert_allclose(many, -np.log(np.mean(joint)) / 5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"targets \[Q, D\]"):
        gaussian_nll(Gaussian(means, scales), y[:, :1])


def test_divergence_is_the_integral() -> None:
    x = np.linspace(-12, 12, 200_001)
    left, right = (0.4, 0.7), (-0.3, 1.2)
    p, q = (
        np.exp(-((x - m) ** 2) / (2 * s**2)) / (s * np.sqrt(2 * np.pi)) for m, s in (left, right)
    )
    wanted = np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300) / np.maximum(q, 1e-300)), 0))
    wanted *= x[1] - x[0]
    found = gaussian_kl(*(Gaussian(*map(jnp.asarray, pair)) for pair in (left, right)))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@models
def test_order_does_not_matter_and_padding_counts_for_nothing(name: str) -> None:
    params, learner, _ = _parts(name)
    one, predict = _task(KEY), predictor(learner)
    wanted = predict(params, one.support, one.query.x)
    turned = reordered(one.support, slice(None, None, -1))
    places, mask = jnp.array([0, 2, 3, 4, 6, 7]), jnp.zeros(9, bool)
    x, y = (jnp.full((9, 1), jnp.nan).at[places].set(v) for v in one.support[:2])
    padded = Batch(Points(x, mask.at[places].set(True)), y, KEY)
    for support in (turned, padded):
        found = predict(params, support, one.query.x)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted
        )
    assert bool((wanted.scale > 0.1).all())


@models
def test_jit_and_vmap_are_a_loop_and_an_empty_context_is_finite(name: str) -> None:
    params, learner, _ = _parts(name)
    predict = predictor(learner)
    tasks = jax.vmap(_masked)(jax.random.split(KEY, 3))
    found = jax.jit(jax.vmap(lambda t: predict(params, t.support, t.query.x)))(tasks)
    for index in range(3):
        one = jax.tree.map(lambda v, i=index: v[i], tasks)
        eager = learner.predict(learner.adapt(params, one.support), one.query.x)
        np.testing.assert_allclose(found.mean[index], eager.mean, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(found.scale[index], eager.scale, rtol=2e-5, atol=2e-5)
    nothing = one.support._replace(x=one.support.x._replace(mask=jnp.zeros(POINTS, bool)))
    assert np.isfinite(predict(params, nothing, one.query.x).mean).all()


def test_cross_attention_is_a_loop_over_heads_and_points() -> None:
    model = MODELS["anp"]
    params = _init(model)["params"]
    x, found = jax.random.normal(KEY, (POINTS, 1)), jax.random.normal(KEY, (POINTS, 4))
    queries, mask = jnp.linspace(-1, 1, 3)[:, None], jnp.arange(POINTS) != 2
    out = model.apply({"params": params}, (x, found, mask), queries, method="_attend")

    def place(point):
        hidden = point @ params["places"]["Dense_0"]["kernel"] + params["places"]["Dense_0"]["bias"]
        last = params["places"]["head"]
        return np.asarray(np.maximum(hidden, 0) @ last["kernel"] + last["bias"])

    wanted = np.zeros((3, 4))
    for q, query in enumerate(queries):
        for head in (slice(0, 2), slice(2, 4)):
            ask = (place(query) @ params["query"]["kernel"])[head]
            scores = {
                i: ask @ (place(x[i]) @ params["key"]["kernel"])[head] for i in (0, 1, 3, 4, 5)
            }
            weights = {i: np.exp(s / np.sqrt(2)) for i, s in scores.items()}
            for i, weight in weights.items():
                value = (found[i] @ params["value"]["kernel"])[head]
                wanted[q, head] += weight / sum(weights.values()) * value
    wanted = wanted @ np.asarray(params["mixed"]["kernel"])
    np.testing.assert_allclose(out, wanted, rtol=1e-5, atol=1e-6)


@models
def test_loss_is_the_evidence_bound_and_its_gradient_that_of_finite_differences(name: str) -> None:
    with jax.enable_x64(True):
        params, _, loss = _parts(name)
        params, one = double(params), double(_masked(KEY))
        exact = jax.jit(jax.grad(lambda p: loss(p, one)[0]))(params)
        numeric = finite_differences(lambda p: loss(p, one)[0], params)
        error = np.linalg.norm(ravel_pytree(exact)[0] - numeric) / np.linalg.norm(numeric)
        print(f"{name}: relative error {error:.1e}")
        assert error < 1e-6
        model, (given, y, _) = MODELS[name], one.support
        points = (given.x, y, given.mask)
        value, outputs = jax.jit(loss)(params, one)
        nll = -np.mean(
            [-0.5 * ((t - m) / s) ** 2 - np.log(s * np.sqrt(2 * np.pi))
             for t, m, s in zip(*map(np.ravel, (one.query.y, *outputs)), strict=True)]
        )  # fmt: skip
        if not model.latent:
            np.testing.assert_allclose(value, nll, rtol=1e-10)
            return
        whole = (
            jnp.concatenate([points[0], one.query.x]),
            jnp.concatenate([points[1], one.query.y]),
            jnp.concatenate([points[2], jnp.ones(QUERIES, bool)]),
        )
        (p, q) = (model.apply(params, v, method="encode")[1] for v in (points, whole))
        kl = np.sum(np.log(p[1] / q[1]) + (q[1] ** 2 + (q[0] - p[0]) ** 2) / (2 * p[1] ** 2) - 0.5)
        np.testing.assert_allclose(value, nll + kl / QUERIES, rtol=1e-10)
        assert kl > 0


def test_samples_come_from_the_key_in_the_support() -> None:
    learner = jmeta.neural_process(MODELS["anp"], samples=5)
    one = _masked(KEY)
    params = learner.init(KEY, one)
    predict = predictor(learner)
    found = predict(params, one.support, one.query.x)
    assert found.mean.shape == found.scale.shape == (QUERIES, 5, 1)
    np.testing.assert_array_equal(found.mean, predict(params, one.support, one.query.x).mean)
    assert float(found.mean.std(1).min()) > 0
    with pytest.raises(ValueError, match="random_size"):
        learner.adapt(params, _task(KEY).support)
    with pytest.raises(ValueError, match="random_size"):
        neural_process_loss(MODELS["anp"])(params, _task(KEY))
    plain = jmeta.neural_process(MODELS["cnp"], samples=5)
    with pytest.raises(ValueError, match="latent path"):
        plain.adapt(plain.init(KEY, one), one.support)
    with pytest.raises(ValueError, match="samples >= 0"):
        jmeta.neural_process(MODELS["anp"], samples=-1)


def test_random_contexts_have_every_size_and_keys_of_their_own() -> None:
    tasks = jax.jit(jax.vmap(_masked))(jax.random.split(KEY, 200))
    sizes = np.asarray(tasks.support.x.mask.sum(-1))
    assert sorted(set(sizes.tolist())) == [3, 4, 5, 6]
    assert len(np.unique(jax.random.key_data(tasks.support.key), axis=0)) == 200
    with pytest.raises(ValueError, match="from 0"):
        random_size(KEY, _task(KEY), smallest=POINTS + 1)


def test_a_path_is_needed_and_heads_divide_the_width() -> None:
    for options in ({"deterministic": False}, {"heads": 3, "width": 4}):
        with pytest.raises(ValueError, match="NeuralProcess got"):
            _init(nn.NeuralProcess(**options))


def test_tasks_with_keys_go_through_chunks_and_devices() -> None:
    params, _, loss = _parts("np")
    tasks = jax.vmap(_masked)(jax.random.split(KEY, 4))
    whole, _ = jax.jit(jmeta.meta_gradient(loss))(params, tasks)
    shared = jmeta.core.data_parallel(jmeta.meta_gradient(loss, chunk=1), jmeta.task_mesh(2))
    found, aux = jax.jit(shared)(params, tasks)
    assert aux.outputs.mean.shape == (4, QUERIES, 1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnp", "np", "anp"])
def test_it_learns_to_predict_new_functions(name: str) -> None:
    model = MODELS[name].clone(width=32)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))
    update = jmeta.step(neural_process_loss(model), tx)

    @jax.jit
    def run(key):
        def body(state, key):
            state, aux = update(state, jax.vmap(_masked)(jax.random.split(key, 16)))
            return state, aux.loss

        state = jmeta.train_state(_init(model, key), tx)
        return jax.lax.scan(body, state, jax.random.split(key, 300))[1]

    bounds = run(KEY)  # every task is new, and the bound is never below the likelihood
    print(name, bounds[:10].mean(), bounds[-40:].mean())
    assert bounds[-40:].mean() < 1.34  # the process without its support: ½ log 2πe 1.01 = 1.42


def test_reports_take_samples_too() -> None:
    outputs, targets = (
        Gaussian(jnp.zeros((3, 5, 2, 1)), jnp.ones((3, 5, 2, 1))),
        jnp.ones((3, 5, 1)),
    )
    found = gaussian_report(outputs, targets)
    assert found["mse"].mean == 1
    np.testing.assert_allclose(found["nll"].mean, 0.5 + 0.5 * np.log(2 * np.pi), rtol=1e-6)

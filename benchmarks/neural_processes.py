"""Neural processes on Gaussian-process functions, beside the exact posterior.

    python benchmarks/neural_processes.py [--steps 20000] [--seed 0]

CNP, NP (both paths) and ANP are trained in the same way on draws from one squared-exponential
process (length 0.4, deviation 1, noise 0.1, x in -2..2) with 3 to 50 support points. The record has
the held-out log likelihood per query in nats (higher is better) on 1,000 tasks for each of several
numbers of support points. All models see the same tasks; latents are averaged over 50 samples. The
optimum is the exact posterior of each query given the support set. The claim is that ANP is above
CNP, paired (Kim et al. 2019, arXiv:1901.05761; Garnelo et al. 2018, arXiv:1807.01613).
"""

import argparse
import time
from functools import partial

import common
import jax
import jax.numpy as jnp
import optax

import jmeta
from jmeta import data, learners, losses, metrics, nn

LENGTH, SCALE, NOISE = 0.4, 1.0, 0.1
MODELS = {
    "cnp": {},
    "np": {"latent": True},
    "anp": {"latent": True, "heads": 8},
}
SHOTS = (5, 10, 20, 50)
draw = partial(
    data.sample_gaussian_process, length=(LENGTH, LENGTH), scale=(SCALE, SCALE), noise=NOISE
)


def sample(key: jax.Array) -> jmeta.Task:
    """A training task."""
    task_key, size_key = jax.random.split(key)
    return learners.random_size(size_key, draw(task_key, shots=50, queries=50), smallest=3)


def train(model: nn.NeuralProcess, options: argparse.Namespace) -> jmeta.core.Params:
    """Parameters after `steps` updates of Adam, 16 tasks each, in jitted rounds of 500 updates."""
    tx = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adam(optax.cosine_decay_schedule(5e-4, options.steps)),
    )
    update = jmeta.step(learners.neural_process_loss(model), tx, sample=sample)

    @jax.jit
    def rounds(state: jmeta.TrainState, keys: jax.Array) -> tuple[jmeta.TrainState, jax.Array]:
        def body(state: jmeta.TrainState, keys: jax.Array) -> tuple:
            state, aux = update(state, keys)
            return state, aux.loss

        return jax.lax.scan(body, state, keys)

    key = jax.random.key(options.seed)
    init = jmeta.neural_process(model).init
    params = jax.jit(lambda key: init(key, sample(key)))(key)
    state = jmeta.train_state(params, tx)
    keys = jax.random.split(jax.random.fold_in(key, 1), (options.steps, 16))
    for start in range(0, options.steps, 500):
        state, found = rounds(state, keys[start : start + 500])
        print(f"  step {start + len(found)}: bound {found.mean():.3f}", flush=True)
    return state.params


def exact(task: jmeta.Task) -> jax.Array:
    """Negative log likelihood per query of the process itself, noise included."""
    kernel = partial(data.squared_exponential, length=LENGTH, scale=SCALE)
    found = data.gaussian_process_posterior(kernel, task.support, task.query.x, NOISE)
    outputs = losses.Gaussian(found.mean, jnp.sqrt(found.variance + NOISE**2))
    return losses.gaussian_nll(outputs, task.query.y)


def each_query(outputs: losses.Gaussian, y: jax.Array) -> jax.Array:
    """Negative log likelihood per query, each mixed over the samples on its own, as in `exact`."""
    alone = jax.tree.map(lambda leaf: leaf[:, None], (outputs, y))
    return jax.vmap(losses.gaussian_nll)(*alone).mean()


def held_out(
    model: nn.NeuralProcess, params: jmeta.core.Params, shots: int, options: argparse.Namespace
) -> tuple[jax.Array, jax.Array]:
    """Log likelihood per query of every task, the model's and the exact one: [E], [E]."""
    samples = 50 if model.latent else 0
    learner = jmeta.neural_process(model, samples=samples)

    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        task = draw(key, shots=shots, queries=50)
        outputs = learner.predict(learner.adapt(params, task.support), task.query.x)
        return -each_query(outputs, task.query.y), -exact(task)

    keys = jax.random.split(jax.random.key(1_000 + shots), options.episodes)
    return jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=20))(keys)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--episodes", type=int, default=1_000)
    parser.add_argument("--width", type=int, default=128)
    options = parser.parse_args()
    found: dict[str, dict[int, jax.Array]] = {name: {} for name in (*MODELS, "exact")}
    seconds = {}
    for name, paths in MODELS.items():
        print(name)
        model, start = nn.NeuralProcess(width=options.width, least=0.05, **paths), time.time()
        params = jax.block_until_ready(train(model, options))
        seconds[name] = round(time.time() - start, 1)
        for shots in SHOTS:
            found[name][shots], found["exact"][shots] = held_out(model, params, shots, options)
    rows = []
    for shots in SHOTS:
        row = {name: metrics.estimate(values[shots])._asdict() for name, values in found.items()}
        gain = metrics.paired(found["anp"][shots], found["cnp"][shots])._asdict()
        rows.append({"shots": shots, "log_likelihood": row, "anp_minus_cnp": gain})
        line = ", ".join(f"{k} {v['mean']:.3f} ± {v['ci95']:.3f}" for k, v in row.items())
        print(f"{shots} points: {line}; ANP - CNP {gain['mean']:.3f} ± {gain['ci95']:.3f}")
    process = {"length": LENGTH, "scale": SCALE, "noise": NOISE, "x": [-2, 2], "queries": 50}
    record = {"process": process, "options": vars(options), "models": MODELS, "seconds": seconds}
    common.write("neural_processes", {**record, "rows": rows})


if __name__ == "__main__":
    main()

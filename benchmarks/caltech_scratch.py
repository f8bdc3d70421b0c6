"""Ways of learning Caltech-101 at 84x84 from scratch: identical test episodes, paired.

    python benchmarks/caltech_scratch.py [--rows protonet maml ...] [--steps pretrained=900 ...]

All ways train the same network of four convolutions on the 61 training classes, without pretrained
weights, and are tested on the same episodes of the 25 test classes, 5-way 1-shot and 5-shot with 15
queries a class (the sampler and the key of `transfer.py`). Every stage of training is a run under
`runs/` that continues where it stopped; of its checkpoints the best on 5-shot validation episodes
(MAML: 1-shot) is taken. What is chosen for a row, such as the rate of fine-tuning, is chosen on
validation episodes, for each number of shots.

Each query is predicted alone: batch statistics are fixed to the moments of training images. MAML is
transductive by default: its batch statistics are those of the queries together. Its row has them
fixed to the moments of the support set; the transductive figure is a row of its own, on the first
tenth of the episodes. All heads but those of the prototypical network and of Meta-Baseline get
features minus the mean of the training classes, of length 1 ("CL2N"). The last block is fine-tuned
below such features. Nothing but supervised training augments its images.

Differences are from FIRST. Rows that are not asked for stay in the record, if they were made with
the same network, episodes and seed; give a trial another --record. Record:
benchmarks/results/caltech_scratch.json.
"""

import argparse
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import common
import flax.linen as linen
import jax
import numpy as np
import transfer_heads
from scratch_stages import UPDATES, Distilled, folder, trained

import jmeta
from jmeta import distances, learners, metrics, nn, train
from jmeta.learners import Head
from jmeta.runs import _report as report

WAYS, SHOTS = transfer_heads.WAYS, transfer_heads.SHOTS
FIRST = "supervised, nearest centroid"  # what the others are compared with
STAGES = {"fine-tuned": "pretrained", "baseline++": "cosine"}  # of rows with another name
ROWS = (
    "pretrained",
    "fine-tuned",
    "meta-baseline",
    "protonet",
    "maml",
    "baseline++",
    "distilled",
)
Choices = list[tuple[str, Head]]  # what may be chosen
Tested = dict[int, tuple[str, np.ndarray]]  # shots -> what was chosen, test accuracies [E]


def embedded(stage: str, options: argparse.Namespace, cut: bool = False) -> tuple[Any, Any]:
    """Parameters with fixed moments, and features; with `cut` the maps below the last block."""
    parts, params, _ = train.load_run(folder(stage, options), known=(Distilled,))
    fixed: Any = report.fixed_moments(parts, params)
    fixed = getattr(fixed, "params", fixed)  # without the scale of Meta-Baseline
    fixed = jax.device_get(fixed.get("embed", fixed))
    net: Any = parts.network.module(None)
    if cut:
        net = nn.from_functions(net.init, partial(before_last, net))
    made = jax.jit(lambda x: learners.embed_examples(net, fixed, x, chunk=64))
    names = ("val", "test") if cut else ("train", "val", "test")
    pools = {name: getattr(parts.domain, name) for name in names}
    changed = {n: dataclasses.replace(p, examples=made(p.examples)) for n, p in pools.items()}
    return fixed, parts.domain._replace(**changed)


def before_last(net: Any, params: Any, x: jax.Array) -> jax.Array:
    """The maps that come out of the third block of Conv4."""
    kept = {"mutable": ["intermediates"], "capture_intermediates": True}
    _, state = net.apply(params, x, **kept)
    return state["intermediates"]["Norm_2"]["__call__"][0]


class LastBlock(linen.Module):
    """The fourth block of Conv4, with its names."""

    filters: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(self.filters, use_bias=False, name="Conv_3")(x)
        x = nn.Norm("batch", name="Norm_3")(x, pool=True)
        return x.reshape(len(x), -1)


def last_block(params: Any, mean: jax.Array, filters: int) -> Choices:
    """The last block and a linear head, trained on the support; it starts at the class means."""
    block = LastBlock(filters)
    net = nn.from_functions(
        block.init, lambda params, x: distances.unit(block.apply(params, x) - mean[None])
    )
    own = {
        kind: {name: leaf for name, leaf in leaves.items() if name.endswith("_3")}
        for kind, leaves in params.items()
    }

    return transfer_heads.trained(net, own, (0.001, 0.01), (5, 20), adapts=jmeta.everything)


def judged(choices: Choices, *given: Any, **how: Any) -> list[np.ndarray]:
    """The accuracies [E] of some heads on the same episodes, which all devices share."""
    heads = {str(place): head for place, (_, head) in enumerate(choices)}
    found = transfer_heads.accuracies(heads, *given, mesh=jmeta.task_mesh(), **how)
    return [np.asarray(found[name]) for name in heads]


def tested(choices: Choices, pools: Any, episodes: int, *, slow: bool = False) -> Tested:
    """Choose on validation episodes (key 1), test on episodes of the test classes (key 2)."""
    rows, chunk = {}, 1 if slow else 8
    validation = min(episodes, 100 if slow else transfer_heads.VALIDATION)
    for shots in SHOTS:
        best = 0
        if len(choices) > 1:
            found = judged(choices, pools.val, shots, 1, episodes=validation, chunk=chunk)
            best = int(np.argmax([values.mean() for values in found]))
        [found] = judged([choices[best]], pools.test, shots, 2, episodes=episodes, chunk=chunk)
        rows[shots] = choices[best][0], found
    return rows


def maml(options: argparse.Namespace) -> dict[str, Tested]:
    """MAML, with batch statistics of the support set and with those of the queries."""
    parts, params, _ = train.load_run(folder("maml", options))
    net, learner = parts.network.module(parts.domain.outputs), parts.method.learner

    def adapt(params: Any, support: jmeta.Batch) -> Any:
        adapted = learner.adapt(params, support)
        fixed = nn.population_statistics(net, adapted.params, support.x)
        return adapted._replace(solution=adapted.solution._replace(final=fixed))

    def test(learner: Any, shots: int, episodes: int) -> np.ndarray:
        def run(params: Any, pool: Any, key: jax.Array) -> jax.Array:
            sample = partial(transfer_heads.sample(shots), pool=pool)
            args = {"episodes": episodes, "mesh": jmeta.task_mesh()}
            return jax.vmap(metrics.accuracy)(
                *jmeta.predictions(learner, params, sample, key, **args)
            )

        return np.asarray(jax.jit(run)(params, parts.domain.test, jax.random.key(2)))

    few, alone = max(2, options.episodes // 10), learner._replace(adapt=adapt)
    both = {"MAML": (alone, options.episodes), "MAML, transductive": (learner, few)}
    return {name: {s: ("", test(one, s, n)) for s in SHOTS} for name, (one, n) in both.items()}


def rows_of(which: str, options: argparse.Namespace) -> dict[str, Tested]:
    """Test what one choice of --rows stands for, each row on the same episodes."""
    if which == "maml":
        return maml(options)
    params, raw = embedded(STAGES.get(which, which), options)
    unit, near = transfer_heads.centred(raw), transfer_heads.plain()[transfer_heads.FIRST]
    linear, cosine = transfer_heads.tuned("linear"), transfer_heads.tuned("cosine")
    heads: dict[str, dict[str, tuple[Choices, Any]]] = {
        "pretrained": {FIRST: (near, unit)},
        "fine-tuned": {"supervised, linear head (Baseline)": (linear, unit)},
        "meta-baseline": {"Meta-Baseline": (near, raw)},
        "protonet": {
            "prototypical network": ([("", jmeta.prototypical(WAYS))], raw),
            "prototypical network, nearest centroid": (near, unit),
        },
        "baseline++": {
            "cosine classifier, nearest centroid": (near, unit),
            "cosine classifier, cosine head (Baseline++)": (cosine, unit),
        },
        "distilled": {"distilled (born again), nearest centroid": (near, unit)},
    }
    rows = {name: tested(*given, options.episodes) for name, given in heads[which].items()}
    if which == "fine-tuned":
        _, maps = embedded(STAGES.get(which, which), options, cut=True)
        block = last_block(params, raw.train.examples.mean(0), options.filters)
        rows["supervised, last block and head"] = tested(block, maps, options.episodes, slow=True)
    return rows


def put(options: argparse.Namespace, stages: Any, new: dict[str, Tested]) -> None:
    """Put rows into the record, and beside every row its paired difference from FIRST."""
    head = {
        "data": "Caltech-101 at 84x84, 25 test classes of the committed split",
        "network": f"conv4, {options.filters} filters, seed {options.seed}",
        "protocol": f"{WAYS}-way, {transfer_heads.QUERIES} queries a class, {options.episodes} "
        "episodes, seed 2",
        "choice": f"{transfer_heads.VALIDATION} validation episodes; for the last block 100",
        "first": FIRST,
    }
    old = common.read(options.record) if options.record.exists() else {}
    rows = old["rows"] if all(old.get(name) == head[name] for name in head) else {}
    path = folder("pretrained", options).with_name(f"accuracies-{options.episodes}.npz")
    kept = dict(np.load(path)) if path.exists() else {}
    for name, found in new.items():
        rows[name] = {"stages": stages}
        for shots, (said, values) in found.items():
            size, score = f"{shots}-shot", metrics.estimate(values)._asdict()
            kept[f"{name}, {size}"] = values
            rows[name][size] = {"chosen": said, "accuracy": score}
            print(f"{size} {name:44} {common.percent(score)} {said}", flush=True)
    for name, shots in ((name, shots) for name in rows for shots in SHOTS):
        mine, first = (kept.get(f"{each}, {shots}-shot") for each in (name, FIRST))
        if name != FIRST and mine is not None and first is not None:
            above = metrics.paired(mine, first[: len(mine)])._asdict()
            rows[name][f"{shots}-shot"]["above"] = above
    np.savez(path, **kept)  # type: ignore[arg-type]
    common.write(options.record, {**head, "rows": rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--steps", nargs="+", default=[], help="of all stages, or STAGE=NUMBER")
    parser.add_argument("--filters", type=int, default=64)
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, default=common.RESULTS / "caltech_scratch.json")
    options = parser.parse_args()
    given = [word.rpartition("=") for word in options.steps]
    if unknown := {name for name, _, _ in given} - {"", *UPDATES}:
        parser.error(f"no stage {min(unknown)}; the stages are {', '.join(UPDATES)}")
    options.steps = dict(UPDATES)
    for name, _, number in given:
        options.steps |= dict.fromkeys([name] if name else UPDATES, int(number))
    common.use_all_cores()
    for which in (name for name in ROWS if name in options.rows):
        stages = trained(STAGES.get(which, which), options)
        put(options, stages, rows_of(which, options))


if __name__ == "__main__":
    main()

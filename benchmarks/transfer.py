"""Every head on ImageNet features: Caltech-101 at 84x84, identical episodes, paired.

    python benchmarks/transfer.py [--episodes 1000] [--whole-episodes 100] [--side 160]

The images are embedded once by EfficientNet-Lite0 with the weights of ImageNet (extra
`pretrained`), scaled to 160 pixels. Then all heads see the same episodes of the 25 test classes,
5-way 1-shot and 5-shot with 15 queries a class. All heads get the features minus the mean of the
training classes, divided by their length ("CL2N"). What a head has to choose is chosen on 300
episodes of the validation classes, by the accuracy of each number of shots. Heads of the second
group see all queries of an episode together; every class has as many of them, which PT-MAP knows
and TIM and LaplacianShot profit from.

Three learners are meta-trained on the features of the training classes. In three more rows each
episode fine-tunes a part of the network itself: its last convolution, low-rank matrices beside
that, or all of it. Their rates and steps are chosen on fewer validation episodes, and all of the
network is tuned in the first hundred of the episodes only.

ImageNet has many of the classes of Caltech-101, so these figures say what features are worth, and
not how well classes are learned that nobody has seen. Record: benchmarks/results/transfer.json.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import common
import jax
import numpy as np
import transfer_tuned
from transfer_heads import (
    FIRST,
    QUERIES,
    SHOTS,
    SOURCE,
    SPLIT,
    VALIDATION,
    WAYS,
    centred,
    chosen_head,
    plain,
    sample,
    together,
)

from jmeta import data, learners, train


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
    parser.add_argument("--whole-episodes", type=int, default=100, help="of the whole network")
    parser.add_argument("--side", type=int, default=160, help="pixels that images are scaled to")
    parser.add_argument("--features", type=Path, help="an .npz; made if it does not exist")
    parser.add_argument("--out", type=Path, default=common.RUNS / "transfer")
    parser.add_argument("--only-speed", action="store_true", help="keep the rows of the record")
    options = parser.parse_args()
    common.use_all_cores()
    found = embedded(options.features or options.out / f"{options.side}.npz", options.side)
    if options.only_speed:
        record = common.read(common.RESULTS / "transfer.json")
        common.write("transfer", {**record, "episodes_per_second": speed(found)})
        return
    rows = {f"{n}-shot": table(found, n, options.episodes) for n in SHOTS}
    numbers = options.side, options.episodes, options.whole_episodes
    for n, more in transfer_tuned.rows(found, *numbers, options.out).items():
        rows[f"{n}-shot"] |= more
    few = f"{transfer_tuned.FEW} and {transfer_tuned.FEWEST} for parts of the network and for all"
    record = {
        "data": "Caltech-101 at 84x84, 25 test classes of the committed split",
        "split_hash": found.info["hash"],
        "features": f"EfficientNet-Lite0, ImageNet, images scaled to {options.side} pixels",
        "protocol": f"{WAYS}-way, {QUERIES} queries a class, {options.episodes} episodes, seed 2; "
        f"the first {options.whole_episodes} of them for the whole network",
        "choice": f"{VALIDATION} episodes of the validation classes; {few}",
        "rows": rows,
        "episodes_per_second": speed(found),
    }
    common.write("transfer", record)


if __name__ == "__main__":
    main()

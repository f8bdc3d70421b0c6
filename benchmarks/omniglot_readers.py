"""Metric and model-based learners on Omniglot, Vinyals split, beside the published figures.

    python benchmarks/omniglot_readers.py [--algorithms matching siamese ...] [--shots 1 5]
        [--steps N] [--rate R] [--devices 1] [--train-on-val]

Each is its preset (`omniglot-NAME-1shot`, `omniglot-NAME-5way-1shot`): one model for each number of
shots, the best checkpoint by validation, and 1,000 test episodes with 15 queries per class at 5
ways and, where the learner does not have one output per class, at 20 ways. Rotated characters are
classes of their own. `--steps` changes the number of updates, and the cosine schedule with it.
`--train-on-val` trains on the validation classes too, as the paper's final prototypical networks
were, and takes the last checkpoint. The `config` of a row says what it was trained with. A row has
two accuracies: with the batch statistics of the queries (transductive), and with fixed population
statistics of training images (inductive). Rows of other algorithms stay in the record, so it can be
made in several runs. Interrupted runs continue where they stopped.
"""

import argparse
from typing import Any

import common

from jmeta import train

SOURCES = {
    "protonet": "arXiv:1703.05175, Table 1",
    "matching": "arXiv:1703.05175, Table 1",
    "matching-fce": "arXiv:1606.04080, Table 1",
    "siamese": "as reported in arXiv:1703.03400, Table 1",
    "relation": "arXiv:1711.06025, Table 1",
    "snail": "arXiv:1707.03141, Table 1",
    "meta-network": "as reported in arXiv:1707.03141, Table 1",
    "mann": "as reported in arXiv:1703.03400, Table 1",
}
PUBLISHED = {  # percent; (ways, shots)
    "protonet": {(5, 1): 98.8, (5, 5): 99.7, (20, 1): 96.0, (20, 5): 98.9},
    "matching": {(5, 1): 98.1, (5, 5): 98.9, (20, 1): 93.8, (20, 5): 98.5},
    "siamese": {(5, 1): 97.3, (5, 5): 98.4, (20, 1): 88.2, (20, 5): 97.0},
    "relation": {(5, 1): 99.6, (5, 5): 99.8, (20, 1): 97.6, (20, 5): 99.1},
    "snail": {(5, 1): 99.07, (5, 5): 99.78},
    "meta-network": {(5, 1): 98.9},
    "mann": {(5, 1): 82.8, (5, 5): 94.9},
}
NAMES = (*SOURCES, "r2d2", "metaopt-net")


def rows_of(algorithm: str, shots: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One model, at 5 ways and where it can at 20."""
    seed = options.seed
    several = f"omniglot-{algorithm}-{shots}shot"
    name = several if several in train.PRESETS else f"omniglot-{algorithm}-5way-{shots}shot"
    preset = train.preset(name)
    steps, rate = options.steps or preset.budget.steps, options.rate or preset.outer.rate
    asked = {"seed": seed, "steps": steps, "rate": rate, "devices": options.devices}
    experiment = train.experiment(start=preset, **asked, train_on_val=options.train_on_val)
    out = common.RUNS / f"{name}-{steps}-{rate}-seed{seed}{'-on-val' * options.train_on_val}"
    result = train.run(experiment, out, resume=True, progress=train.lines)
    rows = []
    for ways in (5, 20) if name == several else (5,):
        found = result if ways == preset.episode.ways else train.evaluate_run(out, ways=ways)
        published = PUBLISHED.get(algorithm, {}).get((ways, shots))
        said = {"algorithm": algorithm, "seed": seed, "ways": ways, "shots": shots}
        rows.append({**said, "published": published, "config": train.to_json(experiment), **found})
        figures = [found, found["inductive"]] if "inductive" in found else [found]
        accuracies = [common.percent(figure["metrics"]["accuracy"]) for figure in figures]
        print(f"{algorithm}, {ways}-way {shots}-shot: {', '.join(accuracies)}; {published}")
    return rows


def keep(rows: list[dict[str, Any]]) -> None:
    """Put rows in the place of those of the same algorithm, training classes, shots and seed."""
    path = common.RESULTS / "omniglot_readers.json"
    old = common.read(path)["rows"] if path.exists() else []

    def which(row: dict[str, Any]) -> tuple:
        on_val = bool(common.option(row["config"], "source", "train_on_val"))
        return row["algorithm"], on_val, row["shots"], row["seed"]

    new = {which(row) for row in rows}
    kept = [row for row in old if which(row) not in new] + rows
    kept.sort(key=lambda row: (NAMES.index(row["algorithm"]), *which(row)[1:]))
    common.write("omniglot_readers", {"published": SOURCES, "rows": kept})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithms", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="outer updates; the preset's by default")
    parser.add_argument("--rate", type=float, help="outer learning rate; the preset's by default")
    parser.add_argument("--devices", type=int, help="1 to train two at the same time")
    parser.add_argument("--train-on-val", action="store_true", help="and take the last checkpoint")
    options = parser.parse_args()
    common.use_all_cores()
    for algorithm in options.algorithms:
        for shots in options.shots:
            keep(rows_of(algorithm, shots, options))


if __name__ == "__main__":
    main()

"""UMTRA and CACTUs on Omniglot without labels, beside the published figures.

    python benchmarks/unsupervised.py [--how umtra cactus] [--algorithms protonet maml] [--steps N]
        [--episodes 1000]

Training tasks are made of the images of the random split's training classes, whose labels are not
read: by UMTRA, and by CACTUs over k-means of the features of UMTRA's prototypical network, which
has seen no label either. Labels of validation classes choose UMTRA's augmentation, in short runs,
and the best checkpoint. Each network is that of MAML's paper. It is trained once, with 1 shot, and
tested with 1 and 5 shots and 5 queries per class, on characters that are not turned: a prototypical
network at 5 and 20 ways, and MAML, which has one output per class, at the 5 that it was trained
with. A row has two accuracies: with the batch statistics of the queries, as in the papers
(transductive), and inductive. Rows of other systems stay in the record, which is written after each
row. Omniglot must be under $JMETA_DATA. Interrupted runs continue where they stopped.
"""

import argparse
from pathlib import Path
from typing import Any

import common

from jmeta import train

PUBLISHED = {  # percent; (ways, shots); MAML
    "umtra": {(5, 1): 83.80, (5, 5): 95.43, (20, 1): 74.25, (20, 5): 92.12},
    "cactus": {(5, 1): 68.84, (5, 5): 87.78, (20, 1): 48.09, (20, 5): 73.36},  # ACAI
}
SOURCES = {
    "umtra": "arXiv:1811.11819 (MAML)",
    "cactus": "arXiv:1810.02334 (ACAI, MAML)",
}
CHANGES = ("crop:3", "affine:15", "affine:15,cutout:8")
CHOICE = 200  # updates of a run that chooses one of them
SHARED: dict[str, Any] = {
    **{"dataset": "omniglot", "split": "random", "ways": 5, "shots": 1, "queries": 5},
    **{"network": "conv4-strided", "filters": 64, "schedule": "cosine", "log_every": 50},
    **{"validate_every": 250, "validation_episodes": 200},
}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "protonet": {"train_ways": 40, "train_queries": 2, "tasks": 2, "steps": 1000},
    "maml": {
        **{"train_queries": 1, "inner_rate": 0.4, "inner_steps": 1, "eval_inner_steps": 3},
        **{"tasks": 16, "steps": 1000},
    },
}
SYSTEMS = [(how, algorithm) for how in PUBLISHED for algorithm in ALGORITHMS]
CLUSTERS = {"clusters": 500, "partitions": 10}


def experiment(
    how: str, algorithm: str, options: argparse.Namespace, **more: Any
) -> train.Experiment:
    """A system's experiment."""
    given = {**SHARED, **ALGORITHMS[algorithm], "unsupervised": how, "seed": options.seed}
    given |= {"episodes": options.episodes, "devices": options.devices}
    if options.steps:
        given |= {"steps": options.steps, "validate_every": max(options.steps // 4, 1)}
    return train.experiment(algorithm, **given | more)


def change_chosen(options: argparse.Namespace) -> tuple[str, dict[str, float]]:
    """The augmentation that serves a short run best on validation classes, and all accuracies."""
    found, short = {}, {"steps": CHOICE, "validate_every": CHOICE, "validation_episodes": 500}
    for words in CHANGES:
        name = words.replace(":", "").replace(",", "-")
        made = experiment("umtra", "protonet", options, **changed(words), **short, episodes=2)
        out = common.RUNS / f"unsupervised-choice-{name}-{CHOICE}-seed{options.seed}"
        found[words] = train.run(made, out, resume=True, progress=train.quiet)["best"]["value"]
        print(f"{words}: validation {found[words]:.4f}", flush=True)
    return max(found, key=lambda words: found[words]), found


def changed(words: str) -> dict[str, str]:
    """The options of UMTRA's augmentation; support images stay as they are, as in the paper."""
    return {"augment": words, "augment_part": "query"}


def folder(made: train.Experiment) -> Path:
    """Where a system's run is written."""
    system = f"{made.source.unsupervised}-{made.algorithm.name}"
    return common.RUNS / f"unsupervised-{system}-{made.budget.steps}-seed{made.budget.seed}"


def embedded(run: Path) -> str:
    """The features of a run's network for the set that it was trained on, kept beside the run."""
    path = run.with_name(f"{run.name}-features.npz")
    if not path.exists():
        parts, params, _ = train.load_run(run)
        features, _ = train.embed_source(
            parts.experiment.source, parts.network, params=params, seed=parts.experiment.budget.seed
        )
        train.save_features(path, features)
    return str(path)


def rows_of(how: str, algorithm: str, change: str, options: argparse.Namespace) -> Any:
    """A network, tested at each number of ways and shots."""
    more: dict[str, Any] = changed(change)
    if how == "cactus":
        first = experiment("umtra", "protonet", options, **more)
        train.run(first, folder(first), resume=True, progress=train.lines)
        more = {**CLUSTERS, "embedding": embedded(folder(first))}
    made = experiment(how, algorithm, options, **more)
    out = folder(made)
    train.run(made, out, resume=True, progress=train.lines)
    for ways in (5, 20) if algorithm == "protonet" else (5,):
        for shots in (1, 5):
            found = train.evaluate_run(out, ways=ways, shots=shots)
            published = PUBLISHED[how][ways, shots]
            both = [common.percent(f["metrics"]["accuracy"]) for f in (found, found["inductive"])]
            print(f"{how} {algorithm}, {ways}-way {shots}-shot: {both}; {published}", flush=True)
            said = {"how": how, "algorithm": algorithm, "seed": options.seed}
            said |= {"ways": ways, "shots": shots, "published": published}
            yield {**said, "config": train.to_json(made), **found}


def keep(row: dict[str, Any], choice: dict[str, Any], path: Path) -> None:
    """Put a row in the place of the one of the same system, seed, ways and shots."""
    old = common.read(path)["rows"] if path.exists() else []

    def which(row: dict[str, Any]) -> tuple:
        system = SYSTEMS.index((row["how"], row["algorithm"]))
        return system, row["ways"], row["shots"], row["seed"]

    rows = sorted([*(r for r in old if which(r) != which(row)), row], key=which)
    common.write(path, {"published": SOURCES, "augmentation": choice, "rows": rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--how", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--steps", type=int, help="outer updates; each system's by default")
    parser.add_argument("--episodes", type=int, default=1000, help="test episodes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--devices", type=int, help="devices of a run; all that fit by default")
    parser.add_argument("--json", type=Path, default=common.RESULTS / "unsupervised.json")
    options = parser.parse_args()
    common.use_all_cores()
    change, validated = change_chosen(options)
    choice = {"chosen": change, "validation": validated, "updates": CHOICE}
    for how, algorithm in SYSTEMS:
        if how in options.how and algorithm in options.algorithms:
            for row in rows_of(how, algorithm, change, options):
                keep(row, choice, options.json)


if __name__ == "__main__":
    main()

"""Prototypical networks, Omniglot, Vinyals split, 60-way training episodes.

    python benchmarks/omniglot_protonet.py [--seed 0]

Published: 98.8 / 99.7 / 96.0 / 98.9 for 5-way 1-shot, 5-way 5-shot, 20-way 1-shot, 20-way 5-shot
(Snell, Swersky, Zemel 2017, arXiv:1703.05175, Table 1). One model for each number of training
shots, tested on 1,000 episodes with 15 queries a class at 5 and 20 ways. Rotated characters are
classes of their own in training and in testing, as published. Two figures: with the batch
statistics of the queries (transductive), and with fixed population statistics of training images
(inductive, the published protocol). Omniglot is looked for under $JMETA_DATA.
"""

import argparse
import dataclasses

import common

from jmeta import train
from jmeta.train.progress import lines

PUBLISHED = {(5, 1): 0.988, (5, 5): 0.997, (20, 1): 0.960, (20, 5): 0.989}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    options = parser.parse_args()
    common.use_all_cores()
    rows, runs = [], []
    for shots in options.shots:
        name = f"omniglot-protonet-{shots}shot"
        config = dataclasses.replace(train.preset(name), seed=options.seed)
        out = common.RUNS / (name if options.seed == 0 else f"{name}-seed{options.seed}")
        result = train.run(config, out, resume=True, progress=lines)
        runs.append({"config": dataclasses.asdict(config), "seconds": result["seconds"]})
        for ways in (5, 20):
            found = result if ways == config.ways else train.evaluate_run(out, ways=ways)
            row = {"ways": ways, "shots": shots, "published": PUBLISHED[ways, shots], **found}
            rows.append(row)
            print(
                f"{ways}-way {shots}-shot: transductive "
                f"{common.percent(found['metrics']['accuracy'])}, inductive "
                f"{common.percent(found['inductive']['metrics']['accuracy'])}, "
                f"published {100 * PUBLISHED[ways, shots]:.1f}"
            )
    source = "arXiv:1703.05175, Table 1"
    common.write("omniglot_protonet", {"published": source, "runs": runs, "rows": rows})


if __name__ == "__main__":
    main()

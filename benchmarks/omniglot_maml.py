"""MAML, second order, Omniglot 5-way 1-shot, random 1200/423 split.

    python benchmarks/omniglot_maml.py [--seeds 0 1 2] [--steps N]

Published: 98.7 ± 0.4 (Finn, Abbeel, Levine 2017, arXiv:1703.03400, Table 1), from 60,000 updates of
32 tasks at a constant rate, with batch statistics of the query set (transductive) and 3 steps at
test time. Ours: the same network, rates and episodes, with the preset's number of updates and a
cosine rate. The record has the transductive and the inductive accuracy. Omniglot must be under
$JMETA_DATA. An interrupted run continues where it stopped.
"""

import argparse

import common

from jmeta import train

PRESET = "omniglot-maml-5way-1shot"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, help="outer updates; the preset's by default")
    options = parser.parse_args()
    common.use_all_cores()
    rows = []
    for seed in options.seeds:
        preset = train.preset(PRESET)
        steps = options.steps or preset.budget.steps
        experiment = train.experiment(start=preset, seed=seed, steps=steps)
        out = common.RUNS / f"{PRESET}-{steps}-seed{seed}"
        result = train.run(experiment, out, resume=True, progress=train.lines)
        rows.append({"seed": seed, "config": train.to_json(experiment), **result})
        print(f"seed {seed}: transductive {common.percent(result['metrics']['accuracy'])}")
        print(
            f"seed {seed}: inductive {common.percent(result['inductive']['metrics']['accuracy'])}"
        )
    published = {"accuracy": 0.987, "ci95": 0.004, "source": "arXiv:1703.03400, Table 1"}
    common.write("omniglot_maml", {"published": published, "rows": rows})


if __name__ == "__main__":
    main()

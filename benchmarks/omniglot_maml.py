"""MAML, second order, Omniglot 5-way, random 1200/423 split or Omniglot's own division.

    python benchmarks/omniglot_maml.py [--seeds 0 1 2] [--steps N]
    python benchmarks/omniglot_maml.py --split lake --shots 1 5 [--steps N]

Published: 98.7 ± 0.4 (Finn, Abbeel, Levine 2017, arXiv:1703.03400, Table 1), from 60,000 updates of
32 tasks at a constant rate, with batch statistics of the query set (transductive) and 3 steps at
test time. Ours: the same network, rates and episodes, with the preset's number of updates and a
cosine rate. The record has the transductive and the inductive accuracy. Omniglot must be under
$JMETA_DATA. An interrupted run continues where it stopped.

With `--split lake`, the 964 background characters are trained on and the 659 of the evaluation set
are the test, of which surveys print 97.7 for 1-shot and 99.9 for 5-shot. An episode has as many
queries a class as shots. Each number of shots is a run, and the record is omniglot_maml_lake.json.
"""

import argparse
import itertools

import common

from jmeta import train

PRESET = "omniglot-maml-5way-1shot"
PUBLISHED = {
    "random": {"1-shot": 0.987, "5-shot": 0.999, "source": "arXiv:1703.03400, Table 1"},
    "lake": {"1-shot": 0.977, "5-shot": 0.999, "source": "surveys of few-shot learning"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, help="outer updates; the preset's by default")
    parser.add_argument("--split", choices=tuple(PUBLISHED), default="random")
    parser.add_argument("--shots", type=int, nargs="+", default=[1], choices=(1, 5))
    options = parser.parse_args()
    common.use_all_cores()
    record = "omniglot_maml" if options.split == "random" else f"omniglot_maml_{options.split}"
    path = common.RESULTS / f"{record}.json"
    old = common.read(path)["rows"] if path.exists() else []
    rows = [row for row in old if row["config"]["episode"]["shots"] not in options.shots]
    for shots, seed in itertools.product(options.shots, options.seeds):
        preset = train.preset(PRESET)
        steps = options.steps or preset.budget.steps
        own = {"split": options.split, "shots": shots, "queries": shots}
        experiment = train.experiment(start=preset, seed=seed, steps=steps, **own)
        name = f"{options.split}-{shots}shot-{steps}-seed{seed}"
        out = common.RUNS / f"omniglot-maml-5way-{name}"
        result = train.run(experiment, out, resume=True, progress=train.lines)
        found = {"transductive": result, "inductive": result["inductive"]}
        rows.append({"seed": seed, "config": train.to_json(experiment), **result})
        for how, each in found.items():
            print(f"{shots}-shot, seed {seed}: {how} {common.percent(each['metrics']['accuracy'])}")
        common.write(record, {"published": PUBLISHED[options.split], "rows": rows})


if __name__ == "__main__":
    main()

"""MAML, second order, Omniglot 5-way 1-shot, random 1200/423 split.

    python benchmarks/omniglot_maml.py [--seeds 0 1 2]

Published: 98.7 ± 0.4 (Finn, Abbeel, Levine 2017, arXiv:1703.03400, Table 1): 60,000 iterations of
32 tasks at a constant rate, batch statistics of the query set (transductive), 3 steps at test.
Ours: the same network, rates and episodes; the preset's number of iterations, cosine rate. Both
the transductive and the inductive figure are given. Omniglot is looked for under $JMETA_DATA.
An interrupted run goes on where it stopped.
"""

import argparse
import dataclasses

import common

from jmeta import train
from jmeta.runs._progress import lines

PRESET = "omniglot-maml-5way-1shot"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, help="outer updates; the preset's by default")
    options = parser.parse_args()
    common.use_all_cores()
    rows = []
    for seed in options.seeds:
        config = dataclasses.replace(train.preset(PRESET), seed=seed)
        if options.steps:
            config = dataclasses.replace(config, steps=options.steps)
        suffix = "" if seed == 0 else f"-seed{seed}"
        out = common.RUNS / f"{PRESET}{suffix}"
        result = train.run(config, out, resume=True, progress=lines)
        rows.append({"seed": seed, "config": dataclasses.asdict(config), **result})
        print(f"seed {seed}: transductive {common.percent(result['metrics']['accuracy'])}")
        print(
            f"seed {seed}: inductive {common.percent(result['inductive']['metrics']['accuracy'])}"
        )
    published = {"accuracy": 0.987, "ci95": 0.004, "source": "arXiv:1703.03400, Table 1"}
    common.write("omniglot_maml", {"published": published, "rows": rows})


if __name__ == "__main__":
    main()

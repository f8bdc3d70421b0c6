"""Photos of one's own: does `jmeta predict` do as well as `jmeta evaluate` says?

    python benchmarks/own_photos.py [--run DIR] [--draws 100] [--steps 500]

A run is trained on the training classes of Caltech-101 (4-way 3-shot, 42x42 pixels, the split of 61
/ 15 / 25 classes), unless one is given. Then, as somebody with a camera would, three labelled
photos of each of four test classes lie in one folder and five more of each in another, and
`predict` labels the twenty; 100 such pairs of folders are drawn. The share that is right is
compared with the inductive accuracy of `evaluate_run` on 600 episodes of the same size. The claim
is that the intervals overlap. The images and the split must be under $JMETA_DATA.
"""

import argparse
import tempfile
from pathlib import Path

import common
import numpy as np
from PIL import Image

from jmeta import data, few, train
from jmeta.few import _answers as answers
from jmeta.few import _files as files
from jmeta.metrics import estimate

WAYS, SHOTS, QUERIES, SIZE = 4, 3, 5, 42


def trained(root: Path, out: Path, steps: int) -> Path:
    """A run on the training classes."""
    source = f"folder:{root}/caltech101/caltech101_84x84.zip"
    split = str(root / "splits" / "caltech101_fewshot")
    sizes = {"ways": WAYS, "shots": SHOTS, "queries": QUERIES, "train_ways": 10}
    budget = {"steps": steps, "tasks": 1, "validate_every": 100, "validation_episodes": 200}
    options = {"split": split, "size": SIZE, "train_queries": 5, **sizes, **budget}
    train.run(train.experiment("protonet", dataset=source, **options), out)
    return out


def drawn(found: data.Dataset, folder: Path, draw: np.random.Generator) -> None:
    """Photos of some unknown classes in folders of their names, as files."""
    pool, names = found.test, found.info["classes"]["test"]
    starts, counts = np.asarray(pool.starts), np.asarray(pool.counts)
    for which in draw.choice(len(names), WAYS, replace=False):
        picks = starts[which] + draw.choice(counts[which], SHOTS + QUERIES, replace=False)
        for place, pick in enumerate(picks):
            part = "labelled" if place < SHOTS else "others"
            path = folder / part / names[which] / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(pool.examples[pick])).save(path)


def predicted(run: Path, found: data.Dataset, draws: int) -> np.ndarray:
    """The accuracy of each draw."""
    model, draw, right = few.load(run), np.random.default_rng(0), []
    for _ in range(draws):
        with tempfile.TemporaryDirectory() as folder:
            drawn(found, Path(folder), draw)
            support = files.support_of(Path(folder, "labelled"), model.facts)
            queries = files.queries_of([Path(folder, "others")], model.facts)
            right.append(answers.answers(model, support, queries, fit="stretch")["accuracy"])
    return np.array(right)


def main() -> None:
    """Print and write the two figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--json", default="own_photos")
    asked = parser.parse_args()
    common.use_all_cores()
    root = data.data_root()
    with tempfile.TemporaryDirectory() as folder:
        run = asked.run or trained(root, Path(folder) / "run", asked.steps)
        path = root / "caltech101" / "caltech101_84x84.zip"
        found = data.load_folder(path, split=str(root / "splits" / "caltech101_fewshot"))
        mean, interval = map(float, estimate(predicted(run, found, asked.draws))[:2])
        tested = train.evaluate_run(run, ways=WAYS, shots=SHOTS, queries=QUERIES, episodes=600)
    told = tested["inductive"]["metrics"]["accuracy"]
    agree = abs(mean - told["mean"]) <= interval + told["ci95"]
    print(f"predict   {mean:.4f} ± {interval:.4f} over {asked.draws} draws of {WAYS * QUERIES}")
    print(f"evaluate  {told['mean']:.4f} ± {told['ci95']:.4f} over 600 episodes (inductive)")
    print("the intervals overlap" if agree else "THE INTERVALS DO NOT OVERLAP")
    protocol = {"ways": WAYS, "shots": SHOTS, "queries": QUERIES, "size": SIZE, "seed": 0}
    record = {
        "protocol": {**protocol, "draws": asked.draws, "step": tested["best"]["step"]},
        "predict": {"mean": mean, "ci95": interval},
        "evaluate": told,
        "overlap": agree,
    }
    common.write(asked.json, record)


if __name__ == "__main__":
    main()

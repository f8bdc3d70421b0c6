"""The stages of `caltech_scratch.py`: experiments of the run loop, each of which resumes."""

import argparse
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import common
import jax
import numpy as np
import transfer_heads

import jmeta
from jmeta import train
from jmeta.transfer import distillation

CHECKPOINTS = 10
UPDATES = {  # of each stage of training
    "pretrained": 1800,
    "cosine": 1800,
    "distilled": 1800,
    "protonet": 800,
    "maml": 300,
    "meta-baseline": 400,
}
AFTER = {"distilled": "pretrained", "meta-baseline": "pretrained"}  # a stage -> what it begins with


@dataclass(frozen=True)
class Distilled(train.Pretrain):
    """A born-again generation: it learns from the labels and from a teacher of its own size."""

    name: ClassVar[str] = "distilled"
    title: ClassVar[str] = "supervised training, beside a teacher"
    paper: ClassVar[str] = "Furlanello et al., 2018, arXiv:1805.04770"
    teacher: str = train.option("", "The folder of the teacher's run.")
    temperature: float = train.option(4.0, "How much the logits are softened.", least=0)
    weight: float = train.option(0.9, "The share of the teacher.", least=0)

    def build(self, *parts: Any) -> Any:
        parameters_of(self.teacher)  # read before anything is traced
        return super().build(*parts)

    def _loss(self, embed: Any, change: Any, params: Any, batch: jmeta.Batch) -> tuple:
        """The teacher sees the augmented images of the student."""
        key, rest = jax.random.split(batch.key)
        seen = batch._replace(x=batch.x if change is None else change(key, batch.x), key=rest)
        known, logits = super()._loss(embed, None, params, seen)
        teacher = parameters_of(self.teacher)
        told = self._logits(teacher["classifier"], embed.apply(teacher["embed"], seen.x))
        apart = distillation(logits, told, temperature=self.temperature)
        return (1 - self.weight) * known + self.weight * apart, logits


@cache
def parameters_of(run: str) -> Any:
    """The best parameters of a run, on the host."""
    return jax.tree.map(np.asarray, train.load_run(run)[1])


SUPERVISED = {"batch": 32, "label_smoothing": 0.1, "augment": "crop:8,flip,colour:0.2"}


def training(stage: str, options: argparse.Namespace) -> train.Experiment:
    """The experiment of a stage."""
    every = max(1, options.steps[stage] // CHECKPOINTS)
    before = str(folder(AFTER[stage], options)) if stage in AFTER else None
    fresh = options.seed + 1  # a student has other weights at first than its teacher had
    episodes = {"tasks": 2, "shots": 5, "train_queries": 5}
    own: dict[str, Any] = {
        "pretrained": {"algorithm": "pretrain", **SUPERVISED},
        "cosine": {"algorithm": "pretrain", "classifier": "cosine", **SUPERVISED},
        "distilled": {"algorithm": Distilled, "teacher": before, **SUPERVISED, "seed": fresh},
        "protonet": {"algorithm": "protonet", "train_ways": 10, "tasks": 1},
        "meta-baseline": {"algorithm": "meta-baseline", "init_from": before, "rate": 1e-4},
        "maml": {"algorithm": "maml", "shots": 1, "inner_steps": 5, "inner_rate": 0.01},
    }[stage]
    shared: dict[str, Any] = {
        "dataset": transfer_heads.SOURCE,
        "split": transfer_heads.SPLIT,
        "seed": options.seed,
        "network": "conv4",
        "filters": options.filters,
        "ways": transfer_heads.WAYS,
        "queries": transfer_heads.QUERIES,
        "steps": options.steps[stage],
        "validate_every": every,
        "validation_episodes": min(60, options.episodes),
        "log_every": max(n for n in range(1, every + 1) if every % n == 0 and n <= 50),
        "episodes": min(20, options.episodes),  # of the run's own test; the rows have more
        **episodes,
    }
    return train.experiment(**{**shared, **own})


def folder(stage: str, options: argparse.Namespace) -> Path:
    """Where a stage is kept."""
    chain = [stage, AFTER[stage]] if stage in AFTER else [stage]
    named = "-from-".join(f"{each}-{options.steps[each]}" for each in chain)
    return common.RUNS / f"scratch-{options.filters}-seed{options.seed}" / named


def trained(stage: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train a stage and those before it: stage -> updates, minutes, validation."""
    found = trained(AFTER[stage], options) if stage in AFTER else {}
    print(f"{stage}: {options.steps[stage]} updates", flush=True)
    experiment, out = training(stage, options), folder(stage, options)
    if (out / "result.json").exists():
        result = common.read(out / "result.json")
    else:
        result = train.run(experiment, out, resume=True, progress=train.lines)
    spent = {"updates": options.steps[stage], "minutes": result["seconds"] / 60}
    print(f"{stage}: {spent['minutes']:.1f} minutes", flush=True)
    return {**found, stage: {**spent, "validation": result["best"]}}

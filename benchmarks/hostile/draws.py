"""What a kind of bad input gets, and what it returns; the small commands that they change."""

import random
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

Random = random.Random


class Bad(NamedTuple):
    """A command that must be refused."""

    words: list[str]
    env: Mapping[str, str] = MappingProxyType({})


class Place(NamedTuple):
    """Where a kind writes, and the small run that it may copy and damage."""

    here: Path
    run: Path


QUICK = ["--steps", "2", "--tasks", "1", "--episodes", "2", "--validation-episodes", "2"]
TRAIN = ["train", *QUICK, "--devices", "1", "--out", "out"]
CLASSES = [*TRAIN, "--ways", "2"]  # twelve classes are divided without a word

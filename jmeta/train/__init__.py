"""Whole runs: configs and presets, the loop, checkpoints, reports."""

from jmeta.runs._adaptation import adaptation_curve as adaptation_curve
from jmeta.train.config import Config as Config
from jmeta.runs._evaluate import evaluate_run as evaluate_run
from jmeta.runs._evaluate import load_run as load_run
from jmeta.runs._loop import Diverged as Diverged
from jmeta.runs._loop import Interrupted as Interrupted
from jmeta.runs._loop import run as run
from jmeta.train.presets import PRESETS as PRESETS
from jmeta.train.presets import preset as preset

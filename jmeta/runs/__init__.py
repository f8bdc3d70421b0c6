"""How a run is carried out: the loop, checkpoints, reports, and coming back to a run."""

from jmeta.runs._adaptation import adaptation_curve
from jmeta.runs._evaluate import evaluate_run, load_run
from jmeta.runs._interruption import Interrupted
from jmeta.runs._loop import run
from jmeta.runs._plots import plot_adaptation, plot_curves_of_adaptation
from jmeta.runs._programs import Parts
from jmeta.runs._progress import Progress, lines, quiet
from jmeta.runs._validation import Diverged

__all__ = [
    "Diverged",
    "Interrupted",
    "Parts",
    "Progress",
    "adaptation_curve",
    "evaluate_run",
    "lines",
    "load_run",
    "plot_adaptation",
    "plot_curves_of_adaptation",
    "quiet",
    "run",
]
